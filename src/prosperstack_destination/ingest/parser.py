"""Parser of calls: from a JSON object in any casing to a `ParsedIdentify` or a `ParsedDelete`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import JsonValue

from prosperstack_destination.emails import normalize_email
from prosperstack_destination.errors import InvalidCall, MissingEmail, UnsupportedCall
from prosperstack_destination.ingest.email_fields import (
    NO_INVALID_EMAILS,
    email_in,
    find_email,
    first_email,
    places_of_emails,
)
from prosperstack_destination.ingest.identify_call import (
    MAX_ID,
    as_object,
    canonical_fields,
    context_traits,
    field_names,
    find,
    find_name,
    fold,
    object_field,
    raise_fault,
    valid_fields,
)
from prosperstack_destination.ingest.timestamps import UnreadableTime, read_time
from prosperstack_destination.mapping.call_rules import CallInput, CallRules, LeftOut
from prosperstack_destination.store.models import CallSource, SourceKind

#: This destination's name in ``integrations``, folded and without spaces.
INTEGRATION: Final = "prosperstack"
#: Segment's other types of call, which describe events rather than persons.
OTHER_TYPES: Final = frozenset({"track", "page", "screen", "group"})
#: Engage's computations with members: audiences and journey steps.
_AUDIENCES: Final = frozenset({"audience", "journey_step"})
#: The value of ``integrations`` in nearly every call.
_ALL: Final = {"All": True}
_NO_FACTS: Final[Mapping[str, JsonValue]] = {}
#: The types of call that this destination accepts.
_TYPES: Final = frozenset({"identify", "delete", "alias"})
#: The fields with the event's time, in order of preference.
_TIMES: Final = ("timestamp", "originalTimestamp", "sentAt", "receivedAt")


@dataclass(frozen=True, slots=True)
class SkippedTime:
    """Unused time of a call: its field, its value as sent, and the reason."""

    field: str
    value: JsonValue
    reason: str


@dataclass(slots=True)  # frozen, an instance would take five times as long to create, and each call creates one
class ParsedIdentify:
    """Content of an Identify call: the person, the traits, the time and the source."""

    #: The email: normalized; as sent, trimmed; and its field path (e.g. ``traits.email``). None where the call
    #: has no email: its IDs have to resolve to one.
    email: str | None
    address: str
    email_field: str | None
    #: Invalid values in email fields, with the reason, by field path (e.g. ``traits.email``).
    invalid_emails: Mapping[str, str]
    #: Traits without nesting: custom traits from ``traits.traits`` are included.
    traits: Mapping[str, JsonValue]
    #: The event's time in microseconds since the epoch, and its field ("now" where no field has a time).
    at: int
    time_field: str
    user_id: str | None
    anonymous_id: str | None
    source: CallSource
    #: Preferred time fields that could not be read, in their order.
    skipped_times: tuple[SkippedTime, ...] = ()
    #: Fields outside the traits that neither this service nor Segment defines: probably misplaced traits.
    unknown_fields: tuple[str, ...] = ()
    #: The user ID, trimmed, if it is an email address: used where no email is known for the IDs.
    id_email: str | None = None
    #: The former ID of an Alias call.
    previous_id: str | None = None
    #: Traits that the account's mapping never stores.
    dropped: tuple[str, ...] = ()
    #: Parts of the call that rules read besides the traits: see `facts`.
    facts: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(slots=True)
class ParsedDelete:
    """Content of a Delete call: the user ID to erase, as of a time in microseconds since the epoch."""

    user_id: str
    at: int


@dataclass(frozen=True, slots=True)
class CallSummary:
    """Readable parts of a call that may be invalid: see `summarize`."""

    #: A type of Segment's, or "other".
    type: str
    #: Normalized text; it may be no valid address.
    email: str | None
    user_id: str | None
    anonymous_id: str | None
    #: The event's time in microseconds since the epoch.
    at: int
    source: CallSource | None


def parse_call(
    raw: Mapping[str, JsonValue], now: int, *, from_sdk: bool = False, rules: CallRules | None = None
) -> ParsedIdentify | ParsedDelete | LeftOut | None:
    """Parse a call; return None for a call that asks to be skipped (see `asks_to_skip` for ``from_sdk``).

    ``rules`` are the account's call rules: by them a call may be left out. ``now`` is in microseconds since the
    epoch. Raises `UnsupportedCall` for other types of call, `InvalidCall` with the name of the invalid field, and
    `MissingEmail` for a call without an email and without IDs.
    """
    names = field_names(raw)
    sent = raw
    if rules is not None and rules.drops:
        raw = rules.without_dropped(raw, names.unknown)
        names = field_names(raw)
    call = canonical_fields(raw, names)
    call_type = _call_type(call.get("type"))  # an unsupported type is reported before any other fault
    call = valid_fields(call, raise_fault)
    if asks_to_skip(call, from_sdk=from_sdk):
        return None
    at, time_field, skipped_times = event_time(call, now)
    user_id, anonymous_id = call.get("userId") or None, call.get("anonymousId") or None
    if call_type == "delete":
        if user_id is None:
            raise InvalidCall(
                "userId is missing: a Delete call identifies the person to erase by userId.", field="userId"
            )
        return ParsedDelete(user_id, at)
    if call_type == "alias":
        return _alias(raw, user_id, at, time_field, skipped_times)
    traits, unknown = flat_traits(call), names.unknown
    if unknown and not traits:  # a flat body: its unknown fields are the traits
        traits, unknown = {name: raw[name] for name in unknown}, ()
    source = _source(call)
    facts: Mapping[str, JsonValue] = _NO_FACTS
    view: CallInput | None = None
    if rules is not None and not isinstance(raw.get("json"), dict):
        view = _view(raw, call, call_type, traits, source)
        left_out = rules.reason_to_leave_out(view)
        if left_out is not None:
            return left_out
        facts = rules.facts(view)
    has_rule = rules is not None and rules.has_email
    if rules is not None and view is not None and has_rule:
        address, email_field, invalid_emails = first_email(rules.emails(view))
    else:
        address, email_field, invalid_emails = find_email(call)
    if address is None and user_id is None and anonymous_id is None:
        inner = raw.get("json")
        if isinstance(inner, dict):  # Segment's Extensible Webhook wraps each event of a batch like this
            return parse_call(inner, now, from_sdk=from_sdk, rules=rules)
        for place, invalid in invalid_emails.items():
            raise InvalidCall(invalid, field=place)
        raise MissingEmail(has_ids=False, found_at=places_of_emails(raw))
    return ParsedIdentify(
        email=None if address is None else address.lower(),
        address=address or "",
        email_field=email_field,
        invalid_emails=invalid_emails,
        traits=traits,
        at=at,
        time_field=time_field,
        user_id=user_id,
        anonymous_id=anonymous_id,
        source=source,
        skipped_times=skipped_times,
        unknown_fields=unknown,
        id_email=None if user_id is None or "@" not in user_id or has_rule else email_in(user_id),
        facts=facts,
        dropped=() if sent is raw else _dropped(sent, traits),
    )


def _dropped(sent: Mapping[str, JsonValue], traits: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """Return the names of the traits that a call was sent with and that are not stored."""
    fields = _readable_fields(sent)
    names = flat_traits(fields) or dict.fromkeys(field_names(sent).unknown)
    return tuple(name for name in names if name not in traits)


def _alias(
    raw: Mapping[str, JsonValue], user_id: str | None, at: int, time_field: str, skipped: tuple[SkippedTime, ...]
) -> ParsedIdentify:
    """Return an Alias call, which says that two IDs are of one person. Raises `InvalidCall` without one of them."""
    previous = next((value for name, value in raw.items() if fold(name) == "previousid"), None)
    if isinstance(previous, int) and not isinstance(previous, bool):
        previous = str(previous)
    for place, value in (("userId", user_id), ("previousId", previous)):
        if not isinstance(value, str) or not value or len(value) > MAX_ID or "\0" in value:
            raise InvalidCall(f"{place} is missing: an Alias call names the new and the former ID.", field=place)
    return ParsedIdentify(
        email=None,
        address="",
        email_field=None,
        invalid_emails=NO_INVALID_EMAILS,
        traits={},
        at=at,
        time_field=time_field,
        user_id=user_id,
        anonymous_id=None,
        source=CallSource(SourceKind.SOURCE, ""),
        skipped_times=skipped,
        previous_id=str(previous),
    )


def _view(
    raw: Mapping[str, JsonValue],
    call: Mapping[str, Any],
    call_type: str,
    traits: Mapping[str, JsonValue],
    source: CallSource,
) -> CallInput:
    """Return a call as call rules see it."""
    return CallInput(
        raw=raw,
        type=call_type,
        traits=traits,
        context=call.get("context") or {},
        user_id=call.get("userId") or None,
        anonymous_id=call.get("anonymousId") or None,
        source={"id": source.key, "name": source.name, "kind": source.kind.value},
    )


def summarize(raw: Mapping[str, JsonValue], now: int) -> CallSummary:
    """Return the readable parts of a call, for operators who inspect rejected calls. Never raises."""
    inner = raw.get("json")
    if isinstance(inner, dict) and len(raw) == 1:
        return summarize(inner, now)
    call = _readable_fields(raw)
    call_type = (call.get("type") or "identify").lower()
    traits = object_field(call, "traits")
    places = (traits, as_object(find(traits, "traits")), as_object(find(object_field(call, "context"), "traits")))
    values = [*(find(place, "email") for place in places), call.get("email")]
    emails = (normalize_email(value) for value in values if isinstance(value, str))
    return CallSummary(
        type=call_type if call_type in OTHER_TYPES | _TYPES else "other",
        email=next((email for email in emails if email), None),
        user_id=call.get("userId") or None,
        anonymous_id=call.get("anonymousId") or None,
        at=event_time(call, now)[0],
        source=_source(call),
    )


def asks_to_skip(call: Mapping[str, Any], *, from_sdk: bool = False) -> bool:
    """Return whether a call's ``integrations`` exclude ProsperStack.

    Segment itself applies ``"All": false`` before it forwards a call, so the value counts only for a call that
    comes straight from an SDK (``from_sdk``).
    """
    integrations = object_field(call, "integrations")
    if not integrations or integrations == _ALL:
        return False
    values = [value for name, value in integrations.items() if fold(name).replace(" ", "") == INTEGRATION]
    if values:
        return values[0] is False
    return from_sdk and find(integrations, "all") is False


def flat_traits(call: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return the traits of a call, and those of its context that it does not repeat.

    Nested custom traits take precedence over the traits around them.
    """
    traits = _with_nested(object_field(call, "traits"))
    context = object_field(call, "context")
    if not context:
        return traits
    if not traits:
        return _with_nested(context_traits(call))
    others = as_object(find(context, "traits"))
    return {**_with_nested(others), **traits} if others else traits


