"""Model of an Identify call on the wire, and the lookup of its fields in any casing."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SkipValidation, StringConstraints, WithJsonSchema
from pydantic.alias_generators import to_camel

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
_ALIASES: Final = frozenset(_FIELDS.values())
_IDS: Final = ("userId", "anonymousId", "messageId", "projectId")
_OBJECTS: Final = ("traits", "context", "integrations")
#: Total length of field names up to which they are cached, in characters. Longer calls are rare.
_CACHED_LENGTH: Final = 400


def has_documented_names(raw: Mapping[str, JsonValue]) -> bool:
    """Return whether every field of the model has its documented name in a call, as in nearly all calls.

    False as well for a call with unusually long field names.
    """
    return sum(map(len, raw)) <= _CACHED_LENGTH and _has_documented_names(tuple(raw))


def canonical_fields(raw: Mapping[str, JsonValue]) -> dict[str, Any]:
    """Return a call's fields under the model's names, in the forms that the model accepts.

    Of several casings the documented one wins. Numeric IDs become text; PHP's [] for an empty object, and null,
    count as missing. (Validators of the model would do the same, but calling them for each field doubles the time.)
    """
    fields = {alias: raw[name] for alias, name in _choose_fields(tuple(raw))}
    for name in _IDS:
        if type(fields.get(name)) is int:  # `isinstance` would accept bool
            fields[name] = str(fields[name])
    for name in _OBJECTS:
        if name in fields and fields[name] in (None, []):
            del fields[name]
    return fields


def unknown_fields(raw: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """Return the fields of a call that neither the model nor Segment defines."""
    names = tuple(raw)
    if sum(map(len, names)) > _CACHED_LENGTH:
        return _unknown(names)
    return _cached_unknown(names)


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


@lru_cache(maxsize=128)  # a sender repeats the same fields, in the same order
def _has_documented_names(names: tuple[str, ...]) -> bool:
    return all(alias == name for alias, name in _choose_fields(names))


def _unknown(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if (folded := fold(name)) not in _FIELDS and folded not in _SEGMENT_FIELDS)


_cached_unknown = lru_cache(maxsize=128)(_unknown)
