"""JMESPath expressions: parsed once, looked through before they are ever run.

An expression sees ``{traits, userId, anonymousId, audiences}``. What is wrong with it, other than what depends on a
person's values, is told when it is compiled: a function that does not exist, an argument too few, a name that is
not one of the four.
"""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from jmespath.exceptions import JMESPathError, LexerError, ParseError
from jmespath.functions import Functions
from jmespath.parser import Parser

from prosperstack_destination.mapping.expression_hints import (
    CLEAN_UP_FUNCTIONS,
    ELSEWHERE,
    FUNCTIONS,
    LITERALS,
    mended,
    remark,
)
from prosperstack_destination.mapping.name_matching import closest

#: The longest expression, in characters.
MAX_LENGTH: Final = 1_000
#: How deep its parts may be nested.
MAX_DEPTH: Final = 40
#: Expressions that stay compiled, of all accounts together.
COMPILED: Final = 2_048
#: What an expression sees.
ROOTS: Final = ("traits", "userId", "anonymousId", "audiences")

#: Two words without anything between them.
_TWO_WORDS: Final = re.compile(r"\w +[A-Za-z_]")
#: What are operators in other languages.
_OPERATOR_WORD: Final = re.compile(r"\b(?:and|or|in|is|not)\b", re.IGNORECASE)
_TOO_DEEP: Final = f"its parts are nested more than {MAX_DEPTH} deep: make it simpler"

Node = Mapping[str, Any]


class InvalidExpression(ValueError):
    """The text is no expression that could be run; ``str()`` says why, and what would be right if that is known."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A JMESPath expression that can be run."""

    text: str
    #: jmespath's syntax tree.
    tree: Node
    #: The traits that it names, in their order.
    traits: tuple[str, ...]
    #: Which of `ROOTS` it looks at.
    roots: frozenset[str]
    #: Where it is no more than a path into the traits (as in ``traits.address.city``): its steps after ``traits``.
    path: tuple[str, ...] | None


@lru_cache(maxsize=COMPILED)
def compile_expression(text: str) -> Expression:
    """Parse an expression and look through it. Raises `InvalidExpression`, with what would be right if known."""
    try:
        return _looked_through(text)
    except InvalidExpression as error:
        likely = mended(text, _is_good)
        if likely is None or f" {likely}" in str(error):
            raise
        reason = str(error).partition(": did you mean")[0]
        raise InvalidExpression(f"{reason}: did you mean {likely}{remark(text)}?") from None


def _is_good(text: str) -> bool:
    try:
        _looked_through(text)
    except InvalidExpression:
        return False
    return True


def _looked_through(text: str) -> Expression:
    if len(text) > MAX_LENGTH:
        raise InvalidExpression(f"an expression may have {MAX_LENGTH:,} characters; this one has {len(text):,}")
    if _brackets(text) > MAX_DEPTH:
        raise InvalidExpression(_TOO_DEEP)
    tree = _parsed(text)
    if _depth(tree) > MAX_DEPTH:
        raise InvalidExpression(_TOO_DEEP)
    _check_functions(tree)
    _check_negations(tree)
    roots = list(dict.fromkeys(_roots(tree)))
    for root in roots:
        if root not in ROOTS:
            raise InvalidExpression(_unknown_root(root, text))
    traits = tuple(dict.fromkeys(_named_traits(tree)))
    return Expression(text, tree, traits, frozenset(roots), _path(tree))


