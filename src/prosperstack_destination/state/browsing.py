"""Units of work that look at profiles for people."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from prosperstack_destination.state import json_text
from prosperstack_destination.state.profile import IdKind, Status
from prosperstack_destination.state.profiles import Ids, ids_of
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
class Detail:
    """What is stored of a profile besides what the reconciler needs of it."""

    #: The ids that came with the email, and when each did last (event time), in microseconds.
    ids: Ids
    #: When the reconciler has to look at it, in microseconds; None: not before something changes.
    due_at: int | None
    #: When a call was about the person last, to the day, in microseconds; None: before this was noted.
    touched_at: int | None


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


def detail(connection: Connection, profile_id: int) -> Detail:
    """What else is stored of a profile, which has to be there."""
    row = connection.execute(
        select(table.c.ids, table.c.due_at, table.c.touched_at).where(table.c.id == profile_id)
    ).one()
    return Detail(ids_of(row.ids), row.due_at, row.touched_at)


def emails_of_user(connection: Connection, account_id: str, user_id: str) -> list[str]:
    """The email that a user id came with last, and those that it had before, the latest of them first."""
    row = connection.execute(
        select(identities.c.email, identities.c.former).where(
            identities.c.account_id == account_id,
            identities.c.kind == IdKind.USER.value,
            identities.c.external_id == user_id,
        )
    ).one_or_none()
    return [] if row is None else list(dict.fromkeys([row.email, *reversed(json_text.load(row.former))]))


def by_status(connection: Connection, account_id: str) -> dict[Status, int]:
    """How many profiles stand how."""
    rows = connection.execute(
        select(table.c.status, func.count()).where(table.c.account_id == account_id).group_by(table.c.status)
    )
    return {Status(status): count for status, count in rows}