def event_time(call: Mapping[str, Any], now: int) -> tuple[int, str, tuple[SkippedTime, ...]]:
    """Return the event's time (microseconds), its field, and the preferred fields that could not be read.

    An unreadable time, or one from a clock that was never set, is skipped for the next field, and in the end for
    ``now``. A time in the future counts as ``now``.
    """
    skipped: tuple[SkippedTime, ...] = ()
    for name in _TIMES:
        value = call.get(name)
        if value is None or value == "":
            continue
        try:
            return min(read_time(value), now), name, skipped
        except UnreadableTime as error:
            skipped += (SkippedTime(name, value, str(error)),)
    return now, "now", skipped


def time_of_call(raw: Mapping[str, JsonValue], now: int) -> tuple[str, tuple[SkippedTime, ...]]:
    """Return the field of a call's time ("now" for none), and the preferred fields that could not be read."""
    _, field, skipped = event_time(_readable_fields(raw), now)
    return field, skipped


def _readable_fields(raw: Mapping[str, JsonValue]) -> Mapping[str, Any]:
    """Return a call's fields without the invalid ones."""
    return valid_fields(canonical_fields(raw, field_names(raw)), lambda _name, _fault: None)


def _call_type(value: object) -> str:
    """Return "identify" or "delete". Raises `UnsupportedCall`; `valid_fields` rejects a type that is not text."""
    call_type = value.lower() if isinstance(value, str) and value else "identify"
    if call_type not in _TYPES:
        raise UnsupportedCall(str(value)[:50])
    return call_type


