"""Recent calls, shown without personal data unless revealed, and test calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from pydantic import JsonValue
from pydantic_core import from_json
from sqlalchemy import Connection

from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.clock import SECOND
from prosperstack_destination.emails import normalize_email
from prosperstack_destination.errors import CallError, InvalidCall, MissingEmail, NotFoundError
from prosperstack_destination.ingest.documented_call import DOCUMENTED_TRAITS
from prosperstack_destination.ingest.endpoint import EVENT
from prosperstack_destination.ingest.explain import Explanation, SkippedTime, explain, load_explain_context
from prosperstack_destination.ingest.parser import ParsedIdentify, parse_call
from prosperstack_destination.ingest.request_body import parse_object
from prosperstack_destination.ingest.responses import Result
from prosperstack_destination.ingest.service import to_call
from prosperstack_destination.store import activity, profile_queries, profiles, pseudonyms, recent_calls
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.activity import Event
from prosperstack_destination.store.identities import Identities
from prosperstack_destination.store.json_codec import dump
from prosperstack_destination.store.models import Identify
from prosperstack_destination.store.pseudonyms import Pseudonym
from prosperstack_destination.store.recent_calls import RETENTION, CallOutcome, CallQuery, Channel, RecentCall

#: Replacement of hidden text of any length.
ELLIPSIS: Final = "…"
#: Nesting level from which values are hidden.
_MAX_DEPTH: Final = 50


def mask(value: JsonValue, depth: int = 0) -> JsonValue:
    """Return JSON of the same shape without personal data.

    Text keeps its first character. Integers become 0, other numbers 0.0. Keys, booleans and null stay, but a key
    that contains an email address is masked.
    """
    match value:
        case str():
            return _mask_text(value)
        case bool() | None:
            return value
        case int():
            return 0
        case float():
            return 0.0
        case _ if depth >= _MAX_DEPTH:
            return ELLIPSIS
        case list():
            return [mask(each, depth + 1) for each in value]
        case dict():
            shown: dict[str, JsonValue] = {}
            for key, each in value.items():
                name = _mask_text(key) if "@" in key else key
                while name in shown:
                    name += ELLIPSIS
                shown[name] = mask(each, depth + 1)
            return shown


def _mask_text(text: str) -> str:
    hidden = text[:1] + ELLIPSIS if text else ""
    return ELLIPSIS if hidden == text and text else hidden


#: Events of the person after a call that are shown at most.
MAX_FOLLOW_UPS: Final = 50
#: Outcomes of calls that changed something, or still may: these are explained.
_EXPLAINED: Final = frozenset({CallOutcome.ACCEPTED, CallOutcome.HELD, CallOutcome.EXPLAINED, CallOutcome.LATER})


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Filter of the calls in a list; None means any."""

    #: The person's email, in any case. Calls that named only an ID of the person match as well.
    email: str | None = None
    type: str | None = None
    #: "kind:key", or a kind alone.
    source: str | None = None
    outcome: CallOutcome | None = None


@dataclass(frozen=True, slots=True)
class CallView:
    """A call as operators see it."""

    call: RecentCall
    #: The call's JSON; its text if it is not JSON or was cut; None if nothing of it is kept.
    arrived: JsonValue
    is_json: bool
    masked: bool

    @property
    def person(self) -> str | None:
        """Pseudonym of its email or ID."""
        return self.call.subject or self.call.id_subject


@dataclass(frozen=True, slots=True)
class ExplainedCallView(CallView):
    """A call with its explanation and the events that followed."""

    #: Its effect under the current mapping; None: it was refused, or there was nothing to explain.
    explanation: Explanation | None
    #: Field at fault, if the call was refused for one.
    field: str | None
    #: Later events of the same person, oldest first: deliveries, and requests to ProsperStack.
    afterwards: Sequence[Event]


def list_calls(
    connection: Connection,
    account: Account,
    call_filter: CallFilter,
    pseudonym: Pseudonym,
    now: int,
    *,
    before: int | None = None,
    limit: int = 50,
    reveal: bool = False,
) -> list[CallView]:
    """Return an account's calls, newest first, before the one with the ID ``before``. A unit of work."""
    query = CallQuery(type=call_filter.type, source=call_filter.source, outcome=call_filter.outcome)
    if call_filter.email is not None:
        email = normalize_email(call_filter.email)
        query = replace(query, subjects=_subjects(connection, account, email, pseudonym))
    found = recent_calls.page(connection, account.id, query, since=now - RETENTION, before=before, limit=limit)
    return [_view(each, reveal=reveal) for each in found]


def list_sources(connection: Connection, account: Account) -> list[str]:
    """Return the sources of an account's recent calls, as ``kind:key``."""
    return recent_calls.sources(connection, account.id)


