"""JMESPath expressions: parsed and checked once, before the first run.

An expression of a rule reads `ROOTS`, one about a call `CALL_ROOTS`. Compiling reports all errors that do not
depend on values: unknown functions, a wrong number of arguments, invalid literals, names other than the roots.
"""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import takewhile
from typing import Any, Final

from jmespath.exceptions import JMESPathError, LexerError, ParseError
from jmespath.functions import Functions
from jmespath.parser import Parser

from prosperstack_destination.mapping.expression_hints import (
    FOREIGN_ROOTS,
    FUNCTION_ALIASES,
    LITERALS,
    repair_expression,
)
from prosperstack_destination.mapping.functions import FUNCTIONS, OF_THE_DAY
from prosperstack_destination.mapping.name_matching import closest

#: Longest expression, in characters.
MAX_LENGTH: Final = 1_000
#: Deepest nesting of its parts.
MAX_DEPTH: Final = 40
#: Size of the cache of compiled expressions, shared by all accounts.
CACHE_SIZE: Final = 2_048
#: Names that an expression of a rule may read.
ROOTS: Final = ("traits", "userId", "anonymousId", "audiences", "context", "source", "now")
#: Names that an expression about one call may read.
CALL_ROOTS: Final = ("traits", "userId", "anonymousId", "context", "source", "properties", "type", "integrations")

#: All functions.
FUNCTION_NAMES: Final = frozenset({*Functions.FUNCTION_TABLE, *FUNCTIONS})

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
    #: Paths in the context that the expression reads, e.g. ``("campaign", "name")``.
    context: tuple[tuple[str, ...], ...]
    #: Steps after ``traits`` if the expression is only a path, e.g. ``traits.address.city``; otherwise None.
    path: tuple[str, ...] | None

    @property
    def is_of_the_day(self) -> bool:
        """Return whether the value depends on the day."""
        functions = (node["value"] for node in _nodes(self.tree) if node["type"] == "function_expression")
        return "now" in self.roots or any(name in OF_THE_DAY for name in functions)


@lru_cache(maxsize=CACHE_SIZE)
def compile_expression(text: str, roots: tuple[str, ...] = ROOTS) -> Expression:
    """Parse and check an expression. Raises `InvalidExpression`, with a correction if there is one."""
    try:
        return _parse_and_check(text, roots)
    except InvalidExpression as error:
        correction = repair_expression(text, partial(_is_valid, roots))
        if correction is None or f" {correction}" in str(error):
            raise
        reason = str(error).partition(": did you mean")[0]
        raise InvalidExpression(f"{reason}: did you mean {correction}?") from None


def _is_valid(roots: tuple[str, ...], text: str) -> bool:
    try:
        _parse_and_check(text, roots)
    except InvalidExpression:
        return False
    return True


def _parse_and_check(text: str, allowed: tuple[str, ...]) -> Expression:
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
        if root not in allowed:
            raise InvalidExpression(_unknown_root(root, text, allowed))
    _check_source(tree)
    context = tuple(dict.fromkeys(_context_paths(tree))) if allowed is ROOTS else ()
    traits = tuple(dict.fromkeys(_named_traits(tree)))
    return Expression(text, tree, traits, frozenset(roots), context, _path(tree))


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
        message += '; write a name with spaces in quotes, e.g. traits."Last contacted"'
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
                "! negates only the next word: put the whole path in brackets, e.g. !(traits.vip)"
            )


def _check_arity(node: Node) -> None:
    name, given = node["value"], len(node["children"])
    function, known = FUNCTIONS.get(name), Functions.FUNCTION_TABLE.get(name)
    if function is not None:
        least, most = function.least, function.most
        _check_literals(node)
    elif known is not None:
        signature = known["signature"]
        least = len(signature)
        most = None if signature and signature[-1].get("variadic") else least
    else:
        hint = FUNCTION_ALIASES.get(name.lower().replace("_", "")) or closest(name, FUNCTION_NAMES)
        raise InvalidExpression(f"there is no function {name}()" + (f": did you mean {hint}()?" if hint else ""))
    if given < least or (most is not None and given > most):
        expected = f"at least {least}" if most is None else f"{least}" if least == most else f"{least} to {most}"
        plural = "s" * (expected not in ("1", "at least 1"))
        raise InvalidExpression(f"{name}() takes {expected} argument{plural}, not {given}")


def _check_literals(node: Node) -> None:
    """Check the arguments of a function that are written out, as its regular expression. See `_check_arity`."""
    name = node["value"]
    for number, child in enumerate(node["children"]):
        if child["type"] == "literal" and FUNCTIONS[name].parameters:
            try:
                FUNCTIONS[name].parameter(number).check_literal(child["value"])
            except ValueError as error:
                raise InvalidExpression(f"{name}(): {error}") from None


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


def _is_root(node: Node, name: str) -> bool:
    return node["type"] == "field" and bool(node["value"] == name)


def _context_paths(tree: Node) -> Iterator[tuple[str, ...]]:
    """Yield the paths in the context that a rule reads. Raises `InvalidExpression` if it names no part of it."""
    named: set[int] = set()
    for node in _at_root(tree):
        if node["type"] == "subexpression" and _is_root(node["children"][0], "context"):
            steps = [each["value"] for each in takewhile(_is_field, node["children"][1:])]
            if steps[:1] == ["traits"]:
                raise InvalidExpression("the traits of the context are among the traits: write traits instead")
            if steps:
                named.add(id(node["children"][0]))
                yield tuple(steps)
    for node in _at_root(tree):
        if _is_root(node, "context") and id(node) not in named:
            raise InvalidExpression("name the part of the context that the rule reads, e.g. context.campaign.name")


def _is_field(node: Node) -> bool:
    return bool(node["type"] == "field")


def _check_source(tree: Node) -> None:
    """Refuse a comparison with the source itself, which is an object. Raises `InvalidExpression`."""
    for node in _at_root(tree):
        if node["type"] == "comparator" and any(_is_root(each, "source") for each in node["children"]):
            raise InvalidExpression("source is an object: compare source.id, source.name or source.kind")


def _path(tree: Node) -> tuple[str, ...] | None:
    if tree["type"] != "subexpression" or any(each["type"] != "field" for each in tree["children"]):
        return None
    first, *steps = tree["children"]
    return tuple(each["value"] for each in steps) if _is_traits(first) else None


def _unknown_root(name: str, text: str, roots: tuple[str, ...]) -> str:
    if name in LITERALS:
        return f"write {name} in backticks, e.g. `{LITERALS[name]}`"
    if f'"{name}"' in text and text.strip() != f'"{name}"' and f'"{name}".' not in text:
        return f"double quotes are for names: write text in single quotes, e.g. '{name}'"
    listed = ", ".join(roots)
    if name == "now":
        return f"there is no 'now' here, only {listed}: what depends on the day belongs into a rule"
    if name == "properties":
        return f"an Identify call has no properties, only {listed}: send the value as a trait"
    if name in FOREIGN_ROOTS and name != "trait":
        return f"there is no {name!r} here, only {listed}: send the value as a trait"
    similar = closest(name, roots, min_similarity=75)
    if similar is not None:
        return f"there is no {name!r} here: did you mean {similar}?"
    quoted = name if name.isidentifier() and name.isascii() else f'"{name}"'
    return f"there is no {name!r} here, only {listed}: the trait {name!r} is traits.{quoted}"
