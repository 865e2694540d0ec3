"""Showing what a call looked like without showing anybody's data."""

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
from prosperstack_destination.store import audit_log, events, profile_queries, profiles, pseudonyms, recent_calls
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.events import Event
from prosperstack_destination.store.identities import Identities
from prosperstack_destination.store.json_codec import dump
from prosperstack_destination.store.models import Identify
from prosperstack_destination.store.pseudonyms import Pseudonym
from prosperstack_destination.store.recent_calls import KEPT_FOR, CallOutcome, CallQuery, Channel, RecentCall

#: Stands for what is hidden, however long it is.
DOTS: Final = "…"
#: Deeper than this nothing is shown.
_DEEPEST: Final = 50


def mask(value: JsonValue, depth: int = 0) -> JsonValue:
    """The same shape without the data: of text the first character, of numbers only whether they are whole.

    Keys, booleans and null stay, but for keys that have an email address in them. Takes any JSON.
    """
    match value:
        case str():
            return _text(value)
        case bool() | None:
            return value
        case int():
            return 0
        case float():
            return 0.0
        case _ if depth >= _DEEPEST:
            return DOTS
        case list():
            return [mask(each, depth + 1) for each in value]
        case dict():
            shown: dict[str, JsonValue] = {}
            for key, each in value.items():
                name = _text(key) if "@" in key else key
                while name in shown:
                    name += DOTS
                shown[name] = mask(each, depth + 1)
            return shown


def _text(text: str) -> str:
    hidden = text[:1] + DOTS if text else ""
    return DOTS if hidden == text and text else hidden


#: So much of what happened to a person after a call is shown.
AFTERWARDS: Final = 50
#: What was understood of a call is shown where something came of it, or may still.
_UNDERSTOOD: Final = frozenset({CallOutcome.ACCEPTED, CallOutcome.HELD, CallOutcome.EXPLAINED, CallOutcome.LATER})


@dataclass(frozen=True, slots=True)
class CallFilter:
    """Which calls somebody wants to see; None: any."""

    #: The person's, by email in any case: also those that named only an id of theirs.
    email: str | None = None
    type: str | None = None
    #: "kind:key", or a kind alone.
    source: str | None = None
    fate: CallOutcome | None = None


@dataclass(frozen=True, slots=True)
class ShownCall:
    """A call as people see it."""

    call: RecentCall
    #: What arrived: its JSON; its text where it is none, or was cut; None where nothing of it is kept.
    arrived: JsonValue
    is_json: bool
    masked: bool


@dataclass(frozen=True, slots=True)
class ExplainedCall(ShownCall):
    """A call with what was understood of it, and what happened after it."""

    #: What it does by the mapping in force now; None: it was refused, or nothing had to be understood.
    explanation: Explanation | None
    #: The field at fault, where it was refused for one.
    field: str | None
    #: Of the same person, the earliest first: deliveries, and requests to ProsperStack.
    afterwards: Sequence[Event]


def list_calls(
    connection: Connection,
    account: Account,
    question: CallFilter,
    pseudonym: Pseudonym,
    now: int,
    *,
    before: int | None = None,
    limit: int = 50,
    reveal: bool = False,
) -> list[ShownCall]:
    """A unit of work: an account's calls, the newest first, those before an id."""
    wanted = CallQuery(type=question.type, source=question.source, outcome=question.fate)
    if question.email is not None:
        email = normalize_email(question.email)
        wanted = replace(wanted, subjects=_subjects(connection, account, email, pseudonym))
    found = recent_calls.page(connection, account.id, wanted, since=now - KEPT_FOR, before=before, limit=limit)
    return [_shown(each, reveal=reveal) for each in found]


