"""YAML editor: changes rules in the text of a mapping file, and leaves the rest of the text unchanged.

A mapping file has comments, an order and a layout, which writing the whole file again would lose. The editor finds
places by the marks of YAML nodes, and replaces only the parts that differ. It reads every result again, and never
returns a text whose content differs from the requested content.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from pydantic import JsonValue, ValidationError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from prosperstack_destination.mapping.rules import Rule
from prosperstack_destination.mapping.transforms import TRANSFORMS
from prosperstack_destination.mapping.yaml_reader import YamlError
from prosperstack_destination.mapping.yaml_source import (
    Content,
    Edit,
    Edits,
    YamlSource,
    in_brackets,
    not_editable,
    parse_source,
    to_block,
    to_flow,
)

#: Valid rule without transforms, to compare the transforms of two rules.
_BARE_RULE: Final[Content] = {"property": "any", "default": 0}


def with_rule(text: str, rule: Content) -> str:
    """Return the text with this rule in place of the rule for the same property, or added as the last one.

    Unchanged keys of the old rule keep their form and their comments. Raises `YamlError` if the text cannot be
    read, or its form does not allow the change.
    """
    source = parse_source(text)
    number = _rule_index(source.rules, rule["property"])
    if number is None:
        return _first_valid(
            {**source.data, "rules": [*source.rules, rule]}, [_addition_edits(source, rule)], source
        )
    old, node = source.rules[number], source.rule_nodes[number]
    if _is_equivalent(old, rule):
        return source.text
    rule = _keep_form(old, rule)
    whole = [Edit(node.start_mark.index, source.end(node), _rule_text(source, node, rule))]
    wanted = {**source.data, "rules": [*source.rules[:number], rule, *source.rules[number + 1 :]]}
    return _first_valid(wanted, [_rule_edits(source, node, old, rule), whole], source)


def without_rule(text: str, key: str) -> str:
    """Return the text without the rule for a property, if it has one. Raises `YamlError` as `with_rule` does."""
    source = parse_source(text)
    number = _rule_index(source.rules, key)
    if number is None:
        return source.text
    wanted = {**source.data, "rules": [*source.rules[:number], *source.rules[number + 1 :]]}
    return _first_valid(wanted, [[_removal_edit(source, number)]], source)


def with_based_on(text: str, version: int) -> str:
    """Return the text with another version in ``based_on``, if it has one.

    Raises `YamlError` as `with_rule` does.
    """
    source = parse_source(text)
    if source.entry("based_on") is None:
        return source.text
    return _first_valid({**source.data, "based_on": version}, [[_key_edit(source, "based_on", version)]], source)


def with_option(text: str, key: str, value: JsonValue) -> str:
    """Return the text with another value of a top-level key (e.g. ``accept``); add a missing key last.

    ``value`` None removes the key. Unchanged keys and items of the old value keep their form and their comments.
    Raises `YamlError` as `with_rule` does.
    """
    source = parse_source(text)
    old, found = source.data.get(key), source.entry(key)
    if _canonical(old) == _canonical(value):
        return source.text
    if value is None:
        rest = {name: each for name, each in source.data.items() if name != key}
        return _first_valid(rest, [[_key_removal_edit(source, key)]], source)
    alternatives: list[Edits] = [[_key_edit(source, key, value)]]
    if found is not None and isinstance(value, dict) and isinstance(old, dict):
        alternatives.insert(0, _rule_edits(source, found[1], old, _keep_form(old, value)))
    if found is not None and isinstance(value, list) and isinstance(old, list):
        alternatives.insert(0, _item_edits(source, found[1], old, value))
    return _first_valid({**source.data, key: value}, alternatives, source)


def options_in(text: str) -> Content:
    """Return the top-level keys and values as they are written, valid or not. Raises `YamlError`."""
    return parse_source(text).data


def rule_in(text: str, key: str) -> Content | None:
    """Return the rule for a property as it is written, valid or not; None if there is none. Raises `YamlError`."""
    rules = parse_source(text).rules
    number = _rule_index(rules, key)
    return None if number is None else rules[number]


def _rule_index(rules: Sequence[Any], key: str) -> int | None:
    """Return the index of the rule for a property, or None."""
    for index, rule in enumerate(rules):
        if isinstance(rule, dict) and rule.get("property") == key:
            return index
    return None


def _first_valid(wanted: Content, alternatives: Sequence[Edits], source: YamlSource) -> str:
    """Return the text by the first alternative whose result has the wanted content. Raises `YamlError`."""
    for edits in alternatives:
        text = source.edited(edits)
        try:
            data = parse_source(text).data
        except YamlError:
            continue
        if edits and _canonical(data) == _canonical(wanted):
            return text
    raise not_editable()


def _canonical(content: Any) -> str:
    """Return content in a form for comparison, where true differs from 1."""
    return json.dumps(content, sort_keys=True)


def _is_equivalent(one: Content, other: Content) -> bool:
    """Return whether two rules mean the same, though their forms may differ."""
    try:
        return Rule.model_validate(one).model_dump_json() == Rule.model_validate(other).model_dump_json()
    except ValidationError:
        return False


def _keep_form(old: Content, rule: Content) -> Content:
    """Return the new rule with transforms as keys of the rule, if the old one has the same transforms there."""
    short = {name: old[name] for name in old if name in TRANSFORMS}
    if not short or not _is_equivalent({**_BARE_RULE, **short}, {**_BARE_RULE, "clean": rule.get("clean", [])}):
        return rule
    return {**{name: value for name, value in rule.items() if name != "clean"}, **short}


def _rule_edits(source: YamlSource, node: Node, old: Content, rule: Content) -> Edits:
    """Return the edits that change a rule key by key; none for a rule in brackets."""
    if not isinstance(node, MappingNode) or in_brackets(node):
        return []
    entries = [(key, value) for key, value in node.value if key.value in rule]
    if not entries:
        return []
    (first, _), (last, last_value) = entries[0], entries[-1]
    edits = []
    if node.start_mark.index < first.start_mark.index:  # the dash before it stays
        edits.append(Edit(node.start_mark.index, first.start_mark.index, ""))
    column = node.start_mark.column
    for key, value in node.value:
        start, end = key.start_mark.index, source.end(value, key)
        if start < first.start_mark.index:
            continue
        if key.value not in rule:
            edits.append(Edit(source.line_start(start) - 1, source.line_end(end), ""))
        elif _canonical(rule[key.value]) != _canonical(old[key.value]):
            edits.append(Edit(start, end, to_block({key.value: rule[key.value]}, column)))
    new = {name: value for name, value in rule.items() if name not in old}
    if new:
        at = source.line_end(source.end(last_value, last))
        edits.append(Edit(at, at, f"\n{' ' * column}{to_block(new, column)}"))
    return edits


def _rule_text(source: YamlSource, node: Node, rule: Content) -> str:
    """Return the text of a rule that replaces a node."""
    found = source.entry("rules")
    if found is not None and in_brackets(found[1]):
        return to_flow(rule)
    return to_block(rule, node.start_mark.column)


def _addition_edits(source: YamlSource, rule: Content) -> Edits:
    """Return the edits that add a rule."""
    found = source.entry("rules")
    if found is None:
        return [_rules_key_edit(source, rule)]
    key, rules = found
    if source.rule_nodes:
        end = source.end(rules)
        if in_brackets(rules):
            at = source.end(source.rule_nodes[-1])
            return [Edit(at, at, f", {to_flow(rule)}")]
        return [_item_edit(source, end, rules.start_mark.column, rule)]
    colon, end = source.colon(key), source.end(rules, key)
    if in_brackets(source.root):
        return [Edit(colon, end, f" [{to_flow(rule)}]")]
    return [Edit(colon, end, ""), _item_edit(source, end, key.start_mark.column + 2, rule)]


def _key_edit(source: YamlSource, name: str, value: JsonValue) -> Edit:
    """Return the edit that sets a top-level key; a missing key is added last."""
    found, root, text = source.entry(name), source.root, source.text
    if found is not None:
        key, old = found
        written = f"{json.dumps(name)}: {to_flow(value)}"
        if not in_brackets(root):
            written = to_block({name: value}, key.start_mark.column)
        return Edit(key.start_mark.index, source.end(old, key), written)
    if not isinstance(root, MappingNode):  # only comments, or null
        start, end = (root.start_mark.index, root.end_mark.index) if root is not None else (len(text), len(text))
        before = text[:start]
        return Edit(start, end, ("\n" if before and before[-1] != "\n" else "") + f"{to_block({name: value}, 0)}\n")
    if in_brackets(root):
        at = source.end(root.value[-1][1]) if root.value else root.end_mark.index - 1
        return Edit(at, at, f"{', ' if root.value else ''}{json.dumps(name)}: {to_flow(value)}")
    at, column = source.line_end(source.end(root)), root.start_mark.column
    return Edit(at, at, f"\n{' ' * column}{to_block({name: value}, column)}")


def _key_removal_edit(source: YamlSource, name: str) -> Edit:
    """Return the edit that removes a top-level key; comments above it stay."""
    entries: list[tuple[Node, Node]] = source.root.value if isinstance(source.root, MappingNode) else []
    number = next(index for index, (key, _) in enumerate(entries) if key.value == name)
    key, value = entries[number]
    start, end = key.start_mark.index, source.end(value, key)
    if in_brackets(source.root):
        if number:
            return Edit(source.end(*reversed(entries[number - 1])), end, "")
        return Edit(start, entries[1][0].start_mark.index if len(entries) > 1 else end, "")
    return Edit(source.line_start(start), min(source.line_end(end) + 1, len(source.text)), "")


def _item_edits(source: YamlSource, node: Node, old: Sequence[Any], items: Sequence[Any]) -> Edits:
    """Return the edits that remove items from a list, and add items at its end; none for another change."""
    kept = [each for each in old if each in items]
    if not isinstance(node, SequenceNode) or in_brackets(node) or not kept or kept != items[: len(kept)]:
        return []
    edits = []
    for item, each in zip(old, node.value, strict=True):
        if item not in items:
            start = source.line_start(each.start_mark.index)
            edits.append(Edit(start - 1, source.line_end(source.end(each)), ""))
    if new := items[len(kept) :]:
        end, column = source.line_end(source.end(node)), " " * node.start_mark.column
        edits.append(Edit(end, end, "".join(f"\n{column}{line.strip()}" for line in to_block(new, 0).split("\n"))))
    return edits


def _rules_key_edit(source: YamlSource, rule: Content) -> Edit:
    """Return the edit that adds the key ``rules`` with one rule."""
    root, text = source.root, source.text
    if not isinstance(root, MappingNode):  # only comments, or null
        start, end = (root.start_mark.index, root.end_mark.index) if root is not None else (len(text), len(text))
        before = text[:start]
        return Edit(
            start, end, ("\n" if before and before[-1] != "\n" else "") + f"rules:\n  - {to_block(rule, 4)}\n"
        )
    if in_brackets(root):
        at = source.end(root.value[-1][1]) if root.value else root.end_mark.index - 1
        return Edit(at, at, f'{", " if root.value else ""}"rules": [{to_flow(rule)}]')
    at, column = source.line_end(source.end(root)), root.start_mark.column
    return Edit(at, at, f"\n{' ' * column}rules:\n{' ' * column}  - {to_block(rule, column + 4)}")


def _item_edit(source: YamlSource, end: int, column: int, rule: Content) -> Edit:
    """Return the edit that adds a rule after the line with the position ``end``."""
    at = source.line_end(end)
    return Edit(at, at, f"\n{' ' * column}- {to_block(rule, column + 2)}")


def _removal_edit(source: YamlSource, number: int) -> Edit:
    """Return the edit that removes a rule; comments above it stay."""
    found = source.entry("rules")
    assert found is not None  # noqa: S101 -- it contains the rule
    (key, rules), nodes = found, source.rule_nodes
    start, end = nodes[number].start_mark.index, source.end(nodes[number])
    if in_brackets(rules):
        if number:
            return Edit(source.end(nodes[number - 1]), end, "")
        return Edit(start, nodes[1].start_mark.index if len(nodes) > 1 else end, "")
    if len(nodes) == 1:
        colon = source.colon(key)
        above = source.text[colon : source.line_start(rules.start_mark.index)].rstrip()
        return Edit(colon, source.line_end(end), f" []{above}")
    start_of_line = (
        source.line_end(source.end(nodes[number - 1])) + 1 if number else source.line_start(rules.start_mark.index)
    )
    while start_of_line < start and not source.text[start_of_line:start].lstrip(" ").startswith("-"):
        start_of_line = source.line_end(start_of_line) + 1  # a comment
    return Edit(start_of_line, min(source.line_end(end) + 1, len(source.text)), "")
