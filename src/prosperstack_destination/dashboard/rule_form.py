"""Conversion between a mapping rule and the fields of the rule form."""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from enum import StrEnum
from typing import Any, Final

from pydantic import JsonValue

from prosperstack_destination.dashboard.routing import Form
from prosperstack_destination.mapping.rules import Rule
from prosperstack_destination.mapping.transforms import DEFAULTS, WITH_ARGUMENT, Transform

#: Maximum transforms of a rule.
MAX_TRANSFORMS: Final = 20
#: Transforms with an optional argument, and its default.
WITH_OPTIONAL_ARGUMENT: Final = {**DEFAULTS, "number": True}
#: Transforms whose argument is a number.
WITH_NUMBER: Final = ("round", "scale", "max_length", "mask")
#: Transforms whose argument may be a list or an object, as JSON.
WITH_JSON: Final = ("date_format", "replace")
#: Examples of the arguments of transforms.
EXAMPLES: Final = {
    "replace": '{"-": "", " ": ""}',
    "split": ",",
    "number": "de, or empty",
    "round": "2",
    "scale": "0.01",
    "join": ", ",
    "date_format": '%d/%m/%Y, or ["%d/%m/%Y", "%d.%m.%Y"]',
    "timezone": "Europe/Berlin",
    "format_date": "%d.%m.%Y",
    "hash": "sha256 or hmac",
    "mask": "4",
    "max_length": "50",
}
#: Characters that browsers change in a form field.
_UNSAFE: Final = re.compile("[\x00-\x1f]")


class InvalidRule(ValueError):
    """The fields form no valid rule; ``str()`` names the field and the expected content."""


class RuleKind(StrEnum):
    """ConnectionKind of a rule's value source."""

    TRAIT = "trait"
    EXPRESSION = "from"
    FIRST_OF = "first_of"
    #: Only the default.
    DEFAULT = "default"
    #: The property is switched off.
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class RuleFields:
    """Fields of the rule form, as shown and as submitted."""

    #: Key of the property.
    target: str = ""
    kind: RuleKind = RuleKind.TRAIT
    trait: str = ""
    expression: str = ""
    #: One expression per line.
    first_of: str = ""
    when: str = ""
    #: IDs or names of sources, separated by commas.
    sources: str = ""
    #: Name and argument of each transform.
    clean: tuple[tuple[str, str], ...] = ()
    #: One entry of the lookup table per line: ``value = value to send``.
    values: str = ""
    fallback: str = ""
    default: str = ""

    @property
    def mark(self) -> str:
        """Digest of the fields, to detect edits since the form was shown."""
        return hashlib.sha256(repr(astuple(self)).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @property
    def key(self) -> str:
        """Key of the property, decoded; "" if none is selected."""
        return read_name(self.target)

    def rule(self) -> dict[str, Any]:
        """Return the rule as in a mapping file, not yet validated. Raises `InvalidRule`."""
        if not self.key:
            raise InvalidRule("Choose the property of the rule.")
        return {"property": self.key, **(_parts(self) if self.kind is not RuleKind.IGNORE else {"ignore": True})}


def fields_of(rule: Rule) -> RuleFields:
    """Return a rule as fields. `RuleFields.rule` returns the same rule."""
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
        sources=", ".join(rule.sources or ()),
        clean=transform_fields(rule.clean),
        values="\n".join(f"{_key_field(key)} = {written(value)}" for key, value in (rule.values or {}).items()),
        fallback=written(rule.fallback) if rule.has_fallback else "",
        default="" if rule.default is None else written(rule.default),
    )


def fields_from_form(form: Form) -> RuleFields:
    """Return the rule fields of a submitted form, with line breaks normalised to ``\n``."""
    kind = form.get("rule-kind", "")
    return RuleFields(
        target=form.get("rule-property", ""),
        kind=RuleKind(kind) if kind in list(RuleKind) else RuleKind.TRAIT,
        trait=form.get("rule-trait", ""),
        expression=form.get("rule-expression", ""),
        first_of=normalise_lines(form.get("rule-first_of", "")),
        when=form.get("rule-when", ""),
        sources=form.get("rule-sources", ""),
        clean=transforms_from_form(form),
        values=normalise_lines(form.get("rule-values", "")),
        fallback=form.get("rule-fallback", ""),
        default=form.get("rule-default", ""),
    )


def transforms_from_form(form: Form) -> tuple[tuple[str, str], ...]:
    """Return name and argument of the transforms of a submitted form."""
    transforms = [
        (form.get(f"rule-clean-{number}", ""), form.get(f"rule-argument-{number}", ""))
        for number in range(MAX_TRANSFORMS)
    ]
    return tuple((name, argument) for name, argument in transforms if name)