def explain_call(
    connection: Connection, account: Account, call_id: int, pseudonym: Pseudonym, *, reveal: bool = False
) -> ExplainedCall:
    """A unit of work: one call in full. Raises `NotFoundError` where the account has none with this id, or no
    longer.
    """
    call = recent_calls.get(connection, account.id, call_id)
    if call is None:
        raise NotFoundError(
            f"The account has no call {call_id}: calls are kept for a day at most, and the newest alone."
        )
    shown = _shown(call, reveal=reveal)
    understood, field = _read(call)
    explanation, subject = None, call.subject
    if isinstance(understood, ParsedIdentify):
        known = to_call(understood, account, call.at, call.size)
        assert isinstance(known, Identify)  # noqa: S101 -- that is what is understood
        if subject is None:
            email = Identities(connection, account.id, known.ids).email(known.ids)
            subject = None if email is None else pseudonyms.of_email(pseudonym, email)
        if call.outcome in _UNDERSTOOD:
            explanation = _explanation(connection, account, call, understood, known)
    return ExplainedCall(
        call=call,
        arrived=shown.arrived,
        is_json=shown.is_json,
        masked=shown.masked,
        explanation=explanation if explanation is None or reveal else _hidden(explanation),
        field=field,
        afterwards=events.of_subject(connection, account.id, subject, call.at, AFTERWARDS) if subject else [],
    )


def _subjects(connection: Connection, account: Account, email: str, pseudonym: Pseudonym) -> frozenset[str]:
    profile = profiles.find(connection, account.id, email)
    ids = [] if profile is None else profile_queries.detail(connection, profile.id).ids
    return recent_calls.subjects_of([email], ids, pseudonym)


def _shown(call: RecentCall, *, reveal: bool) -> ShownCall:
    if not call.body:
        return ShownCall(call, None, is_json=False, masked=not reveal)
    try:
        arrived, is_json = from_json(call.body, allow_inf_nan=False), True
    except ValueError:
        arrived, is_json = call.body, False
    return ShownCall(call, arrived if reveal else mask(arrived), is_json, masked=not reveal)


def _read(call: RecentCall) -> tuple[object, str | None]:
    """What a call is understood as, and the field that it was refused for."""
    try:
        understood = parse_call(
            parse_object(call.body.encode()), call.at, from_sdk=call.channel is Channel.TRACKING
        )
    except CallError as error:
        return None, error.field if isinstance(error, InvalidCall) and call.outcome is CallOutcome.REFUSED else None
    # What can be understood was refused because nobody was known by its ids then.
    return understood, MissingEmail(has_ids=True).field if call.outcome is CallOutcome.REFUSED else None


def _explanation(
    connection: Connection, account: Account, call: RecentCall, understood: ParsedIdentify, known: Identify
) -> Explanation | None:
    try:
        knowledge = load_explain_context(connection, account, known)
    except MissingEmail:
        return None
    return explain(understood, knowledge, stored=call.outcome in (CallOutcome.ACCEPTED, CallOutcome.HELD))


def _hidden(explanation: Explanation) -> Explanation:
    """An explanation without anybody's data."""
    email = explanation.email
    return explanation.model_copy(
        update={
            "email": email and email.model_copy(update={"value": mask(email.value)}),
            "user_id": mask(explanation.user_id),
            "time": explanation.time.model_copy(update={"skipped": _hidden_times(explanation)}),
            "properties": [each.model_copy(update={"value": mask(each.value)}) for each in explanation.properties],
            "problems": [each.model_copy(update={"value": mask(each.value)}) for each in explanation.problems],
        }
    )


def _hidden_times(explanation: Explanation) -> list[SkippedTime]:
    return [each.model_copy(update={"value": mask(each.value)}) for each in explanation.time.skipped]


#: What a test call says that it was sent by.
LIBRARY: Final = "ProsperStack Destination, test call"


def test_call(email: str, traits: Mapping[str, JsonValue], now: int) -> dict[str, JsonValue]:
    """An Identify call as ProsperStack's documentation has it, without a user id: it may be somebody's."""
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
    """Take a test call in; what its sender would be told.

    It is a call as any other: the person's properties become what it says, also in ProsperStack. It is among the
    recent calls within a second or two. Raises `TemporaryError`'s kinds.
    """
    call = test_call(email, DOCUMENTED_TRAITS if traits is None else traits, services.clock())
    [result] = await services.ingest.ingest_many(account, Channel.TEST, [dump(call).encode()], EVENT)
    await services.database.write(_note, account, actor, services.clock())
    return result


def _note(connection: Connection, account: Account, actor: str, now: int) -> None:
    audit_log.record(connection, account.id, now, actor=actor, action="test call", details={})
