"""Fields of an Identify call on the wire: the documented model, their names in any casing, and their types.

The parser takes a call's fields from its JSON object. The model is for the API document: an instance of it would
cost more time than the rest of the parser.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SkipValidation, StringConstraints, WithJsonSchema
from pydantic.alias_generators import to_camel

from prosperstack_destination.errors import InvalidCall
from prosperstack_destination.ingest.request_body import json_kind

#: The longest user ID, in characters.
MAX_ID: Final = 500

Identifier = Annotated[str, StringConstraints(max_length=MAX_ID, pattern=r"^[^\x00]*$")]
#: Object with unvalidated values: the parser only makes JSON values, and a second check of each would double the
#: time of parsing.
Object = dict[str, Annotated[JsonValue, SkipValidation]]
#: Time in any form. The next time field replaces an unreadable one, so that no form rejects a call.
Time = Annotated[
    JsonValue,
    SkipValidation,
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "null"}]}),
]


class IdentifyCall(BaseModel):
    """One Identify call as Segment documents it. Field names may have any casing.

    Other fields are ignored, and every version is accepted.
    """

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, strict=True)

    type: str | None = Field(None, description="`identify` (which may be missing here) or `delete`.")
    user_id: Identifier | None = Field(None, description="The person's ID in the sender's own system.")
    anonymous_id: Identifier | None = None
    message_id: Identifier | None = None
    email: Annotated[JsonValue, SkipValidation] = Field(None, description="Used where no trait is named email.")
    traits: Object = Field(
        default_factory=dict,
        description="The person's traits. Custom traits may also be nested in `traits.traits`.",
        examples=[{"email": "john.doe@example.com", "Number of contacts": 5800}],
    )
    context: Object = Field(
        default_factory=dict, description="`context.traits` is used as well; `traits` takes precedence."
    )
    project_id: Identifier | None = Field(None, description="The Segment source.")
    integrations: Object = Field(default_factory=dict, description='`{"ProsperStack": false}` skips the call.')
    timestamp: Time = Field(None, description="The event's time, corrected for clock skew.")
    original_timestamp: Time = None
    sent_at: Time = None
    received_at: Time = None


#: Model field names by their folded form: lower case, without underscores and hyphens.
_FIELDS: Final = {
    (field.alias or name).lower(): field.alias or name for name, field in IdentifyCall.model_fields.items()
}
#: Segment's fields that this service does not use, in folded form.
_SEGMENT_FIELDS: Final = frozenset(
    {
        "channel",
        "version",
        "writekey",
        "metadata",
        "options",
        "library",
        "event",
        "properties",
        "groupid",
        "previousid",
    }
)
_NO_FIELDS: Final[dict[str, JsonValue]] = {}
_ALIASES: Final = frozenset(_FIELDS.values())
#: Total length of field names up to which they are cached, in characters. Longer calls are rare.
_CACHED_LENGTH: Final = 400


@dataclass(frozen=True, slots=True)
class FieldNames:
    """Meaning of the field names of a call."""

    #: Documented name and own name of each field of the model; None: every field has its documented name.
    renamed: tuple[tuple[str, str], ...] | None
    #: Fields that neither the model nor Segment defines.
    unknown: tuple[str, ...]


def field_names(raw: Mapping[str, JsonValue]) -> FieldNames:
    """Return the meaning of a call's field names. A sender repeats the same names, in the same order."""
    names = tuple(raw)
    return _cached_meaning(names) if sum(map(len, names)) <= _CACHED_LENGTH else _meaning(names)


def canonical_fields(raw: Mapping[str, JsonValue], names: FieldNames) -> Mapping[str, Any]:
    """Return a call's fields under the model's names. Of several casings the documented one wins."""
    return raw if names.renamed is None else {alias: raw[name] for alias, name in names.renamed}