def _brackets(text: str) -> int:
    """How deep brackets are nested, before anything follows them down."""
    deepest = depth = 0
    for each in text:
        depth += (each in "([{") - (each in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _parsed(text: str) -> Node:
    try:
        with warnings.catch_warnings():
            # `foo` for `"foo"`: an old form that is still taken.
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            tree: Node = Parser().parse(text).parsed
    except LexerError as error:
        raise InvalidExpression(
            f"it is no JMESPath: {error.message} (character {error.lexer_position + 1})"
        ) from None
    except ParseError as error:
        raise InvalidExpression(_unparsed(text, error)) from None
    except JMESPathError as error:
        raise InvalidExpression(str(error)) from None
    except RecursionError:
        raise InvalidExpression(_TOO_DEEP) from None
    except ValueError:  # Python reads no integer of more than 4,300 digits; and what else a literal may be
        raise InvalidExpression("it is no JMESPath: a literal in it cannot be read") from None
    return tree


def _unparsed(text: str, error: ParseError) -> str:
    if error.token_value in (None, ""):
        return "it is no JMESPath: something is missing at its end"
    said = f"it is no JMESPath: {error.token_value!r} is not expected at character {(error.lex_position or 0) + 1}"
    if _TWO_WORDS.search(_OPERATOR_WORD.sub("&", text)) and "'" not in text and '"' not in text:
        said += '; a name with spaces is written in quotes, as in traits."Last contacted"'
    return said


def _children(node: Node) -> Sequence[Node]:
    """The parts of a node; a slice has numbers for them."""
    return () if node["type"] == "slice" else [each for each in node.get("children", ()) if isinstance(each, dict)]


def _depth(tree: Node) -> int:
    deepest, level = 0, [tree]
    while level:
        deepest += 1
        level = [child for node in level for child in _children(node)]
    return deepest


def _nodes(tree: Node) -> Iterator[Node]:
    left = [tree]
    while left:
        node = left.pop()
        yield node
        left.extend(_children(node))


def _check_functions(tree: Node) -> None:
    """Functions exist and get as many arguments as they take; ``&expressions`` go only where one is taken."""
    taken: set[int] = set()
    for node in _nodes(tree):
        if node["type"] == "function_expression":
            for number, child in enumerate(node["children"]):
                if child["type"] == "expref" and _takes_expression(node, number):
                    taken.add(id(child))
            _check_arity(node)
        elif node["type"] == "expref" and id(node) not in taken:
            raise InvalidExpression("& belongs before an argument of map, sort_by, max_by or min_by")


def _check_negations(tree: Node) -> None:
    """In JMESPath ``!a.b`` is ``(!a).b``, which is always null, and never what is meant."""
    for node in _nodes(tree):
        children = _children(node)
        if node["type"] in _CHAINED and children and children[0]["type"] == "not_expression":
            raise InvalidExpression(
                "! takes only the next word: put what it negates in brackets, as in !(traits.vip)"
            )


def _check_arity(node: Node) -> None:
    name, given = node["value"], len(node["children"])
    known = Functions.FUNCTION_TABLE.get(name)
    if known is None:
        clean_up = CLEAN_UP_FUNCTIONS.get(name.lower())
        if clean_up is not None:
            raise InvalidExpression(f"there is no function {name}(): the rule's clean-up {clean_up} does that")
        hint = FUNCTIONS.get(name.lower()) or closest(name, Functions.FUNCTION_TABLE)
        raise InvalidExpression(f"there is no function {name}()" + (f": did you mean {hint}()?" if hint else ""))
    signature = known["signature"]
    wanted, more = len(signature), bool(signature and signature[-1].get("variadic"))
    if given < wanted or (given > wanted and not more):
        least = "at least " if more else ""
        raise InvalidExpression(f"{name}() takes {least}{wanted} argument{'s' * (wanted != 1)}, not {given}")


def _takes_expression(node: Node, number: int) -> bool:
    known = Functions.FUNCTION_TABLE.get(node["value"])
    signature = known["signature"] if known else ()
    return number < len(signature) and "expref" in signature[number]["types"]


#: Nodes whose first child sees what the node sees, and whose others see what the first one gives.
_CHAINED: Final = frozenset(
    {"subexpression", "index_expression", "pipe", "projection", "value_projection", "filter_projection"}
)


def _at_root(tree: Node) -> Iterator[Node]:
    """The nodes that see the whole context."""
    left = [tree]
    while left:
        node = left.pop()
        yield node
        children = list(_children(node))
        if node["type"] in _CHAINED:
            # what comes after a leading @ still sees the context
            seen = 1
            while seen < len(children) and children[seen - 1]["type"] == "current":
                seen += 1
            children = children[:seen]
        elif node["type"] == "expref":
            children = []
        left.extend(reversed(children))


def _roots(tree: Node) -> Iterator[str]:
    return (node["value"] for node in _at_root(tree) if node["type"] == "field")


def _named_traits(tree: Node) -> Iterator[str]:
    for node in _at_root(tree):
        if node["type"] in ("subexpression", "pipe") and _is_traits(node["children"][0]):
            yield from _roots(node["children"][1])  # what sees the traits as the context


def _is_traits(node: Node) -> bool:
    return node["type"] == "field" and bool(node["value"] == "traits")


def _path(tree: Node) -> tuple[str, ...] | None:
    if tree["type"] != "subexpression" or any(each["type"] != "field" for each in tree["children"]):
        return None
    first, *steps = tree["children"]
    return tuple(each["value"] for each in steps) if _is_traits(first) else None


def _unknown_root(name: str, text: str) -> str:
    if name in LITERALS:
        return f"{name} is written in backticks, as in `{LITERALS[name]}`"
    if f'"{name}"' in text and text.strip() != f'"{name}"' and f'"{name}".' not in text:
        return f"double quotes are for names: text is written in single quotes, as in '{name}'"
    if name in ELSEWHERE and name != "trait":
        return f"there is no {name!r} here, only {', '.join(ROOTS)}: what a rule needs is sent as a trait"
    close = closest(name, ROOTS, least=75)
    if close is not None:
        return f"there is no {name!r} here: did you mean {close}?"
    quoted = name if name.isidentifier() and name.isascii() else f'"{name}"'
    return f"there is no {name!r} here, only {', '.join(ROOTS)}: the trait {name!r} is traits.{quoted}"
