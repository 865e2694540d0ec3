"""Calls that came in, to be kept for people to look at."""

from collections.abc import Sequence

from sqlalchemy import Connection

from prosperstack_destination.store import recent_calls
from prosperstack_destination.store.identities import Key
from prosperstack_destination.store.recent_calls import CallOutcome, CallQuery, Channel, IncomingCall, RecentCall
from support.clocks import NEW_YEAR
from support.intake import ACCOUNT, pseudonym

#: How many calls of an account are kept here.
MOST = 1_000


def keep_calls(connection: Connection, new: Sequence[IncomingCall]) -> None:
    """A unit of work: keep calls."""
    recent_calls.append(connection, new, pseudonym, MOST)


def arrival(
    email: str | None = "a@b.c",
    *,
    account: str = ACCOUNT,
    at: int = NEW_YEAR,
    ids: tuple[Key, ...] = (),
    fate: CallOutcome = CallOutcome.HELD,
    kind: str = "identify",
    source: str | None = None,
    body: str = "{}",
) -> IncomingCall:
    """A call that came in."""
    return IncomingCall(account, at, at, Channel.IDENTIFY, kind, fate, "Said.", source, email, ids, body, len(body))


def kept(connection: Connection, account: str = ACCOUNT, wanted: CallQuery | None = None) -> list[RecentCall]:
    """A unit of work: the calls that are kept of an account, the newest first."""
    return recent_calls.page(connection, account, wanted or CallQuery(), since=0, limit=MOST)
