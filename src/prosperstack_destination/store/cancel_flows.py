"""Units of work on cancel flows: who began to cancel, and what should be known of them at once."""

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
    """Whom ProsperStack speaks of, by whatever it tells of them."""

    #: Trimmed and in lower case.
    email: str | None = None
    #: Their ids as a subscriber of ProsperStack's, the surest first.
    subscriber_ids: tuple[str, ...] = ()
    #: Their id in the billing platform.
    platform_id: str | None = None


# These are made once: to make a statement takes as long as SQLite takes to answer it.
_KNOWN: Final = select(subscribers.c.email).where(subscribers.c.account_id == bindparam("account")).limit(10)
_BY_ID: Final = _KNOWN.where(subscribers.c.id == bindparam("the_id"))
_BY_PLATFORM: Final = _KNOWN.where(subscribers.c.platform_id == bindparam("the_id")).order_by(subscribers.c.id)
_FIRST: Final = (
    update(table)
    .where(
        table.c.account_id == bindparam("whose"),
        table.c.email == bindparam("who"),
        or_(table.c.pending_since.is_not(None), table.c.due_at.is_not(None)),
    )
    .values(lane=Lane.CANCELLING, status=Status.PENDING, version=table.c.version + 1, due_at=bindparam("at"))
)


def find_person(connection: Connection, account_id: str, person: PersonRef) -> Profile | None:
    """The profile of a person: by the email, else by what the directory knows of the ids. None for a stranger."""
    for email in _emails(connection, account_id, person):
        profile = profiles.find(connection, account_id, email)
        if profile is not None:
            return profile
    return None


def _emails(connection: Connection, account_id: str, person: PersonRef) -> Iterator[str]:
    """The emails that a person may be stored under, the likeliest first; nothing is asked before it is needed."""
    if person.email is not None:
        yield person.email
    for each in person.subscriber_ids:
        yield from connection.scalars(_BY_ID, {"account": account_id, "the_id": each}).all()
    if person.platform_id is not None:
        yield from connection.scalars(_BY_PLATFORM, {"account": account_id, "the_id": person.platform_id}).all()


def prioritize(connection: Connection, people: Mapping[tuple[str, str], int]) -> set[str]:
    """Put what is pending of who began to cancel before everything else: by account and email, and when.

    Whoever waits for another attempt, or is not known as a subscriber yet, is looked at at once. The accounts with
    something to do for them. Safe to repeat.
    """
    changed: set[str] = set()
    # In key order, so that two writers cannot wait for each other.
    for (account_id, email), at in sorted(people.items()):
        result = connection.execute(_FIRST, {"whose": account_id, "who": email, "at": at})
        if result.rowcount:
            changed.add(account_id)
    return changed
