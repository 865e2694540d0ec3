"""YAML reader: parses YAML to plain data with the line and column of every value.

The version is YAML 1.2, where ``no`` and ``on`` are text, not booleans. Aliases and tags are refused: a mapping has
no use for them, and a few lines of aliases can expand to a billion values.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic import JsonValue
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.tokens import AliasToken, AnchorToken, TagToken

#: Longest text, in characters.
MAX_TEXT: Final = 256 * 1024
#: Deepest nesting of lists and mappings.
MAX_DEPTH: Final = 20

_SURROGATE: Final = re.compile("[\ud800-\udfff]")

#: Path of a value: keys and list indexes.
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Line and column in a text, counted from 1."""

    line: int
    column: int


class YamlError(ValueError):
    """A text cannot be read; ``place`` is the position of the error, if known."""

    def __init__(self, message: str, place: Place | None = None) -> None:
        super().__init__(message)
        self.place = place


class Document:
    """Data of a text, with the place of each value."""

    def __init__(self, data: JsonValue, places: dict[Path, Place]) -> None:
        self.data = data
        self._places = places

    def place(self, path: Path) -> Place:
        """Return the place of a path: its key or list item, or the nearest container that is in the text."""
        while path and path not in self._places:
            path = path[:-1]
        return self._places.get(path, Place(1, 1))


def read_yaml(text: str) -> Document:
    """Read one YAML document. Raises `YamlError`."""
    return document_of(compose(text))


def compose(text: str) -> Node | None:
    """Return the root node of one YAML document; None if it is empty. Raises `YamlError`."""
    if len(text) > MAX_TEXT:
        raise YamlError(f"the text has {len(text):,} characters: shorten it to {MAX_TEXT:,}")
    try:
        _refuse_references(text)
        node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except YamlError:
        raise
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = None if mark is None else Place(mark.line + 1, mark.column + 1)
        raise YamlError(f"the text is not YAML: {error.problem or error.context}{_hint(error)}", place) from None
    except (YAMLError, ValueError, RecursionError) as error:  # control characters, and unclosed brackets
        raise YamlError(f"the text is not YAML: {_first_line(error)}") from None
    return node


def document_of(node: Node | None) -> Document:
    """Return the data of a node. Raises `YamlError`."""
    places: dict[Path, Place] = {}
    return Document(None if node is None else _data(node, (), places), places)


def _refuse_references(text: str) -> None:
    depth = 0
    for token in YAML(typ="safe", pure=True).scan(text):
        if isinstance(token, AliasToken | AnchorToken | TagToken):
            kind = "tags (!)" if isinstance(token, TagToken) else "anchors and aliases (& and *)"
            hint = "; write text that begins with such a character in quotes"
            raise YamlError(f"{kind} are not allowed: write the value out{hint}", _place(token))
        name = type(token).__name__
        depth += (name in _OPENING) - (name in _CLOSING)
        if depth > MAX_DEPTH:
            raise YamlError(f"the text is nested more than {MAX_DEPTH} levels deep: make it flatter", _place(token))


_OPENING: Final = frozenset(
    {"BlockSequenceStartToken", "BlockMappingStartToken", "FlowSequenceStartToken", "FlowMappingStartToken"}
)
_CLOSING: Final = frozenset({"BlockEndToken", "FlowSequenceEndToken", "FlowMappingEndToken"})


def _hint(error: MarkedYAMLError) -> str:
    if "tab" in str(error.problem) or "'\\t'" in str(error.problem):
        return " (indent lines with spaces, not with tabs)"
    if "mapping values are not allowed" in str(error.problem):
        return " (write text with a colon in quotes)"
    return ""


def _first_line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return next(iter(str(error).splitlines()), type(error).__name__)


def _place(node_or_token: Any) -> Place:
    return Place(node_or_token.start_mark.line + 1, node_or_token.start_mark.column + 1)


def _data(node: Node, path: Path, places: dict[Path, Place]) -> JsonValue:
    places.setdefault(path, _place(node))
    if isinstance(node, SequenceNode):
        return [_data(item, (*path, number), places) for number, item in enumerate(node.value)]
    if isinstance(node, MappingNode):
        return dict(_items(node, path, places))
    return _scalar(node)


def _items(node: MappingNode, path: Path, places: dict[Path, Place]) -> Iterator[tuple[str, JsonValue]]:
    seen: set[str] = set()
    for key_node, value_node in node.value:
        if not isinstance(key_node, ScalarNode):
            raise YamlError("a key is not a single value: write one word or text", _place(key_node))
        key = _text(key_node)
        if key in seen:
            raise YamlError(f"the key {key!r} occurs twice: remove one of them", _place(key_node))
        seen.add(key)
        places[(*path, key)] = _place(key_node)
        yield key, _data(value_node, (*path, key), places)


def _scalar(node: Node) -> JsonValue:
    text = _text(node)
    if isinstance(node, ScalarNode) and node.style in ("'", '"', "|", ">"):
        return text
    kind = str(node.tag).rpartition(":")[2]
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind in ("int", "float"):
        return _number(text)
    return text  # dates too, because the property's type decides how to read them


def _text(node: Node) -> str:
    """Return the text of a scalar; JSON writes a character above U+FFFF as two escapes, which are joined.

    Raises `YamlError` for half of such a pair.
    """
    text = str(node.value)
    if not _SURROGATE.search(text):
        return text
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise YamlError(
            "an escape from \\uD800 to \\uDFFF is half of a character: write both halves", _place(node)
        ) from None


def _number(text: str) -> JsonValue:
    plain = text.replace("_", "")
    try:
        return int(plain, 0) if plain.lower().startswith(("0x", "0o", "0b")) else int(plain)
    except ValueError:
        pass
    try:
        return float(plain.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text
