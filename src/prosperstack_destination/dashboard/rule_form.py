"""A rule as the fields of a form, for people who write no YAML; and back."""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from enum import StrEnum
from typing import Any, Final

from pydantic import JsonValue

from prosperstack_destination.dashboard.context import Form
from prosperstack_destination.mapping.rules import Rule
from prosperstack_destination.mapping.transforms import DEFAULT_JOIN

#: Most transforms of one rule.
MOST_CLEAN_UPS: Final = 20
#: Transforms with an argument, and those with an optional one.
WITH_ARGUMENT: Final = ("scale", "date_format", "timezone", "max_length")
MAY_HAVE_ARGUMENT: Final = {"round": 0, "join": DEFAULT_JOIN}
#: Of these the argument is a number.
NUMBERS: Final = ("round", "scale", "max_length")
#: Of these it may be a list, written as JSON.
LISTS: Final = ("date_format",)
#: What browsers change in a field.
_UNKEPT: Final = re.compile("[\x00-\x1f]")


class NotARule(ValueError):
    """What the fields say makes no rule; ``str()`` says which, and what is to be written there."""


class RuleKind(StrEnum):
    """Where a rule takes its value from."""

    TRAIT = "trait"
    EXPRESSION = "from"
    FIRST_OF = "first_of"
    #: Nowhere: its default alone.
    DEFAULT = "default"
    #: Its property is switched off.
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class RuleFields:
    """The fields, as they are shown and as they are sent."""

    #: The key of the property that it is for.
    target: str = ""
    kind: RuleKind = RuleKind.TRAIT
    trait: str = ""
    expression: str = ""
    #: An expression a line.
    first_of: str = ""
    when: str = ""
    #: Names of transforms, and their arguments.
    clean: tuple[tuple[str, str], ...] = ()
    #: A line ``value = what is sent`` each.
    values: str = ""
    fallback: str = ""
    default: str = ""

    @property
    def mark(self) -> str:
        """Stands for these fields: whether somebody changed them since they were shown."""
        return hashlib.sha256(repr(astuple(self)).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def key(self) -> str:
        """The property that the rule is for, as it is called; "": none is chosen."""
        return read_name(self.target)

    def rule(self) -> dict[str, Any]:
        """The rule in the form of a mapping file, which is to be looked at for faults. Raises `NotARule`."""
        if not self.key:
            raise NotARule("Choose the property that the rule is for.")
        return {"property": self.key, **(_parts(self) if self.kind is not RuleKind.IGNORE else {"ignore": True})}


def fields_of(rule: Rule) -> RuleFields:
    """A rule as fields, from which `RuleFields.rule` makes the same again."""
    kind = RuleKind.DEFAULT
    if rule.ignore:
        kind = RuleKind.IGNORE
    elif rule.trait is not None:
        kind = RuleKind.TRAIT
    elif rule.from_ is not None:
        kind = RuleKind.EXPRESSION
    elif rule.first_of is not None:
        kind = RuleKind.FIRST_OF
    return RuleFields(
        target=written_name(rule.property),
        kind=kind,
        trait=written_name(rule.trait or ""),
        expression=written_name(rule.from_ or ""),
        first_of="\n".join(map(written_name, rule.first_of or ())),
        when=written_name(rule.when or ""),
        clean=tuple((each.name, _argument_field(each.name, each.argument)) for each in rule.clean),
        values="\n".join(f"{_key_field(key)} = {written(value)}" for key, value in (rule.values or {}).items()),
        fallback=written(rule.fallback) if rule.has_fallback else "",
        default="" if rule.default is None else written(rule.default),
    )


def fields_sent(form: Form) -> RuleFields:
    """The fields of a form. Line breaks are those of here, whichever the browser sends."""
    kind = form.get("rule-kind", "")
    cleaned = [
        (form.get(f"rule-clean-{number}", ""), form.get(f"rule-argument-{number}", ""))
        for number in range(MOST_CLEAN_UPS)
    ]
    return RuleFields(
        target=form.get("rule-property", ""),
        kind=RuleKind(kind) if kind in list(RuleKind) else RuleKind.TRAIT,
        trait=form.get("rule-trait", ""),
        expression=form.get("rule-expression", ""),
        first_of=_lines(form.get("rule-first_of", "")),
        when=form.get("rule-when", ""),
        clean=tuple((name, argument) for name, argument in cleaned if name),
        values=_lines(form.get("rule-values", "")),
        fallback=form.get("rule-fallback", ""),
        default=form.get("rule-default", ""),
    )


def written(value: JsonValue) -> str:
    """A value in a field: text as it is, unless it would be read as something else; then in quotes, as JSON."""
    if isinstance(value, str) and value and not _UNKEPT.search(value) and _is(read(value), value):
        return value
    return json.dumps(value, ensure_ascii=False)


def read(field: str) -> JsonValue:
    """A value from a field: JSON where it is JSON, as numbers, true, false and null are; else text."""
    text = field.strip()
    try:
        value: JsonValue = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text
    return value if _may_be_sent(value) else text


def written_name(name: str) -> str:
    """A name or an expression in a field: in quotes where a field would not keep it."""
    is_kept = read_name(name) == name and not _UNKEPT.search(name)
    return name if is_kept else json.dumps(name, ensure_ascii=False)


def read_name(field: str) -> str:
    """A name or an expression from a field."""
    text = field.strip()
    value = read(text) if text.startswith('"') else text
    return value if isinstance(value, str) else text


def _parts(fields: RuleFields) -> dict[str, Any]:
    """What a rule has besides its property, in the order in which it works."""
    found: dict[str, Any] = {
        "trait": read_name(fields.trait) if fields.kind is RuleKind.TRAIT else "",
        "from": read_name(fields.expression) if fields.kind is RuleKind.EXPRESSION else "",
        "first_of": [read_name(line) for line in fields.first_of.split("\n") if line.strip()]
        if fields.kind is RuleKind.FIRST_OF
        else [],
        "when": read_name(fields.when),
        "clean": [_clean_up(name, argument) for name, argument in fields.clean],
        "values": dict(_values(fields.values)),
    }
    parts = {name: value for name, value in found.items() if value}
    for name, field in (("fallback", fields.fallback), ("default", fields.default)):
        if field.strip():
            parts[name] = read(field)
    return parts


def _values(text: str) -> Iterator[tuple[str, JsonValue]]:
    for line in filter(None, map(str.strip, text.split("\n"))):
        key, field = _entry(line)
        yield key, read(field)


def _entry(line: str) -> tuple[str, str]:
    """A line of a lookup table: the value, and the field with what is sent for it. Raises `NotARule`."""
    if line.startswith('"'):
        with suppress(ValueError):
            key, end = json.JSONDecoder().raw_decode(line)
            field = line[end:].lstrip()
            if field.startswith("=") and _is_whole(key):
                return key, field[1:]
    written_key, equals, field = line.partition("=")
    if not equals:
        raise NotARule(f"Values: {line[:80]!r} is no line of the form `value = what is sent`.")
    return written_key.strip(), field


def _key_field(key: str) -> str:
    is_plain = key and "=" not in key and key[0] != '"' and key.strip() == key and not _UNKEPT.search(key)
    return key if is_plain else json.dumps(key, ensure_ascii=False)


def _clean_up(name: str, field: str) -> Any:
    if name in MAY_HAVE_ARGUMENT:
        return {name: _argument(name, field)} if field.strip() else name
    return {name: _argument(name, field)} if name in WITH_ARGUMENT else name


def _argument(name: str, field: str) -> JsonValue:
    if name in LISTS and field.strip().startswith("["):
        with suppress(ValueError):
            forms: JsonValue = json.loads(field)
            return forms
    return read(field) if name in NUMBERS else read_name(field)


def _argument_field(name: str, argument: JsonValue) -> str:
    if argument is True or MAY_HAVE_ARGUMENT.get(name) == argument:
        return ""
    if isinstance(argument, tuple):
        return json.dumps(argument, ensure_ascii=False)
    return written(argument) if name in NUMBERS else written_name(str(argument)) or '""'


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _no_number(name: str) -> JsonValue:
    raise ValueError(name)


def _may_be_sent(value: JsonValue) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return _is_whole(value) if isinstance(value, str) else not isinstance(value, dict | list)


def _is(one: JsonValue, other: JsonValue) -> bool:
    return one == other and type(one) is type(other)


def _is_whole(text: str) -> bool:
    """Whether it has no half of a pair of signs, which JSON may have and no file."""
    return not any("\ud800" <= each <= "\udfff" for each in text)
