"""Calls on the wire, in any casing, and what we understand of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SkipValidation,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from prosperstack_destination.emails import is_email, normalize_email, trim_email
from prosperstack_destination.errors import InvalidCall, MissingEmail, UnsupportedCall
from prosperstack_destination.ingest.request_body import json_kind
from prosperstack_destination.ingest.timestamps import UnreadableTime, read_time
from prosperstack_destination.store.models import CallSource, SourceKind

#: The longest user id that is taken, in characters.
MAX_ID: Final = 500
#: How this destination is named in ``integrations``, without case, spaces and underscores.
INTEGRATION: Final = "prosperstack"
#: What Engage computes that people are in or not: an audience, and a step of a journey.
_AUDIENCES: Final = frozenset({"audience", "journey_step"})
#: What nearly every call has in ``integrations``.
_ALL: Final = {"All": True}
#: Segment's other types of call: they say what somebody did, and not who they are.
OTHER_TYPES: Final = frozenset({"track", "page", "screen", "group", "alias"})


Identifier = Annotated[str, StringConstraints(max_length=MAX_ID, pattern=r"^[^\x00]*$")]
#: The parser has made sure that its values are JSON; to look at each of them again would cost as much as all else.
Object = dict[str, Annotated[JsonValue, SkipValidation]]
#: A time that cannot be read is taken from the next field, so that no form of it is refused.
Time = Annotated[
    JsonValue,
    SkipValidation,
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "null"}]}),
]


class IdentifyCall(BaseModel):
    """One Identify call as Segment documents it. Field names are taken in any casing.

    Whatever else is in it is ignored, and no version is refused.
    """

    model_config = ConfigDict(extra="ignore", alias_generator=to_camel, strict=True)

    type: str | None = Field(None, description="`identify` (which may be missing here) or `delete`.")
    user_id: Identifier | None = Field(None, description="Who it is, in the sender's own system.")
    anonymous_id: Identifier | None = None
    message_id: Identifier | None = None
    email: Annotated[JsonValue, SkipValidation] = Field(None, description="Taken where no trait is named email.")
    traits: Object = Field(
        default_factory=dict,
        description="What is said of the person. Custom traits may also be nested in `traits.traits`.",
        examples=[{"email": "john.doe@example.com", "Number of contacts": 5800}],
    )
    context: Object = Field(
        default_factory=dict, description="`context.traits` is taken as well; `traits` goes before it."
    )
    project_id: Identifier | None = Field(None, description="The Segment source.")
    integrations: Object = Field(default_factory=dict, description='`{"ProsperStack": false}` skips the call.')
    timestamp: Time = Field(None, description="The event's time, corrected for clock skew.")
    original_timestamp: Time = None
    sent_at: Time = None
    received_at: Time = None


#: Field names without case, underscores and hyphens, to the name that the model knows.
_FIELDS: Final = {
    (field.alias or name).lower(): field.alias or name for name, field in IdentifyCall.model_fields.items()
}
#: Fields that Segment puts into calls and this service has no use for, in the same form.
_SEGMENTS: Final = frozenset(
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
_NONE: Final[Mapping[str, str]] = {}
_ALIASES: Final = frozenset(_FIELDS.values())
_IDS: Final = ("userId", "anonymousId", "messageId", "projectId")
_OBJECTS: Final = ("traits", "context", "integrations")
#: The types of call that are taken.
_KINDS: Final = frozenset({"identify", "delete"})
#: The fields that tell the event's time, the best first, and their names in a call.
_TIMES: Final = tuple(
    (name, to_camel(name)) for name in ("timestamp", "original_timestamp", "sent_at", "received_at")
)
#: A call whose fields' names are longer in all is none of those that come all day: they are not kept in mind.
_USUAL_LENGTH: Final = 400


@dataclass(frozen=True, slots=True)
class SkippedTime:
    """A time of a call that was not used: its field, the value as it was sent, and the reason."""

    field: str
    value: JsonValue
    reason: str


@dataclass(slots=True)  # frozen, it would take five times as long to make, and one is made for each call
class ParsedIdentify:
    """What an Identify call says: of whom, what, when, and where from."""

    #: The email, trimmed and in lower case; as it was sent; and where it stood, as in ``traits.email``. None: the
    #: call names none, and its ids have to tell it.
    email: str | None
    address: str
    email_field: str | None
    #: Values where an email may stand that are none: the reasons by their places, as in ``traits.email``.
    invalid_emails: Mapping[str, str]
    #: Flat: nested custom traits are among them.
    traits: Mapping[str, JsonValue]
    #: The event's time in microseconds since the epoch, and the field it came from ("now": none told it).
    at: int
    time_field: str
    user_id: str | None
    anonymous_id: str | None
    source: CallSource
    #: Better times that could not be read, in their order.
    skipped_times: tuple[SkippedTime, ...] = ()
    #: Fields beside the traits that neither this service nor Segment knows: most likely misplaced traits.
    unknown_fields: tuple[str, ...] = ()


@dataclass(slots=True)
class ParsedDelete:
    """What a Delete call says: whom to forget, as of when (microseconds since the epoch)."""

    user_id: str
    at: int


@dataclass(frozen=True, slots=True)
class CallSummary:
    """What can be made out of a call that may be at fault: `recognize`."""

    #: One that there is, or "other".
    type: str
    #: In lower case; it need not be an address.
    email: str | None
    user_id: str | None
    anonymous_id: str | None
    #: The event's time in microseconds since the epoch.
    at: int
    source: CallSource | None


def parse_call(
    raw: Mapping[str, JsonValue], now: int, *, from_sdk: bool = False
) -> ParsedIdentify | ParsedDelete | None:
    """Understand a call; None: it asks to be skipped (see `asks_to_skip` for ``judge_all``).

    Raises `UnsupportedCall` for other types of call, `InvalidCall` that names the field at fault, `MissingEmail`
    where nothing in it tells of whom it speaks.
    """
    call = _as_documented(raw)
    if call is None:
        call = _in_any_form(raw)
    kind = _kind(call.type)
    if asks_to_skip(call, from_sdk=from_sdk):
        return None
    at, at_from, skipped_times = event_time(call, now)
    if kind == "delete":
        if not call.user_id:
            raise InvalidCall("userId is missing: a Delete call names by it whom to forget.", field="userId")
        return ParsedDelete(call.user_id, at)
    address, email_from, no_emails = _email(call)
    if address is None and not (call.user_id or call.anonymous_id):
        inner = raw.get("json")
        if isinstance(inner, dict):  # as Segment's Extensible Webhook wraps each event of a batch
            return parse_call(inner, now, from_sdk=from_sdk)
        for place, reason in no_emails.items():
            raise InvalidCall(reason, field=place)
        raise MissingEmail(has_ids=False)
    traits, unknown = flat_traits(call), _unknown_fields(raw)
    if unknown and not traits:  # a flat body: its fields are all that it can mean by traits
        traits, unknown = {name: raw[name] for name in unknown}, ()
    return ParsedIdentify(
        email=None if address is None else address.lower(),
        address=address or "",
        email_field=email_from,
        invalid_emails=no_emails,
        traits=traits,
        at=at,
        time_field=at_from,
        user_id=call.user_id or None,
        anonymous_id=call.anonymous_id or None,
        source=_source(call),
        skipped_times=skipped_times,
        unknown_fields=unknown,
    )


def summarize(raw: Mapping[str, JsonValue], now: int) -> CallSummary:
    """What can be made out of a call whatever is wrong with it, for those who look into it. Never raises."""
    inner = raw.get("json")
    if isinstance(inner, dict) and len(raw) == 1:
        return summarize(inner, now)
    fields = _canonical(raw)
    call_type = fields.get("type")
    kind = call_type.lower() if isinstance(call_type, str) and call_type else "identify"
    call = _tolerantly(fields)
    places = (call.traits, _object(_find(call.traits, "traits")), _object(_find(call.context, "traits")))
    emails = [*(_find(place, "email") for place in places), call.email]
    return CallSummary(
        type=kind if kind in OTHER_TYPES | {"identify", "delete"} else "other",
        email=next((found for each in emails if isinstance(each, str) and (found := normalize_email(each))), None),
        user_id=call.user_id or None,
        anonymous_id=call.anonymous_id or None,
        at=event_time(call, now)[0],
        source=_source(call),
    )


def _as_documented(raw: Mapping[str, JsonValue]) -> IdentifyCall | None:
    """A call in which each field has its documented name and type, as in nearly all; None: another one.

    Any that is understood so would be understood alike by `_in_any_form`, which takes longer.
    """
    if sum(map(len, raw)) > _USUAL_LENGTH or not _are_as_documented(tuple(raw)):
        return None
    try:
        return IdentifyCall.model_validate(raw)
    except ValidationError:
        return None


def _in_any_form(raw: Mapping[str, JsonValue]) -> IdentifyCall:
    """A call of which fields may have other names, and other forms that are taken. Raises as `read_call` does."""
    fields = _canonical(raw)
    _kind(fields.get("type"))  # one of another type is refused for that, whatever else is wrong with it
    try:
        return IdentifyCall.model_validate(fields)
    except ValidationError as error:
        raise _bad_field(error) from None


def _kind(call_type: object) -> str:
    """Which of `_KINDS` a call is. Raises `UnsupportedCall`; a type that is no text is the model's to refuse."""
    kind = call_type.lower() if isinstance(call_type, str) and call_type else "identify"
    if kind not in _KINDS:
        raise UnsupportedCall(str(call_type)[:50])
    return kind


