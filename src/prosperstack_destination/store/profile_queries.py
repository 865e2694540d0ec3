"""Units of work that look at profiles for people."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, func, literal, select

from prosperstack_destination.store import json_codec
from prosperstack_destination.store.account_stats import waits_after_failure
from prosperstack_destination.store.models import UNSETTLED, IdKind, Status
from prosperstack_destination.store.profiles import Ids, ids_of
from prosperstack_destination.store.tables import identities, is_set_aside
from prosperstack_destination.store.tables import profiles as table

#: Profiles that a page of them looks at, at most.
LOOKED_AT: Final = 2_000

_LISTED: Final[tuple[ColumnElement[Any], ...]] = (
    *(table.c.id, table.c.email, table.c.user_id),
    *(table.c.status, table.c.status_reason, table.c.pending_since, table.c.due_at),
)
#: What finds those that stand in a way by an index of them.
_INDEXED: Final[Mapping[Status, tuple[ColumnElement[bool], ...]]] = {
    **{status: (table.c.status == status, table.c.due_at.is_not(None)) for status in UNSETTLED},
    Status.SET_ASIDE: (is_set_aside,),
}


@dataclass(frozen=True, slots=True)
class ProfileSummary:
    """A profile in a list."""

    id: int
    email: str
    user_id: str | None
    status: Status
    status_reason: str | None
    #: In microseconds since the epoch.
    pending_since: int | None
    #: When the reconciler has to look at it, in microseconds; None: not before something changes.
    due_at: int | None


@dataclass(frozen=True, slots=True)
class ProfilePage:
    """A page of profiles."""

    profiles: tuple[ProfileSummary, ...]
    #: The email after which the next page goes on; None: there are no more.
    after: str | None


@dataclass(frozen=True, slots=True)
class ProfileDetail:
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
    statuses: Collection[Status] = (),
    looked_at: int = LOOKED_AT,
) -> ProfilePage:
    """Profiles in the order of their emails, after one; those whose email begins in a way, and that stand in one of
    these ways (none named: in any).

    However many profiles there are, it looks at no more than ``looked_at`` of them. Where those that stand so are
    few an index has them; else they are looked for among the next emails, and a page may have few of them, or
    nobody, and more to come.
    """
    mine = _range(account_id, after, prefix)
    if not statuses or set(statuses) == {Status.SET_ASIDE}:  # of either there is an index in the order of emails
        if statuses:
            mine.append(is_set_aside)
        rows = connection.execute(select(*_LISTED).where(*mine).order_by(table.c.email).limit(limit + 1))
        return _page(list(rows), limit)
    few = _few(connection, account_id, statuses, looked_at)
    if few is not None:
        theirs = [row for row in few if row.email > after and row.email.startswith(prefix)]
        return _page(sorted(theirs, key=lambda row: row.email), limit)
    next_ones = select(*_LISTED).where(*mine).order_by(table.c.email).limit(looked_at).subquery()
    found = select(next_ones).where(next_ones.c.status.in_(statuses)).order_by(next_ones.c.email).limit(limit + 1)
    page = _page(list(connection.execute(found)), limit)
    if page.after is not None:
        return page
    last = select(table.c.email).where(*mine).order_by(table.c.email).offset(looked_at - 1).limit(1)
    return ProfilePage(page.profiles, connection.execute(last).scalar())


def failed(connection: Connection, account_id: str, limit: int) -> list[ProfileSummary]:
    """Profiles whose latest attempt failed, and that are tried again; the next to be tried first."""
    theirs = select(*_LISTED).where(table.c.account_id == account_id, waits_after_failure)
    return [_listed(row) for row in connection.execute(theirs.order_by(table.c.due_at, table.c.id).limit(limit))]


def _range(account_id: str, after: str, prefix: str) -> list[ColumnElement[bool]]:
    """One range of emails, so that the index finds it: SQLite would begin at the first of two lower bounds."""
    mine = table.c.account_id == account_id
    if not prefix:
        return [mine, table.c.email > after]
    begins = table.c.email > after if after >= prefix else table.c.email >= prefix
    return [mine, begins, table.c.email < prefix + "\U0010ffff"]


def _few(
    connection: Connection, account_id: str, statuses: Collection[Status], looked_at: int
) -> list[Row[Any]] | None:
    """All profiles that stand so, in no order; None: they are many, or no index has them."""
    if any(status not in _INDEXED for status in statuses):
        return None
    theirs = [(table.c.account_id == account_id, *_INDEXED[status]) for status in statuses]
    count = 0
    for each in theirs:  # first by the index alone, which takes no look at a profile
        some = select(literal(1)).where(*each).limit(looked_at + 1 - count).subquery()
        count += connection.execute(select(func.count()).select_from(some)).scalar_one()
        if count > looked_at:
            return None
    return [row for each in theirs for row in connection.execute(select(*_LISTED).where(*each))]


def _page(rows: Sequence[Row[Any]], limit: int) -> ProfilePage:
    """The first of these profiles; one more than those tells that there are more."""
    shown = tuple(_listed(row) for row in rows[:limit])
    return ProfilePage(shown, shown[-1].email if len(rows) > limit else None)


def _listed(row: Row[Any]) -> ProfileSummary:
    return ProfileSummary(
        row.id, row.email, row.user_id, Status(row.status), row.status_reason, row.pending_since, row.due_at
    )


def detail(connection: Connection, profile_id: int) -> ProfileDetail:
    """What else is stored of a profile, which has to be there."""
    row = connection.execute(
        select(table.c.ids, table.c.due_at, table.c.touched_at).where(table.c.id == profile_id)
    ).one()
    return ProfileDetail(ids_of(row.ids), row.due_at, row.touched_at)


def emails_of_user(connection: Connection, account_id: str, user_id: str) -> list[str]:
    """The email that a user id came with last, and those that it had before, the latest of them first."""
    row = connection.execute(
        select(identities.c.email, identities.c.former).where(
            identities.c.account_id == account_id,
            identities.c.kind == IdKind.USER.value,
            identities.c.external_id == user_id,
        )
    ).one_or_none()
    return [] if row is None else list(dict.fromkeys([row.email, *reversed(json_codec.load(row.former))]))
