"""Text of a mapping file with the positions of its YAML nodes, edits of that text, and content written as YAML."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from prosperstack_destination.mapping.yaml_reader import YamlError, compose, document_of

#: Keys and values, in the form of the mapping file.
Content = Mapping[str, Any]

#: Line width that is never reached, so that no line is folded.
_WIDE: Final = 1_000_000
#: Characters that YAML accepts only escaped, and that JSON does not escape.
_NOT_PRINTABLE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_BREAKS: Final = re.compile("[\n\r\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Edit:
    """Replacement of a part of the text, from ``start`` to before ``end``."""

    start: int
    end: int
    replacement: str


Edits = Sequence[Edit]


@dataclass(frozen=True, slots=True)
class YamlSource:
    """Text of a mapping file, with its nodes and its data."""

    text: str
    root: Node | None
    data: dict[str, Any]

    @property
    def rules(self) -> list[Any]:
        """Return the rules as they are written."""
        found = self.data.get("rules")
        return found if isinstance(found, list) else []

    @property
    def rule_nodes(self) -> Sequence[Node]:
        """Return the nodes of the rules."""
        found = self.entry("rules")
        return found[1].value if found is not None and isinstance(found[1], SequenceNode) else ()

    def entry(self, key: str) -> tuple[Node, Node] | None:
        """Return the nodes of a top-level key and of its value, or None."""
        entries = self.root.value if isinstance(self.root, MappingNode) else []
        return next(((one, value) for one, value in entries if one.value == key), None)

    def colon(self, key: Node) -> int:
        """Return the position after the colon of a key. Raises `YamlError`."""
        found = self.text.find(":", key.end_mark.index)
        if found < 0:
            raise not_editable()
        return found + 1

    def is_unwritten(self, node: Node) -> bool:
        """Return whether a value is null because nothing is written."""
        return isinstance(node, ScalarNode) and node.style is None and not node.value

    def end(self, node: Node, key: Node | None = None) -> int:
        """Return the end of a node's content, before comments and white space; ``key`` is the node's key."""
        if key is not None and self.is_unwritten(node):
            return self.colon(key)
        marked: int = node.end_mark.index
        if isinstance(node, ScalarNode):
            return len(self.text[:marked].rstrip()) if node.style in ("|", ">") else marked
        if in_brackets(node) or not node.value:
            return marked
        if isinstance(node, MappingNode):
            last, value = node.value[-1]
            return self.end(value, last)
        return self.end(node.value[-1])

    def line_start(self, position: int) -> int:
        """Return the start of the line with a position."""
        return self.text.rfind("\n", 0, position) + 1

    def line_end(self, position: int) -> int:
        """Return the end of the line with a position, before the line break."""
        found = self.text.find("\n", position)
        return len(self.text) if found < 0 else found

    def edited(self, edits: Edits) -> str:
        """Return the text with these edits applied. Edits do not overlap."""
        text = self.text
        for edit in sorted(edits, key=lambda each: (each.start, each.end), reverse=True):
            text = text[: edit.start] + edit.replacement + text[edit.end :]
        return text


def parse_source(text: str) -> YamlSource:
    """Return the source of a mapping file's text, with line breaks as "\\n". Raises `YamlError`."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    root = compose(text)
    data = document_of(root).data
    if data is not None and not isinstance(data, dict):
        raise YamlError("write keys and values at the top level of the file, e.g. `rules: []`")
    if data is not None and not isinstance(data.get("rules"), list | None):
        raise YamlError("rules is not a list: write each rule in a line of its own that begins with '- '")
    return YamlSource(text, root, {} if data is None else data)


def not_editable() -> YamlError:
    """Return the error of a text whose form does not allow a change."""
    return YamlError("the form of the text does not allow this change: edit the text by hand")


def in_brackets(node: Node | None) -> bool:
    """Return whether a node is a list or an object in brackets."""
    return isinstance(node, CollectionNode) and bool(node.flow_style)


def to_block(content: Content | Sequence[Any], column: int) -> str:
    """Return content in block form; all lines but the first are indented to a column."""
    out = StringIO()
    yaml = YAML(pure=True)
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = _WIDE
    yaml.dump(_in_one_line(content), out)
    return out.getvalue().rstrip("\n").replace("\n", f"\n{' ' * column}")


def to_flow(content: Any) -> str:
    """Return content in one line, as JSON."""
    text = json.dumps(content, ensure_ascii=False)
    return _NOT_PRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _in_one_line(value: Any) -> Any:
    """Return a value whose texts are all written in one line."""
    if isinstance(value, str):
        return DoubleQuotedScalarString(value) if _BREAKS.search(value) else value
    if isinstance(value, Mapping):
        return {_in_one_line(key): _in_one_line(each) for key, each in value.items()}
    return [_in_one_line(each) for each in value] if isinstance(value, list) else value
