"""Units of work that look at profiles for people."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from prosperstack_destination.state import directory, problems, profiles
from prosperstack_destination.state.directory import Subscriber
from prosperstack_destination.state.problems import RecordedProblem
from prosperstack_destination.state.profile import Profile, Status
from prosperstack_destination.state.tables import identities
from prosperstack_destination.state.tables import profiles as table


@dataclass(frozen=True, slots=True)
class Listed:
    """A profile in a list."""

    id: int
    email: str
    user_id: str | None
    status: Status
    status_reason: str | None
    #: In microseconds since the epoch.
    pending_since: int | None


@dataclass(frozen=True, slots=True)
class Looked:
    """All that is known of one person."""

    profile: Profile
    subscribers: list[Subscriber]
    problems: list[RecordedProblem]


def listed(
    connection: Connection,
    account_id: str,
    *,
    after: str,
    limit: int,
    prefix: str = "",
    status: Status | None = None,
) -> list[Listed]:
    """Profiles in the order of their emails, after one; those whose email begins in a way, and that stand so."""
    query = select(table).where(table.c.account_id == account_id, table.c.email > after)
    if prefix:  # a range, so that the index finds it
        query = query.where(table.c.email >= prefix, table.c.email < prefix + "\U0010ffff")
    if status is not None:
        query = query.where(table.c.status == status)
    rows = connection.execute(query.order_by(table.c.email).limit(limit))
    return [
        Listed(row.id, row.email, row.user_id, Status(row.status), row.status_reason, row.pending_since)
        for row in rows
    ]


def look(connection: Connection, account_id: str, profile_id: int) -> Looked | None:
    """The profile with this id, if the account has it."""
    profile = profiles.get(connection, profile_id)
    if profile is None or profile.account_id != account_id:
        return None
    subscribers = directory.with_email(connection, account_id, profile.email)
    return Looked(profile, subscribers, problems.of_profile(connection, profile_id))


def email_of_user(connection: Connection, account_id: str, user_id: str) -> str | None:
    """The email that a user id came with last, or None."""
    return connection.execute(
        select(identities.c.email).where(
            identities.c.account_id == account_id,
            identities.c.kind == "user",
            identities.c.external_id == user_id,
        )
    ).scalar_one_or_none()


def by_status(connection: Connection, account_id: str) -> dict[Status, int]:
    """How many profiles stand how."""
    rows = connection.execute(
        select(table.c.status, func.count()).where(table.c.account_id == account_id).group_by(table.c.status)
    )
    return {Status(status): count for status, count in rows}
