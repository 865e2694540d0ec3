"""Texts of a person's page: headline, status labels and events. Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.admin.comparison import PropertyComparison, PropertyState
from prosperstack_destination.admin.people import NextStep, PersonView
from prosperstack_destination.store.accounts import STOPPED_STATUSES, Account, AccountStatus
from prosperstack_destination.store.activity import Event, EventKind
from prosperstack_destination.store.models import UNSETTLED, Lane, Status


class HeadlineTone(StrEnum):
    """Style class of a status. The text alone also carries the meaning."""

    GOOD = "good"
    CALM = "calm"
    WARN = "warn"
    BAD = "bad"
    PALE = "pale"


@dataclass(frozen=True, slots=True)
class Headline:
    """Status of a person in a title and one or two sentences."""

    title: str
    tone: HeadlineTone
    #: Meaning of the status, or its reason.
    details: str
    #: Time of the next attempt, in microseconds since the epoch; None if unknown or not needed.
    retry_at: int | None = None


#: Status of a person in a list.
STATUS_LABELS: Final[Mapping[Status, tuple[str, HeadlineTone]]] = {
    **dict.fromkeys(UNSETTLED, ("Waiting", HeadlineTone.CALM)),
    Status.IN_SYNC: ("Up to date", HeadlineTone.GOOD),
    Status.UNMATCHED: ("No subscriber", HeadlineTone.PALE),
    Status.REJECTED: ("Email rejected", HeadlineTone.BAD),
}

#: Status of a property in the table of a person.
PROPERTY_LABELS: Final[Mapping[PropertyState, tuple[str, HeadlineTone]]] = {
    PropertyState.SAME: ("Up to date", HeadlineTone.GOOD),
    PropertyState.TO_BE_SENT: ("Waiting", HeadlineTone.CALM),
    PropertyState.TO_BE_CHECKED: ("Needs lookup", HeadlineTone.CALM),
    PropertyState.EDITED_THERE: ("Edited in ProsperStack", HeadlineTone.WARN),
    PropertyState.SET_ASIDE: ("Rejected", HeadlineTone.BAD),
    PropertyState.PROBLEM: ("Mapping problem", HeadlineTone.BAD),
    PropertyState.NO_SUBSCRIBER: ("No subscriber", HeadlineTone.PALE),
    PropertyState.NOT_FED: ("Not mapped", HeadlineTone.PALE),
}

#: States in which ProsperStack's value differs from the desired value.
DIFFERENT_STATES: Final = frozenset(
    {PropertyState.TO_BE_SENT, PropertyState.EDITED_THERE, PropertyState.SET_ASIDE, PropertyState.PROBLEM}
)

_STEPS: Final[Mapping[NextStep, str]] = {
    NextStep.NOTHING: "No update is needed. The status changes in a moment.",
    NextStep.LOOK_UP: "The next request looks the subscriber up in ProsperStack.",
    NextStep.UPDATE: "The next request delivers all changes.",
    NextStep.UPDATE_SUBSCRIPTIONS: "The next requests update the properties of the subscriptions.",
    NextStep.WAIT_FOR_SUBSCRIBER: "No known subscriber has this email. The status changes in a moment.",
    NextStep.WAIT_FOR_CALL: "Delivery resumes with the person's next call.",
}


def headline(person: PersonView, account: Account, now: int) -> Headline:
    """Return the headline of a person, with the reason for waiting if any."""
    profile = person.profile
    rows = [row for side in person.subscribers for row in side.rows]
    if profile.status is Status.REJECTED:
        reason = profile.status_reason or "ProsperStack rejects the email."
        details = f"{_as_sentence(reason)} It is retried with the person's next call."
        return Headline("Email rejected", HeadlineTone.BAD, details)
    if profile.status is Status.UNMATCHED:
        count = sum(row.desired is not None for row in rows)
        details = f"When a subscriber has it, {_properties(count)} {_are(count)} delivered."
        return Headline("No subscriber has this email", HeadlineTone.PALE, details, person.next_attempt_at)
    if profile.status is Status.IN_SYNC:
        return _settled(rows)
    return _waiting(person, account, now)


def _settled(rows: list[PropertyComparison]) -> Headline:
    failed = {row.key for row in rows if row.state in (PropertyState.PROBLEM, PropertyState.SET_ASIDE)}
    edited = {row.key for row in rows if row.state is PropertyState.EDITED_THERE}
    if failed:
        title = f"Up to date except {_properties(len(failed))}"
        return Headline(title, HeadlineTone.WARN, "The problems are listed below, each with a solution.")
    if edited:
        details = f"{_properties(len(edited)).capitalize()} {_are(len(edited))} kept as edited in ProsperStack."
        return Headline("Up to date", HeadlineTone.GOOD, f"{details} Segment's next change overwrites the edit.")
    if not any(row.desired is not None for row in rows):
        return Headline(
            "Nothing to deliver", HeadlineTone.PALE, "No trait of this person feeds a property. See the mapping."
        )
    return Headline("Up to date", HeadlineTone.GOOD, "ProsperStack has all values from Segment.")


def _waiting(person: PersonView, account: Account, now: int) -> Headline:
    step = _STEPS[person.next_step]
    if account.status in STOPPED_STATUSES:
        reason = account.status_reason or "ProsperStack refuses the API key."
        return Headline(
            "Waiting: the account is stopped", HeadlineTone.BAD, _as_sentence(reason), account.status_until
        )
    if person.next_attempt_at is not None or (person.profile.attempts and person.profile.status_reason):
        reason = person.profile.status_reason or "The last attempt failed."
        return Headline(
            "Waiting for a retry", HeadlineTone.WARN, _as_sentence(reason), person.next_attempt_at or now
        )
    if account.status is AccountStatus.RETRYING and account.status_until is not None and account.status_until > now:
        reason = account.status_reason or "It is retried automatically."
        return Headline(
            "Waiting: requests to ProsperStack fail", HeadlineTone.WARN, _as_sentence(reason), account.status_until
        )
    if person.profile.lane is Lane.CANCELLING:
        return Headline("Next in the queue", HeadlineTone.CALM, step)
    priority = " Newer changes of other people go first." if person.profile.lane is Lane.BULK else ""
    return Headline("Waiting for delivery", HeadlineTone.CALM, step + priority)


def _as_sentence(text: str) -> str:
    """Return a text with a full stop if it has no end mark."""
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def _properties(count: int) -> str:
    return "one property" if count == 1 else f"{count:,} properties"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


#: Maximum property names in a text.
_MAX_NAMES: Final = 4
_EVENTS: Final[Mapping[tuple[EventKind, str], str]] = {
    (EventKind.CALL, "accepted"): "Call accepted",
    (EventKind.CALL, "held"): "Call held until its email is known",
    (EventKind.CALL, "outdated"): "Call ignored: it is older than the person's deletion",
    (EventKind.DELIVERY, "delivered"): "All properties delivered",
    (EventKind.DELIVERY, "unchanged"): "ProsperStack was already up to date",
    (EventKind.DELIVERY, "unmatched"): "No subscriber has this email",
    (EventKind.CANCEL_FLOW, "known"): "Cancel flow started: the newest properties were returned to ProsperStack",
    (EventKind.CANCEL_FLOW, "stranger"): "Cancel flow started by an unknown person",
    (
        EventKind.CANCEL_FLOW,
        "unavailable",
    ): "Cancel flow started: the database was too slow to answer",
}


def describe(event: Event) -> str:
    """Return the text of an event, without a full stop."""
    if event.kind is EventKind.REQUEST:
        return _describe_request(event)
    text = _EVENTS.get((event.kind, event.outcome), f"{event.kind.value.capitalize()}: {event.outcome}")
    count = event.details.get("traits")
    return f"{text}, with {count} {'trait' if count == 1 else 'traits'}" if isinstance(count, int) else text


def _describe_request(event: Event) -> str:
    """Return the text of a request to ProsperStack and its response."""
    request, response = str(event.details.get("request", "a request")), event.details.get("said")
    if event.outcome == "none":
        return f"ProsperStack did not answer {request}"
    if not event.outcome.startswith("2"):
        return f"ProsperStack answered {event.outcome} to {request}" + (f": {response}" if response else "")
    properties = event.details.get("properties")
    if isinstance(properties, list) and properties:
        return f"Delivered: {_name_properties(properties)}"
    return "Looked up in ProsperStack" if request.startswith("GET /subscribers") else f"Request {request} succeeded"


def _name_properties(properties: list[JsonValue]) -> str:
    more = len(properties) - _MAX_NAMES
    names = ", ".join(map(str, properties[:_MAX_NAMES]))
    return f"{names}, and {more} more" if more > 0 else names
