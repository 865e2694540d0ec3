"""How people are told things: how something stands, how long it takes, or took."""

from collections.abc import Mapping
from typing import Final

from prosperstack_destination.admin.comparison import PropertyState
from prosperstack_destination.clock import SECOND
from prosperstack_destination.store.accounts import AccountStatus, OnDelete
from prosperstack_destination.store.models import Lane, Status
from prosperstack_destination.store.recent_calls import CallOutcome, Channel

#: How a profile stands.
STATUS: Final[Mapping[Status, str]] = {
    Status.PENDING: "Something changed, and has to be compared with what ProsperStack has.",
    Status.READY: "A subscriber has something else than is desired: an update waits for its turn.",
    Status.UNKNOWN: "It has to be learned first whether there is a subscriber, or what one has by now.",
    Status.IN_SYNC: "Every matching subscriber has what is desired, or had it edited in ProsperStack since.",
    Status.UNMATCHED: "No subscriber has this email: once one has, they get their properties.",
    Status.SET_ASIDE: "ProsperStack rejects the email: it is tried again when the person's next call comes.",
}

#: How urgent what is pending is.
LANE: Final[Mapping[Lane, str]] = {
    Lane.CANCELLING: "before everybody else",
    Lane.LIVE: "live: the newest first",
    Lane.BULK: "one of many: behind what is live",
}

#: What is done in ProsperStack when somebody is erased.
ON_DELETE: Final[Mapping[OnDelete, str]] = {
    OnDelete.CLEAR: "In ProsperStack the values that this service wrote are deleted.",
    OnDelete.DELETE_SUBSCRIBER: "In ProsperStack the subscriber is deleted.",
    OnDelete.NOTHING: "In ProsperStack nothing is done: the account's owner sees to it.",
}

#: How a property of a subscriber stands.
ROW_STATE: Final[Mapping[PropertyState, str]] = {
    PropertyState.SAME: "ProsperStack has what is desired.",
    PropertyState.TO_BE_SENT: "ProsperStack has something else: it is sent when the person's turn comes.",
    PropertyState.TO_BE_CHECKED: "ProsperStack had it before the newest change: the service looks it up first.",
    PropertyState.EDITED_THERE: "It was edited in ProsperStack, and stays so until Segment says something new.",
    PropertyState.SET_ASIDE: "ProsperStack rejected the value: it is sent again when it changes, or by a retry.",
    PropertyState.PROBLEM: "The trait that feeds it cannot be its value.",
    PropertyState.NO_SUBSCRIBER: "It waits for a subscriber with this email.",
    PropertyState.NOT_FED: "No trait feeds it: it is left as it is.",
}

#: How an account stands with ProsperStack, and what to do.
ACCOUNT_STATUS: Final[Mapping[AccountStatus, str]] = {
    AccountStatus.ACTIVE: "Its key works, as far as is known.",
    AccountStatus.RETRYING: "ProsperStack does not answer as it should: it is tried again by itself.",
    AccountStatus.KEY_REFUSED: "ProsperStack refuses its key: calls are refused, and nothing is sent, until it has "
    "another key, or this one works again.",
    AccountStatus.NOT_PERMITTED: "ProsperStack does not permit its key what is needed: calls are refused, and "
    "nothing is sent, until the key may read and write subscribers and their properties.",
}

#: What became of a call.
FATE: Final[Mapping[CallOutcome, str]] = {
    CallOutcome.ACCEPTED: "It is part of what is known of the person.",
    CallOutcome.HELD: "It names an id whose email is not known yet: it is held until a call names one.",
    CallOutcome.ERASED: "The person is forgotten; nothing of the call is kept.",
    CallOutcome.EXPLAINED: "It was explained, and nothing of it was stored: a dry run.",
    CallOutcome.OUTDATED: "It is older than the person's deletion: it was ignored, and nothing of it is kept.",
    CallOutcome.SKIPPED: "Its integrations switch ProsperStack off.",
    CallOutcome.IGNORED: "It says what somebody did, and not who they are: nothing had to be done.",
    CallOutcome.REFUSED: "It is at fault: the same again would be refused, too.",
    CallOutcome.LATER: "It could not be taken just then: Segment sends it again.",
}

#: How a call came.
WAY: Final[Mapping[Channel, str]] = {
    Channel.IDENTIFY: "to /identify",
    Channel.WEBHOOK: "to the account's own URL, as a webhook",
    Channel.TRACKING: "by Segment's HTTP Tracking API",
    Channel.TEST: "as a test, by an operator",
}


def span(seconds: float) -> str:
    """How long, in words: ``about 3 h 20 min``'s second half."""
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
    """The same where there is little room, as in ``0.4 s``."""
    return f"{seconds:.1f} s" if seconds < 10 else span(seconds)


def ago(at: int, now: int) -> str:
    """How long since a time (microseconds), in words."""
    return span(max(now - at, 0) / SECOND)