def valid_fields(fields: Mapping[str, Any], on_fault: Callable[[str, str], None]) -> Mapping[str, Any]:
    """Return canonical fields with valid values: null, and PHP's [] for an empty object, count as missing.

    Numeric IDs become text. ``on_fault`` gets the name and the fault of a field with an invalid value; where it
    does not raise, the field counts as missing.
    """
    corrected: dict[str, Any] = {}
    for name, fault_of in _CHECKS:
        value = fields.get(name)
        if value is None or (fault := fault_of(value)) is None:
            continue
        value = _corrected(value, fault_of)
        if value is not None and (fault := fault_of(value)) is not None:
            on_fault(name, fault)
            value = None
        corrected[name] = value
    return {**fields, **corrected} if corrected else fields


def raise_fault(name: str, fault: str) -> None:
    """Raise `InvalidCall` for a field with an invalid value, which is not quoted."""
    raise InvalidCall(f"{name} {fault}.", field=name)


def fold(name: str) -> str:
    """Return a name in lower case, without underscores and hyphens."""
    return name.lower().replace("_", "").replace("-", "")


def find(values: Mapping[str, JsonValue], name: str) -> JsonValue:
    """Return the value of a lower-case name in any casing, the exact one first; None where there is none."""
    if name in values:
        return values[name]
    match = find_name(values, name)
    return None if match is None else values[match]


def find_name(values: Mapping[str, JsonValue], name: str) -> str | None:
    """Return a lower-case name in the casing that it has in ``values``; None where it is missing."""
    if name in values:
        return name
    length = len(name)
    for candidate in values:  # a generator expression would take longer than the whole loop
        if len(candidate) == length and candidate.lower() == name:
            return candidate
    return None


def as_object(value: JsonValue) -> dict[str, JsonValue]:
    """Return a JSON object, or an empty one for any other value."""
    return value if isinstance(value, dict) else {}


def _choose_fields(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return the model's name and the call's own name of each field that the model uses."""
    chosen: dict[str, str] = {}
    for name in names:
        if name in _ALIASES:
            chosen[name] = name
        elif (alias := _FIELDS.get(fold(name))) is not None:
            chosen.setdefault(alias, name)
    return tuple(chosen.items())


def _meaning(names: tuple[str, ...]) -> FieldNames:
    chosen = _choose_fields(names)
    documented = all(alias == name for alias, name in chosen)
    unknown = (name for name in names if (folded := fold(name)) not in _FIELDS and folded not in _SEGMENT_FIELDS)
    return FieldNames(None if documented else chosen, tuple(unknown))


_cached_meaning = lru_cache(maxsize=128)(_meaning)


def _text_fault(value: object) -> str | None:
    return None if isinstance(value, str) else f"has to be text, not {json_kind(value)}"


def _id_fault(value: object) -> str | None:
    if not isinstance(value, str):
        return f"has to be text, not {json_kind(value)}"
    if len(value) > MAX_ID:
        return f"is longer than {MAX_ID} characters"
    return "has a character that no id may have (U+0000)" if "\0" in value else None


def _object_fault(value: object) -> str | None:
    return None if isinstance(value, dict) else f"has to be an object, not {json_kind(value)}"


def _corrected(value: object, fault_of: Callable[[object], str | None]) -> object:
    """Return a numeric ID as text, and None for PHP's form of an empty object."""
    if fault_of is _id_fault and type(value) is int:  # `isinstance` would accept bool
        return str(value)
    return None if fault_of is _object_fault and value == [] else value


#: Checks of the fields that are not of any type, in the model's order: each returns the fault of a value, or None.
_CHECKS: Final = (
    ("type", _text_fault),
    ("userId", _id_fault),
    ("anonymousId", _id_fault),
    ("messageId", _id_fault),
    ("traits", _object_fault),
    ("context", _object_fault),
    ("projectId", _id_fault),
    ("integrations", _object_fault),
)


def object_field(call: Mapping[str, Any], name: str) -> dict[str, JsonValue]:
    """Return a field that is an object; an empty one where it is missing."""
    return call.get(name) or _NO_FIELDS


def context_traits(call: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return ``context.traits``; an empty object where it is missing. Raises `InvalidCall` for another value."""
    traits = find(object_field(call, "context"), "traits")
    if traits is None or traits == []:
        return {}
    if not isinstance(traits, dict):
        raise InvalidCall(f"context.traits has to be an object, not {json_kind(traits)}.", field="context.traits")
    return traits
