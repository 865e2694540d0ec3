"""Units of work on cancel flows: who began to cancel, and what should be known of them at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue
from sqlalchemy import BigInteger, Connection, bindparam, case, func, literal, select, update

from prosperstack_destination.clock import HOUR
from prosperstack_destination.state import json_text
from prosperstack_destination.state.profile import Profile
from prosperstack_destination.state.profiles import profile_of
from prosperstack_destination.state.tables import accounts, mappings, profiles, subscribers

#: So long somebody who began to cancel goes before the others, in microseconds.
FLOW_LASTS: Final = 1 * HOUR


@dataclass(frozen=True, slots=True)
class Person:
    """Whom ProsperStack speaks of, by whatever it tells of them."""

    #: Trimmed and in lower case.
    email: str | None = None
    #: Their ids as a subscriber of ProsperStack's, the surest first.
    subscriber_ids: tuple[str, ...] = ()
    #: Their id in the billing platform.
    platform_id: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A person whose profile is stored."""

    #: Trimmed and in lower case.
    email: str
    #: By trait name, without their times.
    traits: Mapping[str, JsonValue]


# These are made once: to make a statement takes as long as SQLite takes to answer it.
_PROFILE: Final = select(profiles.c.traits).where(
    profiles.c.account_id == bindparam("account"), profiles.c.email == bindparam("the_email")
)
_KNOWN: Final = select(subscribers.c.email).where(subscribers.c.account_id == bindparam("account")).limit(10)
_BY_ID: Final = _KNOWN.where(subscribers.c.id == bindparam("the_id"))
_BY_PLATFORM: Final = _KNOWN.where(subscribers.c.platform_id == bindparam("the_id")).order_by(subscribers.c.id)


def find_person(connection: Connection, account_id: str, person: Person) -> Found | None:
    """The profile of a person: by the email, else by what the directory knows of the ids. None for a stranger."""
    for email in _emails(connection, account_id, person):
        traits = connection.execute(_PROFILE, {"account": account_id, "the_email": email}).scalar()
        if traits is not None:
            return Found(email, {name: value for name, (value, _) in json_text.load(traits).items()})
    return None


def _emails(connection: Connection, account_id: str, person: Person) -> Iterator[str]:
    """The emails that a person may be stored under, the likeliest first; nothing is asked before it is needed."""
    if person.email is not None:
        yield person.email
    for each in person.subscriber_ids:
        yield from connection.scalars(_BY_ID, {"account": account_id, "the_id": each}).all()
    if person.platform_id is not None:
        yield from connection.scalars(_BY_PLATFORM, {"account": account_id, "the_id": person.platform_id}).all()


#: When an account's properties were listed, and which mapping is in force.
Edition = tuple[int | None, int]

_EDITION: Final = select(
    accounts.c.catalog_at,
    func.coalesce(
        select(func.max(mappings.c.version)).where(mappings.c.account_id == accounts.c.id).scalar_subquery(), 0
    ).label("version"),
).where(accounts.c.id == bindparam("account"))


def edition(connection: Connection, account_id: str) -> Edition:
    """Changes with whatever changes what an account's traits mean."""
    row = connection.execute(_EDITION, {"account": account_id}).one()
    return row.catalog_at, row.version


def begin(connection: Connection, people: Mapping[tuple[str, str], int]) -> set[str]:
    """Note who began to cancel: by account and email, and when. The accounts with something to do for them.

    Whoever waits for another attempt, or is not known as a subscriber yet, is looked at at once. Safe to repeat.
    """
    changed: set[str] = set()
    # In key order, so that two writers cannot wait for each other.
    for (account_id, email), at in sorted(people.items()):
        sooner = case((profiles.c.due_at > at, literal(at, BigInteger)), else_=profiles.c.due_at)
        result = connection.execute(
            update(profiles)
            .where(profiles.c.account_id == account_id, profiles.c.email == email)
            .values(cancel_flow_at=at, due_at=sooner)
            .returning(profiles.c.due_at)
        )
        if any(due_at is not None for (due_at,) in result):
            changed.add(account_id)
    return changed


def due(connection: Connection, account_id: str, now: int, limit: int) -> Sequence[Profile]:
    """An account's profiles that are due, of people who are cancelling: to be looked at before all others.

    Who began last comes first. One look into a small index, however many others are due.
    """
    rows = connection.execute(
        select(profiles)
        .where(
            profiles.c.account_id == account_id,
            profiles.c.due_at.is_not(None),
            profiles.c.due_at <= now,
            profiles.c.cancel_flow_at > now - FLOW_LASTS,
        )
        .order_by(profiles.c.cancel_flow_at.desc())
        .limit(limit)
    )
    return [profile_of(row) for row in rows]