def _tolerantly(fields: Mapping[str, Any]) -> IdentifyCall:
    """A call without those of its fields that are at fault."""
    try:
        return IdentifyCall.model_validate(fields)
    except ValidationError as error:
        bad = {each["loc"][0] for each in error.errors(include_url=False)}
    return IdentifyCall.model_validate({name: value for name, value in fields.items() if name not in bad})


def asks_to_skip(call: IdentifyCall, *, from_sdk: bool = False) -> bool:
    """Whether a call says that it is not for ProsperStack.

    ``"All": false`` is Segment's to judge, and it has, unless the call comes straight from an SDK (``judge_all``).
    """
    if not call.integrations or call.integrations == _ALL:
        return False
    named = [value for name, value in call.integrations.items() if _folded(name).replace(" ", "") == INTEGRATION]
    if named:
        return named[0] is False
    return from_sdk and _find(call.integrations, "all") is False


def flat_traits(call: IdentifyCall) -> dict[str, JsonValue]:
    """The traits, before those of the context; nested custom traits win over the others of their place."""
    traits = _with_nested(call.traits)
    if not call.context:
        return traits
    if not traits:
        return _with_nested(_context_traits(call))
    others = _object(_find(call.context, "traits"))
    return {**_with_nested(others), **traits} if others else traits


