"""YAML to plain data that remembers where everything stood.

YAML 1.2, where ``no`` and ``on`` are text, not booleans. Aliases and tags are refused: a mapping has no use for
them, and a few lines of them can make a document of a billion values.
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

#: The longest text, in characters.
MAX_TEXT: Final = 256 * 1024
#: How deep lists and mappings may be nested.
MAX_DEPTH: Final = 20

_HALF: Final = re.compile("[\ud800-\udfff]")

#: The keys and list positions that lead to a value.
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in a text, counted from 1."""

    line: int
    column: int


class YamlError(ValueError):
    """The text cannot be read; ``place`` is where, if that is known."""

    def __init__(self, message: str, place: Place | None = None) -> None:
        super().__init__(message)
        self.place = place


class Document:
    """A text as data."""

    def __init__(self, data: JsonValue, places: dict[Path, Place]) -> None:
        self.data = data
        self._places = places

    def place(self, path: Path) -> Place:
        """Where what a path leads to stands: its key, or the item of a list; else what contains it."""
        while path and path not in self._places:
            path = path[:-1]
        return self._places.get(path, Place(1, 1))


def read_yaml(text: str) -> Document:
    """Read one YAML document. Raises `YamlError`."""
    return document_of(compose(text))


def compose(text: str) -> Node | None:
    """The nodes of one YAML document, with the marks where they stand; None: it is empty. Raises `YamlError`."""
    if len(text) > MAX_TEXT:
        raise YamlError(f"it has {len(text):,} characters, and {MAX_TEXT:,} is the most that is taken")
    try:
        _refuse_references(text)
        node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except YamlError:
        raise
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = None if mark is None else Place(mark.line + 1, mark.column + 1)
        raise YamlError(f"it is not YAML: {error.problem or error.context}{_hint(error)}", place) from None
    except (YAMLError, ValueError, RecursionError) as error:  # control characters, and brackets without an end
        raise YamlError(f"it is not YAML: {_first_line(error)}") from None
    return node


def document_of(node: Node | None) -> Document:
    """Nodes as data. Raises `YamlError`."""
    places: dict[Path, Place] = {}
    return Document(None if node is None else _data(node, (), places), places)


def _refuse_references(text: str) -> None:
    depth = 0
    for token in YAML(typ="safe", pure=True).scan(text):
        if isinstance(token, AliasToken | AnchorToken | TagToken):
            kind = "tags (!)" if isinstance(token, TagToken) else "anchors and aliases (& and *)"
            hint = "; text that begins with such a sign is written in quotes"
            raise YamlError(f"{kind} are not taken: write the value out{hint}", _place(token))
        name = type(token).__name__
        depth += (name in _OPENING) - (name in _CLOSING)
        if depth > MAX_DEPTH:
            raise YamlError(f"it is nested more than {MAX_DEPTH} deep", _place(token))


_OPENING: Final = frozenset(
    {"BlockSequenceStartToken", "BlockMappingStartToken", "FlowSequenceStartToken", "FlowMappingStartToken"}
)
_CLOSING: Final = frozenset({"BlockEndToken", "FlowSequenceEndToken", "FlowMappingEndToken"})


def _hint(error: MarkedYAMLError) -> str:
    if "tab" in str(error.problem) or "'\\t'" in str(error.problem):
        return " (lines are indented with spaces, not with tabs)"
    if "mapping values are not allowed" in str(error.problem):
        return " (text with a colon in it is written in quotes)"
    return ""


def _first_line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return next(iter(str(error).splitlines()), type(error).__name__)


def _place(marked: Any) -> Place:
    return Place(marked.start_mark.line + 1, marked.start_mark.column + 1)


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
            raise YamlError("a key has to be one word or text", _place(key_node))
        key = _text(key_node)
        if key in seen:
            raise YamlError(f"the key {key!r} is there twice: remove one of them", _place(key_node))
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
    return text  # dates too: what they are is the property's type to say


def _text(node: Node) -> str:
    """What a scalar says. JSON writes what is past U+FFFF as two escapes, which are one sign."""
    text = str(node.value)
    if not _HALF.search(text):
        return text
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise YamlError(
            "escapes from \\uD800 to \\uDFFF are halves of a sign, and stand in pairs", _place(node)
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
