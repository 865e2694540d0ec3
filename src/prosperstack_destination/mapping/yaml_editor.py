"""Rules put into the text of a mapping file, and taken out of it: every other letter of it stays as it is.

A person keeps comments, an order and a layout in such a file, and what writes the whole of it anew would lose them.
So places are found by their marks, and only what differs is written there. What comes out is read again: a text
that would then say anything else than what was asked for is never handed out.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, Final

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from prosperstack_destination.mapping.rules import Rule
from prosperstack_destination.mapping.transforms import TRANSFORMS
from prosperstack_destination.mapping.yaml_reader import YamlError, compose, document_of

#: Keys and values, as a file has them.
Content = Mapping[str, Any]

#: No line is folded: where a line ends is a person's to say.
_WIDE: Final = 1_000_000
#: What YAML takes only escaped, and JSON writes as it is.
_NOT_PRINTABLE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_BREAKS: Final = re.compile("[\n\r\x85\u2028\u2029]")
#: Any rule: to compare the clean-ups of two.
_ANY: Final[Content] = {"property": "any", "default": 0}


def with_rule(text: str, rule: Content) -> str:
    """The text with this rule (in the file's form) in the place of the one for its property, or as the last one.

    Keys of a rule that is there already, and that stay as they are, keep their form and their comments. Raises
    `YamlError` where the text cannot be read, or is written in a way that a rule cannot be put into.
    """
    page = _page(text)
    number = _number(page.rules, rule["property"])
    if number is None:
        return _first_that_says({**page.data, "rules": [*page.rules, rule]}, [_addition(page, rule)], page)
    old, node = page.rules[number], page.rule_nodes[number]
    if _same(old, rule):
        return page.text
    rule = _in_its_form(old, rule)
    whole = [_Edit(node.start_mark.index, page.end(node), _written(page, node, rule))]
    wanted = {**page.data, "rules": [*page.rules[:number], rule, *page.rules[number + 1 :]]}
    return _first_that_says(wanted, [_edits(page, node, old, rule), whole], page)


def without_rule(text: str, key: str) -> str:
    """The text without the rule for a property; as it is where there is none. Raises `YamlError` as `with_rule`."""
    page = _page(text)
    number = _number(page.rules, key)
    if number is None:
        return page.text
    wanted = {**page.data, "rules": [*page.rules[:number], *page.rules[number + 1 :]]}
    return _first_that_says(wanted, [[_removal(page, number)]], page)


def with_based_on(text: str, version: int) -> str:
    """The text with another version in ``based_on``, where it has one. Raises `YamlError` as `with_rule`."""
    page = _page(text)
    if page.entry("based_on") is None:
        return page.text
    return _first_that_says({**page.data, "based_on": version}, [[_setting(page, "based_on", version)]], page)


def with_option(text: str, key: str, value: bool | str) -> str:
    """The text with another value of a key of the whole mapping, as ``forgiving_names``; a text is one word.

    One that is not there is put below all others. Raises `YamlError` as `with_rule`.
    """
    page = _page(text)
    if page.data.get(key) == value:
        return page.text
    return _first_that_says({**page.data, key: value}, [[_setting(page, key, value)]], page)


def rule_in(text: str, key: str) -> Content | None:
    """The rule for a property as the text has it, faulty or not; None: it has none. Raises `YamlError`."""
    rules = _page(text).rules
    number = _number(rules, key)
    return None if number is None else rules[number]


@dataclass(frozen=True, slots=True)
class _Edit:
    """A part of a text, by its beginning and its end, and what is to stand there."""

    start: int
    end: int
    instead: str


_Edits = Sequence[_Edit]


@dataclass(frozen=True, slots=True)
class _YamlSource:
    """A text, its nodes, and what it says."""

    text: str
    root: Node | None
    data: dict[str, Any]

    @property
    def rules(self) -> list[Any]:
        """The rules, as they are written."""
        found = self.data.get("rules")
        return found if isinstance(found, list) else []

    @property
    def rule_nodes(self) -> Sequence[Node]:
        """Their nodes."""
        found = self.entry("rules")
        return found[1].value if found is not None and isinstance(found[1], SequenceNode) else ()

    def entry(self, key: str) -> tuple[Node, Node] | None:
        """The nodes of one of the keys of the whole, and of its value."""
        entries = self.root.value if isinstance(self.root, MappingNode) else []
        return next(((one, value) for one, value in entries if one.value == key), None)

    def colon(self, key: Node) -> int:
        """The place after the colon of a key. Raises `YamlError`."""
        found = self.text.find(":", key.end_mark.index)
        if found < 0:
            raise _cannot()
        return found + 1

    def is_unwritten(self, node: Node) -> bool:
        """Whether a value is null by not being there."""
        return isinstance(node, ScalarNode) and node.style is None and not node.value

    def end(self, node: Node, key: Node | None = None) -> int:
        """Where what a node says ends, before comments, spaces and lines after it; ``key``: whose value it is."""
        if key is not None and self.is_unwritten(node):
            return self.colon(key)
        marked: int = node.end_mark.index
        if isinstance(node, ScalarNode):
            return len(self.text[:marked].rstrip()) if node.style in ("|", ">") else marked
        if _in_brackets(node) or not node.value:
            return marked
        if isinstance(node, MappingNode):
            last, value = node.value[-1]
            return self.end(value, last)
        return self.end(node.value[-1])

    def line_begins(self, place: int) -> int:
        """Where the line of a place begins."""
        return self.text.rfind("\n", 0, place) + 1

    def line_ends(self, place: int) -> int:
        """Where the line of a place ends, before its line break."""
        found = self.text.find("\n", place)
        return len(self.text) if found < 0 else found

    def edited(self, edits: _Edits) -> str:
        """The text with these edits, which do not overlap."""
        text = self.text
        for edit in sorted(edits, key=lambda each: (each.start, each.end), reverse=True):
            text = text[: edit.start] + edit.instead + text[edit.end :]
        return text


def _page(text: str) -> _YamlSource:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    root = compose(text)
    data = document_of(root).data
    if data is not None and not isinstance(data, dict):
        raise YamlError("the file has to be keys and values, as in `rules: []`")
    if data is not None and not isinstance(data.get("rules"), list | None):
        raise YamlError("rules has to be a list, each rule in a line of its own that begins with '- '")
    return _YamlSource(text, root, {} if data is None else data)


def _cannot() -> YamlError:
    return YamlError("the text is written in a way that this cannot be put into: write it there by hand")


def _number(rules: Sequence[Any], key: str) -> int | None:
    """Which of the rules is the one for a property."""
    for number, each in enumerate(rules):
        if isinstance(each, dict) and each.get("property") == key:
            return number
    return None


def _first_that_says(wanted: Content, ways: Sequence[_Edits], page: _YamlSource) -> str:
    """The text by the first of several ways to edit it that has it say what is wanted. Raises `YamlError`."""
    for edits in ways:
        text = page.edited(edits)
        try:
            said = _page(text).data
        except YamlError:
            continue
        if edits and _exactly(said) == _exactly(wanted):
            return text
    raise _cannot()


def _exactly(content: Any) -> str:
    """To compare by: true is not 1."""
    return json.dumps(content, sort_keys=True)


def _same(one: Content, other: Content) -> bool:
    """Whether two rules come to the same, however they are written."""
    try:
        return Rule.model_validate(one).model_dump_json() == Rule.model_validate(other).model_dump_json()
    except ValidationError:
        return False


def _in_its_form(old: Content, rule: Content) -> Content:
    """A new rule with the clean-ups left where the old one has them, in itself, if they are the same."""
    short = {name: old[name] for name in old if name in TRANSFORMS}
    if not short or not _same({**_ANY, **short}, {**_ANY, "clean": rule.get("clean", [])}):
        return rule
    return {**{name: value for name, value in rule.items() if name != "clean"}, **short}


def _edits(page: _YamlSource, node: Node, old: Content, rule: Content) -> _Edits:
    """What makes a rule another one, key by key; nothing where it is in brackets."""
    if not isinstance(node, MappingNode) or _in_brackets(node):
        return []
    entries = [(key, value) for key, value in node.value if key.value in rule]
    (first, _), (last, last_value) = entries[0], entries[-1]
    edits = []
    if node.start_mark.index < first.start_mark.index:  # before it there is a dash, which stays
        edits.append(_Edit(node.start_mark.index, first.start_mark.index, ""))
    column = node.start_mark.column
    for key, value in node.value:
        start, end = key.start_mark.index, page.end(value, key)
        if start < first.start_mark.index:
            continue
        if key.value not in rule:
            edits.append(_Edit(page.line_begins(start) - 1, page.line_ends(end), ""))
        elif _exactly(rule[key.value]) != _exactly(old[key.value]):
            edits.append(_Edit(start, end, _block({key.value: rule[key.value]}, column)))
    new = {name: value for name, value in rule.items() if name not in old}
    if new:
        at = page.line_ends(page.end(last_value, last))
        edits.append(_Edit(at, at, f"\n{' ' * column}{_block(new, column)}"))
    return edits


def _written(page: _YamlSource, node: Node, rule: Content) -> str:
    """A rule for the place of a node."""
    found = page.entry("rules")
    in_brackets = found is not None and _in_brackets(found[1])
    return _flow(rule) if in_brackets else _block(rule, node.start_mark.column)


def _addition(page: _YamlSource, rule: Content) -> _Edits:
    """What adds a rule."""
    found = page.entry("rules")
    if found is None:
        return [_first_rules(page, rule)]
    key, rules = found
    if page.rule_nodes:
        end = page.end(rules)
        if _in_brackets(rules):
            at = page.end(page.rule_nodes[-1])
            return [_Edit(at, at, f", {_flow(rule)}")]
        return [_item(page, end, rules.start_mark.column, rule)]
    colon, end = page.colon(key), page.end(rules, key)
    if _in_brackets(page.root):
        return [_Edit(colon, end, f" [{_flow(rule)}]")]
    return [_Edit(colon, end, ""), _item(page, end, key.start_mark.column + 2, rule)]


def _setting(page: _YamlSource, name: str, value: bool | int | str) -> _Edit:
    """What gives a key of the whole a value; one that is not there stands below all others."""
    written = value if isinstance(value, str) else json.dumps(value)
    found, root, text = page.entry(name), page.root, page.text
    if found is not None:
        key, old = found
        if page.is_unwritten(old):
            return _Edit(page.colon(key), page.end(old, key), f" {written}")
        return _Edit(old.start_mark.index, page.end(old, key), written)
    if not isinstance(root, MappingNode):  # there are comments alone, or null
        start, end = (root.start_mark.index, root.end_mark.index) if root is not None else (len(text), len(text))
        begun = text[:start]
        return _Edit(start, end, ("\n" if begun and begun[-1] != "\n" else "") + f"{name}: {written}\n")
    if _in_brackets(root):
        at = page.end(root.value[-1][1]) if root.value else root.end_mark.index - 1
        return _Edit(at, at, f'{", " if root.value else ""}"{name}": {json.dumps(value)}')
    at = page.line_ends(page.end(root))
    return _Edit(at, at, f"\n{' ' * root.start_mark.column}{name}: {written}")


def _first_rules(page: _YamlSource, rule: Content) -> _Edit:
    """What adds the key ``rules``, with one of them."""
    root, text = page.root, page.text
    if not isinstance(root, MappingNode):  # there are comments alone, or null
        start, end = (root.start_mark.index, root.end_mark.index) if root is not None else (len(text), len(text))
        begun = text[:start]
        return _Edit(start, end, ("\n" if begun and begun[-1] != "\n" else "") + f"rules:\n  - {_block(rule, 4)}\n")
    if _in_brackets(root):
        at = page.end(root.value[-1][1]) if root.value else root.end_mark.index - 1
        return _Edit(at, at, f'{", " if root.value else ""}"rules": [{_flow(rule)}]')
    at, column = page.line_ends(page.end(root)), root.start_mark.column
    return _Edit(at, at, f"\n{' ' * column}rules:\n{' ' * column}  - {_block(rule, column + 4)}")


def _item(page: _YamlSource, end: int, column: int, rule: Content) -> _Edit:
    """What adds a rule after the line where something ends."""
    at = page.line_ends(end)
    return _Edit(at, at, f"\n{' ' * column}- {_block(rule, column + 2)}")


def _removal(page: _YamlSource, number: int) -> _Edit:
    """What takes a rule out; comments above it stay."""
    found = page.entry("rules")
    assert found is not None  # noqa: S101 -- the rule is in it
    (key, rules), nodes = found, page.rule_nodes
    start, end = nodes[number].start_mark.index, page.end(nodes[number])
    if _in_brackets(rules):
        if number:
            return _Edit(page.end(nodes[number - 1]), end, "")
        return _Edit(start, nodes[1].start_mark.index if len(nodes) > 1 else end, "")
    if len(nodes) == 1:
        colon = page.colon(key)
        above = page.text[colon : page.line_begins(rules.start_mark.index)].rstrip()
        return _Edit(colon, page.line_ends(end), f" []{above}")
    begin = page.line_ends(page.end(nodes[number - 1])) + 1 if number else page.line_begins(rules.start_mark.index)
    while begin < start and not page.text[begin:start].lstrip(" ").startswith("-"):
        begin = page.line_ends(begin) + 1  # a comment
    return _Edit(begin, min(page.line_ends(end) + 1, len(page.text)), "")


def _in_brackets(node: Node | None) -> bool:
    return isinstance(node, CollectionNode) and bool(node.flow_style)


def _block(content: Content, column: int) -> str:
    """Keys and values over several lines; all but the first are indented to a column."""
    out = StringIO()
    yaml = YAML(pure=True)
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = _WIDE
    yaml.dump(_in_one_line(content), out)
    return out.getvalue().rstrip("\n").replace("\n", f"\n{' ' * column}")


def _flow(content: Content) -> str:
    """The same in one line, as JSON."""
    text = json.dumps(content, ensure_ascii=False)
    return _NOT_PRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _in_one_line(value: Any) -> Any:
    """A value each of whose texts is written in one line."""
    if isinstance(value, str):
        return DoubleQuotedScalarString(value) if _BREAKS.search(value) else value
    if isinstance(value, Mapping):
        return {_in_one_line(key): _in_one_line(each) for key, each in value.items()}
    return [_in_one_line(each) for each in value] if isinstance(value, list) else value