def explain_call(
    connection: Connection, account: Account, call_id: int, pseudonym: Pseudonym, *, reveal: bool = False
) -> ExplainedCallView:
    """Return one call in full. A unit of work.

    Raises `NotFoundError` if the account has no such call, or no longer.
    """
    call = recent_calls.get(connection, account.id, call_id)
    if call is None:
        raise NotFoundError(
            f"The account has no call {call_id}: only the newest calls are kept, for a day at most."
        )
    shown = _view(call, reveal=reveal)
    parsed, field = _parse(call)
    explanation, subject = None, call.subject
    if isinstance(parsed, ParsedIdentify):
        known = to_call(parsed, account, call.at, call.size)
        assert isinstance(known, Identify)  # noqa: S101 -- a parsed Identify becomes one
        if subject is None:
            email = Identities(connection, account.id, known.ids).email(known.ids)
            subject = None if email is None else pseudonyms.of_email(pseudonym, email)
        if call.outcome in _EXPLAINED:
            explanation = _explanation(connection, account, call, parsed, known)
    return ExplainedCallView(
        call=call,
        arrived=shown.arrived,
        is_json=shown.is_json,
        masked=shown.masked,
        explanation=explanation if explanation is None or reveal else _masked(explanation),
        field=field,
        afterwards=activity.of_subject(connection, account.id, subject, call.at, MAX_FOLLOW_UPS) if subject else [],
    )


def _subjects(connection: Connection, account: Account, email: str, pseudonym: Pseudonym) -> frozenset[str]:
    profile = profiles.find(connection, account.id, email)
    ids = [] if profile is None else profile_queries.detail(connection, profile.id).ids
    return recent_calls.subjects_of([email], ids, pseudonym)


def _view(call: RecentCall, *, reveal: bool) -> CallView:
    if not call.body:
        return CallView(call, None, is_json=False, masked=not reveal)
    try:
        arrived, is_json = from_json(call.body, allow_inf_nan=False), True
    except ValueError:
        arrived, is_json = call.body, False
    return CallView(call, arrived if reveal else mask(arrived), is_json, masked=not reveal)


def _parse(call: RecentCall) -> tuple[object, str | None]:
    """Return the parsed call, and the field for which it was refused."""
    try:
        parsed = parse_call(parse_object(call.body.encode()), call.at, from_sdk=call.channel is Channel.TRACKING)
    except CallError as error:
        return None, error.field if isinstance(error, InvalidCall) and call.outcome is CallOutcome.REFUSED else None
    # A call that parses was refused because its IDs led to no email then.
    return parsed, MissingEmail(has_ids=True).field if call.outcome is CallOutcome.REFUSED else None


def _explanation(
    connection: Connection, account: Account, call: RecentCall, parsed: ParsedIdentify, known: Identify
) -> Explanation | None:
    try:
        context = load_explain_context(connection, account, known)
    except MissingEmail:
        return None
    return explain(parsed, context, stored=call.outcome in (CallOutcome.ACCEPTED, CallOutcome.HELD))


def _masked(explanation: Explanation) -> Explanation:
    """Return an explanation without personal data."""
    email = explanation.email
    return explanation.model_copy(
        update={
            "email": email and email.model_copy(update={"value": mask(email.value)}),
            "user_id": mask(explanation.user_id),
            "time": explanation.time.model_copy(update={"skipped": _masked_times(explanation)}),
            "properties": [each.model_copy(update={"value": mask(each.value)}) for each in explanation.properties],
            "problems": [each.model_copy(update={"value": mask(each.value)}) for each in explanation.problems],
        }
    )


def _masked_times(explanation: Explanation) -> list[SkippedTime]:
    return [each.model_copy(update={"value": mask(each.value)}) for each in explanation.time.skipped]


#: Library name in the context of a test call.
LIBRARY: Final = "ProsperStack Destination, test call"


def test_call(email: str, traits: Mapping[str, JsonValue], now: int) -> dict[str, JsonValue]:
    """Return an Identify call of ProsperStack's documentation, without a user ID, which might be a customer's."""
    return {
        "type": "identify",
        "messageId": f"test-{now}",
        "traits": {"email": email, "traits": dict(traits)},
        "context": {"library": {"name": LIBRARY}},
        "timestamp": datetime.fromtimestamp(now / SECOND, UTC).isoformat(),
    }


async def send_test(
    services: AdminServices, account: Account, email: str, actor: str, traits: Mapping[str, JsonValue] | None = None
) -> Result:
    """Ingest a test call, and return the result that its sender would get.

    It is a regular call: its values go to the person's properties in ProsperStack. It appears in the recent calls
    within two seconds. Raises `TemporaryError` and its kinds.
    """
    call = test_call(email, DOCUMENTED_TRAITS if traits is None else traits, services.clock())
    [result] = await services.ingest.ingest_many(account, Channel.TEST, [dump(call).encode()], EVENT)
    await services.database.write(_record_test, account, actor, services.clock())
    return result


def _record_test(connection: Connection, account: Account, actor: str, now: int) -> None:
    activity.record_action(connection, account.id, now, actor=actor, action="test call", details={})