def _with_nested(traits: dict[str, JsonValue]) -> dict[str, JsonValue]:
    name = _name(traits, "traits")
    if name is None or not isinstance(traits[name], dict):
        return traits
    flat = {other: value for other, value in traits.items() if other != name}
    return {**flat, **_object(traits[name])}


def event_time(call: IdentifyCall, now: int) -> tuple[int, str, tuple[SkippedTime, ...]]:
    """Return the event's time, the field that says it, and the better fields that could not be read.

    A time that cannot be read, or of a clock that was never set, is taken from the next field, and in the end from
    now; one in the future counts as now.
    """
    skipped: tuple[SkippedTime, ...] = ()
    for name, alias in _TIMES:
        value = getattr(call, name)
        if value is None or value == "":
            continue
        try:
            return min(read_time(value), now), alias, skipped
        except UnreadableTime as error:
            skipped += (SkippedTime(alias, value, str(error)),)
    return now, "now", skipped


def time_of_call(raw: Mapping[str, JsonValue], now: int) -> tuple[str, tuple[SkippedTime, ...]]:
    """Return the field that says a call's time ("now": none), and the better fields that could not be read."""
    _, field, skipped = event_time(_tolerantly(_canonical(raw)), now)
    return field, skipped


def _email(call: IdentifyCall) -> tuple[str | None, str | None, Mapping[str, str]]:
    """The email as it was sent (trimmed), and where it stood; None where the call names none.

    A value that is no email is passed over as null is: its place and what is wrong with it are returned as well.
    """
    first = call.traits.get("email")
    if isinstance(first, str) and is_email(first):  # as in nearly all: no need to look any further
        return first, "traits.email", _NONE
    no_emails: dict[str, str] = {}
    for place, value in _email_places(call):
        if isinstance(value, str):
            address = trim_email(value)
            if is_email(address):
                return address, place, no_emails
            if address:
                no_emails[place] = (
                    f"{place} is not an email address: it needs a name, one @, and a domain, and no spaces."
                )
        elif value is not None:
            no_emails[place] = f"{place} has to be an email address as text, not {json_kind(value)}."
    return None, None, no_emails


