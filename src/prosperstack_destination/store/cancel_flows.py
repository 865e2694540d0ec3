"""Transactions on cancel flows: they find the profile of a person and prioritise its delivery."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, or_, select, update

from prosperstack_destination.store import profiles
from prosperstack_destination.store.models import Lane, Profile, Status
from prosperstack_destination.store.tables import profiles as table
from prosperstack_destination.store.tables import subscribers


@dataclass(frozen=True, slots=True)
class PersonRef:
    """Reference of ProsperStack to a person, by any of several IDs."""

    #: Trimmed and in lower case.
    email: str | None = None
    #: IDs as a ProsperStack subscriber, the most reliable first.
    subscriber_ids: tuple[str, ...] = ()
    #: ID in the billing platform.
    platform_id: str | None = None


# Built once: building a statement takes as long as SQLite takes to run it.
_EMAILS: Final = select(subscribers.c.email).where(subscribers.c.account_id == bindparam("account")).limit(10)
_BY_ID: Final = _EMAILS.where(subscribers.c.id == bindparam("the_id"))
_BY_PLATFORM: Final = _EMAILS.where(subscribers.c.platform_id == bindparam("the_id")).order_by(subscribers.c.id)
_PRIORITIZE: Final = (
    update(table)
    .where(
        table.c.account_id == bindparam("whose"),
        table.c.email == bindparam("who"),
        or_(table.c.pending_since.is_not(None), table.c.due_at.is_not(None)),
    )
    .values(lane=Lane.CANCELLING, status=Status.PENDING, version=table.c.version + 1, due_at=bindparam("at"))
)


def find_person(connection: Connection, account_id: str, person: PersonRef) -> Profile | None:
    """Return the profile of a person by email, else by the subscribers with the IDs; None: unknown."""
    for email in _emails(connection, account_id, person):
        profile = profiles.find(connection, account_id, email)
        if profile is not None:
            return profile
    return None


def _emails(connection: Connection, account_id: str, person: PersonRef) -> Iterator[str]:
    """Yield the possible emails of a person, the most likely first. Each query runs only when it is needed."""
    if person.email is not None:
        yield person.email
    for each in person.subscriber_ids:
        yield from connection.scalars(_BY_ID, {"account": account_id, "the_id": each}).all()
    if person.platform_id is not None:
        yield from connection.scalars(_BY_PLATFORM, {"account": account_id, "the_id": person.platform_id}).all()


def prioritize(connection: Connection, people: Mapping[tuple[str, str], int]) -> set[str]:
    """Move the pending changes of people in cancel flows to the first lane. Return the changed accounts.

    ``people`` maps account and email to the start of the cancel flow (microseconds). Profiles that wait for a
    retry, or for a subscriber, become due at once. Safe to repeat.
    """
    changed: set[str] = set()
    # Key order, so that two writers cannot deadlock.
    for (account_id, email), at in sorted(people.items()):
        result = connection.execute(_PRIORITIZE, {"whose": account_id, "who": email, "at": at})
        if result.rowcount:
            changed.add(account_id)
    return changed
