"""JMESPath expressions: parsed and checked once, before the first run.

An expression reads ``{traits, userId, anonymousId, audiences}``. Compiling reports all errors that do not depend on
a profile's values: unknown functions, a wrong number of arguments, names other than these four.
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
    FOREIGN_ROOTS,
    FUNCTION_ALIASES,
    LITERALS,
    TRANSFORM_FUNCTIONS,
    repair_expression,
    transform_hint,
)
from prosperstack_destination.mapping.name_matching import closest

#: Longest expression, in characters.
MAX_LENGTH: Final = 1_000
#: Deepest nesting of its parts.
MAX_DEPTH: Final = 40
#: Size of the cache of compiled expressions, shared by all accounts.
CACHE_SIZE: Final = 2_048
#: Names that an expression may read.
ROOTS: Final = ("traits", "userId", "anonymousId", "audiences")

#: Two words with only a space between them.
_TWO_WORDS: Final = re.compile(r"\w +[A-Za-z_]")
#: Words that are operators in other languages.
_OPERATOR_WORD: Final = re.compile(r"\b(?:and|or|in|is|not)\b", re.IGNORECASE)
_TOO_DEEP: Final = f"the expression is nested more than {MAX_DEPTH} levels deep: make it simpler"

Node = Mapping[str, Any]


class InvalidExpression(ValueError):
    """A text is not a valid expression; ``str()`` is the reason, with a correction if there is one."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled JMESPath expression."""

    text: str
    #: Syntax tree of jmespath.
    tree: Node
    #: Traits that the expression names, in order.
    traits: tuple[str, ...]
    #: Members of `ROOTS` that the expression reads.
    roots: frozenset[str]
    #: Steps after ``traits`` if the expression is only a path, as ``traits.address.city``; otherwise None.
    path: tuple[str, ...] | None


@lru_cache(maxsize=CACHE_SIZE)
def compile_expression(text: str) -> Expression:
    """Parse and check an expression. Raises `InvalidExpression`, with a correction if there is one."""
    try:
        return _parse_and_check(text)
    except InvalidExpression as error:
        correction = repair_expression(text, _is_valid)
        if correction is None or f" {correction}" in str(error):
            raise
        reason = str(error).partition(": did you mean")[0]
        raise InvalidExpression(f"{reason}: did you mean {correction}{transform_hint(text)}?") from None


def _is_valid(text: str) -> bool:
    try:
        _parse_and_check(text)
    except InvalidExpression:
        return False
    return True


def _parse_and_check(text: str) -> Expression:
    if len(text) > MAX_LENGTH:
        raise InvalidExpression(f"the expression has {len(text):,} characters: shorten it to {MAX_LENGTH:,}")
    if _bracket_depth(text) > MAX_DEPTH:
        raise InvalidExpression(_TOO_DEEP)
    tree = _parse(text)
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