def _source(call: IdentifyCall) -> CallSource:
    """Where a call comes from: an audience or a computed trait of Engage's, or a source of Segment's."""
    project = call.project_id or ""
    if not call.context:
        return CallSource(SourceKind.SOURCE, project)
    personas = _find(call.context, "personas")
    if isinstance(personas, dict):
        key = personas.get("computation_key")
        if isinstance(key, str) and key:
            audience = personas.get("computation_class") in _AUDIENCES
            return CallSource(SourceKind.AUDIENCE if audience else SourceKind.TRAIT, key[:MAX_ID])
    library = _find(call.context, "library")
    if not isinstance(library, dict):
        return CallSource(SourceKind.SOURCE, project)
    name, version = library.get("name"), library.get("version")
    if isinstance(name, str) and isinstance(version, str):  # as nearly every library says it
        return CallSource(SourceKind.SOURCE, project, f"{name} {version}"[:MAX_ID])
    parts = [part for part in (name, version) if isinstance(part, str)]
    return CallSource(SourceKind.SOURCE, project, " ".join(parts)[:MAX_ID])


def _email_places(call: IdentifyCall) -> Iterator[tuple[str, JsonValue]]:
    """Where an email may stand, the best place first; one by one, since most calls have it in the first."""
    yield "traits.email", _find(call.traits, "email")
    yield "traits.traits.email", _find(_object(_find(call.traits, "traits")), "email")
    context = _context_traits(call)
    yield "context.traits.email", _find(context, "email")
    yield "context.traits.traits.email", _find(_object(_find(context, "traits")), "email")
    yield "email", call.email


def _context_traits(call: IdentifyCall) -> dict[str, JsonValue]:
    traits = _find(call.context, "traits")
    if traits is None or traits == []:
        return {}
    if not isinstance(traits, dict):
        raise InvalidCall(f"context.traits has to be an object, not {json_kind(traits)}.", field="context.traits")
    return traits


def _canonical(raw: Mapping[str, JsonValue]) -> dict[str, Any]:
    """A call's fields by the names, and in the forms, that the model knows.

    Of several casings the documented one wins. Ids are text, and yet come as numbers from those who keep them so;
    PHP writes an empty object as [], and null says no more. (Validators of the model would do the same; to be
    called for every field of every call, they took as long as all the rest of it.)
    """
    known = {alias: raw[name] for alias, name in _choice(tuple(raw))}
    for name in _IDS:
        if type(known.get(name)) is int:  # and not bool, which is one, too
            known[name] = str(known[name])
    for name in _OBJECTS:
        if name in known and known[name] in (None, []):
            del known[name]
    return known


def _choice(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Of a call's fields those that the model takes: for each the model's name of it, and the call's own."""
    chosen: dict[str, str] = {}
    for name in names:
        if name in _ALIASES:
            chosen[name] = name
        elif (alias := _FIELDS.get(_folded(name))) is not None:
            chosen.setdefault(alias, name)
    return tuple(chosen.items())


@lru_cache(maxsize=128)  # senders use the same fields, in the same order, all day
def _are_as_documented(names: tuple[str, ...]) -> bool:
    """Whether nothing that the model knows has another name in a call, unless it has its documented one as well."""
    return all(alias == name for alias, name in _choice(names))


def _unknown_fields(raw: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """The fields of a call that neither this service nor Segment knows."""
    names = tuple(raw)
    if sum(map(len, names)) > _USUAL_LENGTH:
        return _unknown(names)
    return _usual_unknown(names)


def _unknown(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if (folded := _folded(name)) not in _FIELDS and folded not in _SEGMENTS)


_usual_unknown = lru_cache(maxsize=128)(_unknown)


def _folded(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _find(values: Mapping[str, JsonValue], name: str) -> JsonValue:
    """The value of a name in any casing, the exact one first; None where there is none."""
    if name in values:
        return values[name]
    found = _name(values, name)
    return None if found is None else values[found]


def _name(values: Mapping[str, JsonValue], name: str) -> str | None:
    if name in values:
        return name
    length = len(name)
    for each in values:  # a generator would cost more than all that it looks at
        if len(each) == length and each.lower() == name:
            return each
    return None


def _object(value: JsonValue) -> dict[str, JsonValue]:
    return value if isinstance(value, dict) else {}


def _bad_field(error: ValidationError) -> InvalidCall:
    """Name the first field at fault, and what it should be, without quoting anybody's data."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"][:1])
    kind = json_kind(first["input"])
    expected = {
        "dict_type": f"has to be an object, not {kind}",
        "string_type": f"has to be text, not {kind}",
        "string_too_long": f"is longer than {MAX_ID} characters",
        "string_pattern_mismatch": "has a character that no id may have (U+0000)",
    }.get(first["type"], f"is not as it should be: {first['msg']}")
    return InvalidCall(f"{field} {expected}.", field=field)