def transform_fields(clean: Iterable[Transform]) -> tuple[tuple[str, str], ...]:
    """Return transforms as pairs of name and argument field."""
    return tuple((each.name, _argument_field(each.name, each.argument)) for each in clean)


def read_transform(name: str, field: str) -> JsonValue:
    """Return a transform as in a mapping file, of its name and its argument field."""
    if name in WITH_OPTIONAL_ARGUMENT:
        return {name: _argument(name, field)} if field.strip() else name
    return {name: _argument(name, field)} if name in WITH_ARGUMENT else name


def normalise_lines(text: str) -> str:
    """Return the text of a form field with line breaks as ``\n``."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def written(value: JsonValue) -> str:
    """Encode a value for a field: text unchanged, or as JSON if `read` would return something else."""
    if isinstance(value, str) and value and not _UNSAFE.search(value) and _is_same(read(value), value):
        return value
    return json.dumps(value, ensure_ascii=False)


def read(field: str) -> JsonValue:
    """Decode a value from a field: as JSON (numbers, true, false, null, quoted text), otherwise as text."""
    text = field.strip()
    try:
        value: JsonValue = json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        return text
    return value if _is_valid_value(value) else text


def written_name(name: str) -> str:
    """Encode a name or an expression for a field: in quotes if the field would change it."""
    is_safe = read_name(name) == name and not _UNSAFE.search(name)
    return name if is_safe else json.dumps(name, ensure_ascii=False)


def read_name(field: str) -> str:
    """Decode a name or an expression from a field."""
    text = field.strip()
    value = read(text) if text.startswith('"') else text
    return value if isinstance(value, str) else text


def _parts(fields: RuleFields) -> dict[str, Any]:
    """Return the parts of a rule except its property, in the order of evaluation."""
    candidates: dict[str, Any] = {
        "trait": read_name(fields.trait) if fields.kind is RuleKind.TRAIT else "",
        "from": read_name(fields.expression) if fields.kind is RuleKind.EXPRESSION else "",
        "first_of": [read_name(line) for line in fields.first_of.split("\n") if line.strip()]
        if fields.kind is RuleKind.FIRST_OF
        else [],
        "when": read_name(fields.when),
        "sources": [each.strip() for each in fields.sources.split(",") if each.strip()],
        "clean": [read_transform(name, argument) for name, argument in fields.clean],
        "values": dict(_values(fields.values)),
    }
    parts = {name: value for name, value in candidates.items() if value}
    for name, field in (("fallback", fields.fallback), ("default", fields.default)):
        if field.strip():
            parts[name] = read(field)
    return parts


def _values(text: str) -> Iterator[tuple[str, JsonValue]]:
    for line in filter(None, map(str.strip, text.split("\n"))):
        key, field = _entry(line)
        yield key, read(field)


def _entry(line: str) -> tuple[str, str]:
    """Split a line of the lookup table into the value and the field of the value to send. Raises `InvalidRule`."""
    if line.startswith('"'):
        with suppress(ValueError):
            key, end = json.JSONDecoder().raw_decode(line)
            field = line[end:].lstrip()
            if field.startswith("=") and _is_storable(key):
                return key, field[1:]
    written_key, equals, field = line.partition("=")
    if not equals:
        raise InvalidRule(f"Lookup table: {line[:80]!r} does not have the form `value = value to send`.")
    return written_key.strip(), field


def _key_field(key: str) -> str:
    is_plain = key and "=" not in key and key[0] != '"' and key.strip() == key and not _UNSAFE.search(key)
    return key if is_plain else json.dumps(key, ensure_ascii=False)


def _argument(name: str, field: str) -> JsonValue:
    if name in WITH_JSON and field.strip().startswith(("[", "{")):
        with suppress(ValueError):
            forms: JsonValue = json.loads(field)
            return forms
    return read(field) if name in WITH_NUMBER else read_name(field)


def _argument_field(name: str, argument: JsonValue) -> str:
    if argument is True or WITH_OPTIONAL_ARGUMENT.get(name) == argument:
        return ""
    if isinstance(argument, tuple | dict):
        return json.dumps(argument, ensure_ascii=False)
    return written(argument) if name in WITH_NUMBER else written_name(str(argument)) or '""'


def _reject_constant(name: str) -> JsonValue:
    raise ValueError(name)


def _is_valid_value(value: JsonValue) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return _is_storable(value) if isinstance(value, str) else not isinstance(value, dict | list)


def _is_same(one: JsonValue, other: JsonValue) -> bool:
    return one == other and type(one) is type(other)


def _is_storable(text: str) -> bool:
    """Return whether a text has no unpaired surrogate, which JSON allows and UTF-8 does not."""
    return not any("\ud800" <= each <= "\udfff" for each in text)
