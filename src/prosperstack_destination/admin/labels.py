"""Texts for people: a sentence for each status, and durations in words."""

from collections.abc import Mapping
from typing import Final

from prosperstack_destination.admin.comparison import PropertyState
from prosperstack_destination.clock import SECOND
from prosperstack_destination.store.accounts import AccountStatus, OnDelete
from prosperstack_destination.store.models import Lane, Status
from prosperstack_destination.store.recent_calls import CallOutcome, Channel

#: Status of a profile.
STATUS: Final[Mapping[Status, str]] = {
    Status.PENDING: "A change waits to be compared with ProsperStack.",
    Status.READY: "A subscriber differs from the desired values: an update is waiting.",
    Status.UNKNOWN: "A lookup comes first: it finds the subscriber and the current values.",
    Status.IN_SYNC: "Every matching subscriber has the desired values, or newer edits made in ProsperStack.",
    Status.UNMATCHED: "No subscriber has this email. A subscriber who gets it receives the properties.",
    Status.REJECTED: "ProsperStack rejected the email. The person's next call retries it.",
}

#: Lane of a pending profile.
LANE: Final[Mapping[Lane, str]] = {
    Lane.CANCELLING: "cancelling: first of all",
    Lane.LIVE: "live: newest first",
    Lane.BULK: "bulk: after live changes",
}

#: Effect of an erasure in ProsperStack.
ON_DELETE: Final[Mapping[OnDelete, str]] = {
    OnDelete.CLEAR: "In ProsperStack, the values that this service wrote are deleted.",
    OnDelete.DELETE_SUBSCRIBER: "In ProsperStack, the subscriber is deleted.",
    OnDelete.NOTHING: "In ProsperStack, nothing changes: the account's owner deletes the data.",
}

#: State of a property of a subscriber.
PROPERTY_STATE: Final[Mapping[PropertyState, str]] = {
    PropertyState.SAME: "ProsperStack has the desired value.",
    PropertyState.TO_BE_SENT: "ProsperStack has another value. The person's next update sends the desired one.",
    PropertyState.TO_BE_CHECKED: "ProsperStack had the value before the newest change. A lookup comes first.",
    PropertyState.EDITED_THERE: "Edited in ProsperStack. The edit stays until Segment sends another value.",
    PropertyState.SET_ASIDE: "ProsperStack rejected the value. It is sent again when it changes, or by a retry.",
    PropertyState.PROBLEM: "The trait cannot be converted to the property's type.",
    PropertyState.NO_SUBSCRIBER: "Waiting for a subscriber with this email.",
    PropertyState.NOT_FED: "No trait feeds this property. Its value stays.",
}

#: Status of an account that is not active, and its effect with the action to take.
ACCOUNT_HEADLINE: Final[Mapping[AccountStatus, str]] = {
    AccountStatus.RETRYING: "Requests to ProsperStack fail",
    AccountStatus.KEY_REFUSED: "ProsperStack refuses the API key",
    AccountStatus.NOT_PERMITTED: "The API key lacks a permission",
}
ACCOUNT_ADVICE: Final[Mapping[AccountStatus, str]] = {
    AccountStatus.RETRYING: "The service retries automatically.",
    AccountStatus.KEY_REFUSED: "Calls are refused, and nothing is sent. Set another key, or make this one valid "
    "again.",
    AccountStatus.NOT_PERMITTED: "Calls are refused, and nothing is sent. Allow the key to read and write "
    "subscribers and their properties.",
}
#: Status of an account in sentences.
ACCOUNT_STATUS: Final[Mapping[AccountStatus, str]] = {
    AccountStatus.ACTIVE: "The API key works.",
    **{status: f"{text}. {ACCOUNT_ADVICE[status]}" for status, text in ACCOUNT_HEADLINE.items()},
}

#: Outcome of a call.
CALL_OUTCOME: Final[Mapping[CallOutcome, str]] = {
    CallOutcome.ACCEPTED: "Accepted: it is part of the person's profile.",
    CallOutcome.HELD: "Held: the email of its ID is not known yet. A call that names the email releases it.",
    CallOutcome.ERASED: "The person was erased. Nothing of the call is kept.",
    CallOutcome.EXPLAINED: "Dry run: it was explained, and nothing was stored.",
    CallOutcome.OUTDATED: "Ignored: it is older than the person's deletion. Nothing of it is kept.",
    CallOutcome.SKIPPED: "Skipped: its integrations turn ProsperStack off.",
    CallOutcome.FILTERED: "Left out: the mapping does not take this call (accept).",
    CallOutcome.NO_CONSENT: "Left out: the person has not consented to what the mapping requires.",
    CallOutcome.IGNORED: "Ignored: it reports an event, not traits of a person.",
    CallOutcome.REFUSED: "Refused: the call is invalid. Sending it again does not help.",
    CallOutcome.LATER: "Not accepted at that moment. Segment sends it again.",
}

#: Way by which a call arrived.
CHANNEL: Final[Mapping[Channel, str]] = {
    Channel.IDENTIFY: "to /identify",
    Channel.WEBHOOK: "to the account's webhook URL",
    Channel.TRACKING: "by Segment's HTTP Tracking API",
    Channel.TEST: "as a test call by an operator",
}


def span(seconds: float) -> str:
    """Return a duration in words, e.g. ``3 h 20 min``."""
    if seconds < 1:
        return "less than a second"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // (24 * 60)} days {minutes // 60 % 24} h"


def brief(seconds: float) -> str:
    """Return a duration in short form, e.g. ``0.4 s``."""
    return f"{seconds:.1f} s" if seconds < 10 else span(seconds)


def ago(at: int, now: int) -> str:
    """Return the time since ``at`` (microseconds), in words."""
    return span(max(now - at, 0) / SECOND)