def _bracket_depth(text: str) -> int:
    """Return the nesting depth of brackets, before the parser recurses into them."""
    deepest = depth = 0
    for each in text:
        depth += (each in "([{") - (each in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _parse(text: str) -> Node:
    try:
        with warnings.catch_warnings():
            # `foo` for `"foo"`: an old form that jmespath still accepts.
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            tree: Node = Parser().parse(text).parsed
    except LexerError as error:
        raise InvalidExpression(
            f"the expression is not JMESPath: {error.message} (character {error.lexer_position + 1})"
        ) from None
    except ParseError as error:
        raise InvalidExpression(_parse_error_message(text, error)) from None
    except JMESPathError as error:
        raise InvalidExpression(str(error)) from None
    except RecursionError:
        raise InvalidExpression(_TOO_DEEP) from None
    except ValueError:  # Python parses no integer of more than 4,300 digits, and other literals may be invalid
        raise InvalidExpression("the expression is not JMESPath: one of its literals cannot be read") from None
    return tree


def _parse_error_message(text: str, error: ParseError) -> str:
    if error.token_value in (None, ""):
        return "the expression is not JMESPath: something is missing at its end"
    position = (error.lex_position or 0) + 1
    message = f"the expression is not JMESPath: {error.token_value!r} is not expected at character {position}"
    if _TWO_WORDS.search(_OPERATOR_WORD.sub("&", text)) and "'" not in text and '"' not in text:
        message += '; write a name with spaces in quotes, as in traits."Last contacted"'
    return message


def _children(node: Node) -> Sequence[Node]:
    """Return the child nodes; a slice has numbers instead of nodes."""
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
    """Check functions, their numbers of arguments, and that ``&`` occurs only where a function takes it.

    Raises `InvalidExpression`.
    """
    taken: set[int] = set()
    for node in _nodes(tree):
        if node["type"] == "function_expression":
            for number, child in enumerate(node["children"]):
                if child["type"] == "expref" and _takes_expression(node, number):
                    taken.add(id(child))
            _check_arity(node)
        elif node["type"] == "expref" and id(node) not in taken:
            raise InvalidExpression("& is only allowed before an argument of map, sort_by, max_by or min_by")


def _check_negations(tree: Node) -> None:
    """Refuse ``!a.b``, which JMESPath reads as ``(!a).b`` and which is always null. Raises `InvalidExpression`."""
    for node in _nodes(tree):
        children = _children(node)
        if node["type"] in _CHAINED and children and children[0]["type"] == "not_expression":
            raise InvalidExpression(
                "! negates only the next word: put the whole path in brackets, as in !(traits.vip)"
            )


def _check_arity(node: Node) -> None:
    name, given = node["value"], len(node["children"])
    known = Functions.FUNCTION_TABLE.get(name)
    if known is None:
        transform = TRANSFORM_FUNCTIONS.get(name.lower())
        if transform is not None:
            raise InvalidExpression(f"there is no function {name}(): use the transform {transform} in the rule")
        hint = FUNCTION_ALIASES.get(name.lower()) or closest(name, Functions.FUNCTION_TABLE)
        raise InvalidExpression(f"there is no function {name}()" + (f": did you mean {hint}()?" if hint else ""))
    signature = known["signature"]
    expected, is_variadic = len(signature), bool(signature and signature[-1].get("variadic"))
    if given < expected or (given > expected and not is_variadic):
        least = "at least " if is_variadic else ""
        raise InvalidExpression(f"{name}() takes {least}{expected} argument{'s' * (expected != 1)}, not {given}")


def _takes_expression(node: Node, number: int) -> bool:
    known = Functions.FUNCTION_TABLE.get(node["value"])
    signature = known["signature"] if known else ()
    return number < len(signature) and "expref" in signature[number]["types"]


#: Nodes whose first child reads the node's input, and whose other children read the result of the first.
_CHAINED: Final = frozenset(
    {"subexpression", "index_expression", "pipe", "projection", "value_projection", "filter_projection"}
)


def _at_root(tree: Node) -> Iterator[Node]:
    """Yield the nodes that read the whole context."""
    left = [tree]
    while left:
        node = left.pop()
        yield node
        children = list(_children(node))
        if node["type"] in _CHAINED:
            # nodes after a leading @ still read the context
            count = 1
            while count < len(children) and children[count - 1]["type"] == "current":
                count += 1
            children = children[:count]
        elif node["type"] == "expref":
            children = []
        left.extend(reversed(children))


def _roots(tree: Node) -> Iterator[str]:
    return (node["value"] for node in _at_root(tree) if node["type"] == "field")


def _named_traits(tree: Node) -> Iterator[str]:
    for node in _at_root(tree):
        if node["type"] in ("subexpression", "pipe") and _is_traits(node["children"][0]):
            yield from _roots(node["children"][1])  # nodes that read the traits as their context


def _is_traits(node: Node) -> bool:
    return node["type"] == "field" and bool(node["value"] == "traits")


def _path(tree: Node) -> tuple[str, ...] | None:
    if tree["type"] != "subexpression" or any(each["type"] != "field" for each in tree["children"]):
        return None
    first, *steps = tree["children"]
    return tuple(each["value"] for each in steps) if _is_traits(first) else None


def _unknown_root(name: str, text: str) -> str:
    if name in LITERALS:
        return f"write {name} in backticks, as in `{LITERALS[name]}`"
    if f'"{name}"' in text and text.strip() != f'"{name}"' and f'"{name}".' not in text:
        return f"double quotes are for names: write text in single quotes, as in '{name}'"
    if name in FOREIGN_ROOTS and name != "trait":
        return f"there is no {name!r} here, only {', '.join(ROOTS)}: send the value as a trait"
    similar = closest(name, ROOTS, min_similarity=75)
    if similar is not None:
        return f"there is no {name!r} here: did you mean {similar}?"
    quoted = name if name.isidentifier() and name.isascii() else f'"{name}"'
    return f"there is no {name!r} here, only {', '.join(ROOTS)}: the trait {name!r} is traits.{quoted}"
