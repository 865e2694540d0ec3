"""Taking calls in, as the service does."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

from pydantic import JsonValue
from sqlalchemy import Connection, update

from prosperstack_destination.store import profiles, subscribers, tables
from prosperstack_destination.store.merge_calls import CommitResult, ingest_calls
from prosperstack_destination.store.models import Call, CallSource, Identify, Profile, Status
from prosperstack_destination.store.subscribers import AppliedValues
from support.clocks import NEW_YEAR

ACCOUNT = "acct_1"


def pseudonym(text: str) -> str:
    """Stands for a text, without being it."""
    return sha256(text.encode()).hexdigest()


def take(connection: Connection, *calls: Call) -> CommitResult:
    """A unit of work: take calls in."""
    return ingest_calls(connection, calls, pseudonym, exclusive=True)


def identify(
    email: str | None = "a@b.c",
    *,
    at: int = NEW_YEAR,
    received_at: int = NEW_YEAR,
    account: str = ACCOUNT,
    user_id: str | None = None,
    anonymous_id: str | None = None,
    source: CallSource | None = None,
    size: int = 100,
    **traits: JsonValue,
) -> Identify:
    """An Identify call with traits."""
    return Identify(account, email, email or "", traits, at, received_at, user_id, anonymous_id, source, size)


def stored(connection: Connection, email: str = "a@b.c", account: str = ACCOUNT) -> Profile:
    """A unit of work: the profile of an email, which has to be there."""
    profile = profiles.find(connection, account, email)
    assert profile is not None
    return profile


def apply_values(
    connection: Connection,
    account_id: str,
    subscriber_id: str,
    values: Mapping[str, JsonValue],
    *,
    observed: Mapping[str, JsonValue] | None,
    now: int,
) -> None:
    """A unit of work: record applied values of one subscriber."""
    subscribers.mark_all_applied(connection, [AppliedValues(account_id, subscriber_id, values, observed, now)])


def settle_all(connection: Connection) -> None:
    """A unit of work: nobody waits any more, as if everybody had been delivered."""
    connection.execute(update(tables.profiles).values(status=Status.IN_SYNC, due_at=None, pending_since=None))


def outcomes(taken: CommitResult) -> Sequence[str]:
    """What became of calls, in words."""
    return [outcome.value for outcome in taken.outcomes]