def _with_nested(traits: dict[str, JsonValue]) -> dict[str, JsonValue]:
    name = find_name(traits, "traits")
    if name is None or not isinstance(traits[name], dict):
        return traits
    flat = {other: value for other, value in traits.items() if other != name}
    return {**flat, **as_object(traits[name])}


def _source(call: Mapping[str, Any]) -> CallSource:
    """Return the origin of a call: an audience or a computed trait of Engage, or a Segment source."""
    project, context = call.get("projectId") or "", call.get("context")
    if not context:
        return CallSource(SourceKind.SOURCE, project)
    personas = find(context, "personas")
    if isinstance(personas, dict):
        key = personas.get("computation_key")
        if isinstance(key, str) and key:
            is_audience = personas.get("computation_class") in _AUDIENCES
            return CallSource(SourceKind.AUDIENCE if is_audience else SourceKind.TRAIT, key[:MAX_ID])
    library = find(context, "library")
    if not isinstance(library, dict):
        return CallSource(SourceKind.SOURCE, project)
    name, version = library.get("name"), library.get("version")
    if isinstance(name, str) and isinstance(version, str):  # the usual case
        return CallSource(SourceKind.SOURCE, project, f"{name} {version}"[:MAX_ID])
    parts = [part for part in (name, version) if isinstance(part, str)]
    return CallSource(SourceKind.SOURCE, project, " ".join(parts)[:MAX_ID])
