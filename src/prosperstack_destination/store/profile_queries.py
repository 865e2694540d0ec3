"""Queries of profiles: pages for the admin services, and scans of all profiles."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import JsonValue
from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, literal, select

from prosperstack_destination.call_facts import facts_of, has_facts, without_facts
from prosperstack_destination.store import json_codec
from prosperstack_destination.store.account_stats import awaits_retry
from prosperstack_destination.store.models import UNSETTLED, IdKind, Stamped, Status
from prosperstack_destination.store.profiles import Ids, ids_of, newest_id
from prosperstack_destination.store.tables import identities, is_rejected, is_unmatched, profiles
from prosperstack_destination.store.timed_traits import by_name, load_traits, load_values

#: Maximum number of profiles that a page scans.
SCAN_LIMIT: Final = 2_000

_LISTED: Final[tuple[ColumnElement[Any], ...]] = (
    *(profiles.c.id, profiles.c.email, profiles.c.user_id),
    *(profiles.c.status, profiles.c.status_reason, profiles.c.pending_since, profiles.c.due_at),
)
#: Conditions of the statuses that an index covers.
_INDEXED: Final[Mapping[Status, tuple[ColumnElement[bool], ...]]] = {
    **{status: (profiles.c.status == status, profiles.c.due_at.is_not(None)) for status in UNSETTLED},
    Status.REJECTED: (is_rejected,),
}


#: Statuses with an index in the order of emails.
_INDEXED_BY_EMAIL: Final[Mapping[Status, ColumnElement[bool]]] = {
    Status.REJECTED: is_rejected,
    Status.UNMATCHED: is_unmatched,
}


@dataclass(frozen=True, slots=True)
class ProfileSummary:
    """Profile in a list."""

    id: int
    email: str
    user_id: str | None
    status: Status
    status_reason: str | None
    #: In microseconds since the epoch.
    pending_since: int | None
    #: Time of the next evaluation, in microseconds; None: after the next change.
    due_at: int | None


@dataclass(frozen=True, slots=True)
class ProfilePage:
    """Page of profiles."""

    profiles: tuple[ProfileSummary, ...]
    #: Email to continue after; None: the last page.
    after: str | None


@dataclass(frozen=True, slots=True)
class ProfileDetail:
    """Stored fields of a profile that are not part of `Profile`."""

    #: External IDs of the email with their latest event times, in microseconds.
    ids: Ids
    #: Time of the next evaluation, in microseconds; None: after the next change.
    due_at: int | None
    #: Time of the latest call about the person, to the day, in microseconds; None: unknown.
    touched_at: int | None


def list_page(
    connection: Connection,
    account_id: str,
    *,
    after: str,
    limit: int,
    prefix: str = "",
    statuses: Collection[Status] = (),
    scan_limit: int = SCAN_LIMIT,
) -> ProfilePage:
    """Return profiles after an email, with a prefix and any of the statuses (empty: all), ordered by email.

    Scans at most ``scan_limit`` profiles. If few profiles have the statuses, an index finds them. Else the next
    emails are scanned, and a page may have few profiles or none while more follow.
    """
    mine = _range(account_id, after, prefix)
    only = next(iter(statuses)) if len(set(statuses)) == 1 else None
    if not statuses or only in _INDEXED_BY_EMAIL:
        if only is not None:
            mine.append(_INDEXED_BY_EMAIL[only])
        rows = connection.execute(select(*_LISTED).where(*mine).order_by(profiles.c.email).limit(limit + 1))
        return _page(list(rows), limit)
    few = _rare(connection, account_id, statuses, scan_limit)
    if few is not None:
        of_account = [row for row in few if row.email > after and row.email.startswith(prefix)]
        return _page(sorted(of_account, key=lambda row: row.email), limit)
    next_ones = select(*_LISTED).where(*mine).order_by(profiles.c.email).limit(scan_limit).subquery()
    found = select(next_ones).where(next_ones.c.status.in_(statuses)).order_by(next_ones.c.email).limit(limit + 1)
    page = _page(list(connection.execute(found)), limit)
    if page.after is not None:
        return page
    last = select(profiles.c.email).where(*mine).order_by(profiles.c.email).offset(scan_limit - 1).limit(1)
    return ProfilePage(page.profiles, connection.execute(last).scalar())


def failed(connection: Connection, account_id: str, limit: int) -> list[ProfileSummary]:
    """Return profiles whose latest attempt failed and that will be retried, the next retry first."""
    of_account = select(*_LISTED).where(profiles.c.account_id == account_id, awaits_retry)
    next_first = of_account.order_by(profiles.c.due_at, profiles.c.id).limit(limit)
    return [_summary(row) for row in connection.execute(next_first)]


def _range(account_id: str, after: str, prefix: str) -> list[ColumnElement[bool]]:
    """Return one range of emails, for the index: SQLite would start at the first of two lower bounds."""
    mine = profiles.c.account_id == account_id
    if not prefix:
        return [mine, profiles.c.email > after]
    begins = profiles.c.email > after if after >= prefix else profiles.c.email >= prefix
    return [mine, begins, profiles.c.email < prefix + "\U0010ffff"]


def _rare(
    connection: Connection, account_id: str, statuses: Collection[Status], looked_at: int
) -> list[Row[Any]] | None:
    """Return all profiles with these statuses, unordered; None: too many, or no index."""
    if any(status not in _INDEXED for status in statuses):
        return None
    of_account = [(profiles.c.account_id == account_id, *_INDEXED[status]) for status in statuses]
    count = 0
    for each in of_account:  # count by the index first, which reads no profile
        some = select(literal(1)).where(*each).limit(looked_at + 1 - count).subquery()
        count += connection.execute(select(func.count()).select_from(some)).scalar_one()
        if count > looked_at:
            return None
    return [row for each in of_account for row in connection.execute(select(*_LISTED).where(*each))]


def _page(rows: Sequence[Row[Any]], limit: int) -> ProfilePage:
    """Return a page; a row beyond ``limit`` shows that more follow."""
    shown = tuple(_summary(row) for row in rows[:limit])
    return ProfilePage(shown, shown[-1].email if len(rows) > limit else None)


def _summary(row: Row[Any]) -> ProfileSummary:
    return ProfileSummary(
        row.id, row.email, row.user_id, Status(row.status), row.status_reason, row.pending_since, row.due_at
    )


def detail(connection: Connection, profile_id: int) -> ProfileDetail:
    """Return further stored fields of an existing profile."""
    row = connection.execute(
        select(profiles.c.ids, profiles.c.due_at, profiles.c.touched_at).where(profiles.c.id == profile_id)
    ).one()
    return ProfileDetail(ids_of(row.ids), row.due_at, row.touched_at)


def emails_of_user(connection: Connection, account_id: str, user_id: str) -> list[str]:
    """Return the present and former emails of a user ID, the latest first."""
    row = connection.execute(
        select(identities.c.email, identities.c.former).where(
            identities.c.account_id == account_id,
            identities.c.kind == IdKind.USER.value,
            identities.c.external_id == user_id,
        )
    ).one_or_none()
    return [] if row is None else list(dict.fromkeys([row.email, *reversed(json_codec.load(row.former))]))


#: Default number of profiles in a page.
PAGE_SIZE: Final = 500


@dataclass(frozen=True, slots=True)
class ScannedProfile:
    """Fields of a profile that the mapping needs, with JSON that is decoded on demand.

    A page of decoded profiles would be many small objects that keep Python's garbage collector busy, which halves
    the speed.
    """

    id: int
    email: str
    user_id: str | None
    #: IDs and traits, as stored.
    ids: str
    traits: str
    status: str

    def stamped(self) -> dict[str, Stamped]:
        """Return the traits with their times."""
        found = by_name(load_traits(self.traits))
        return without_facts(found) if has_facts(self.traits) else found

    def values(self) -> dict[str, JsonValue]:
        """Return the traits without their times."""
        found = load_values(self.traits)
        return without_facts(found) if has_facts(self.traits) else found

    def facts(self) -> dict[str, Stamped]:
        """Return the facts with their times: see `facts`."""
        return facts_of(by_name(load_traits(self.traits))) if has_facts(self.traits) else {}

    @property
    def anonymous_id(self) -> str | None:
        """Anonymous ID of the email's latest call that had one."""
        return newest_id(self.ids, IdKind.ANONYMOUS)


#: Hashed ID: a sample must not follow a pattern in the order of insertion.
_SCATTERED: Final = (profiles.c.id * 2_654_435_761 % 4_294_967_296) // 65_536
_SCAN_PAGE: Final = (
    select(
        profiles.c.id, profiles.c.email, profiles.c.user_id, profiles.c.ids, profiles.c.traits, profiles.c.status
    )
    .where(
        profiles.c.account_id == bindparam("account"),
        profiles.c.email > bindparam("after"),
        _SCATTERED % bindparam("one_in") == 0,
    )
    .order_by(profiles.c.email)
    .limit(bindparam("limit"))
)


def scan_page(
    connection: Connection, account_id: str, after: str, *, limit: int = PAGE_SIZE, one_in: int = 1
) -> list[ScannedProfile]:
    """Return the profiles after an email ("" for the first page); with ``one_in``, a sample of every n-th."""
    rows = connection.execute(_SCAN_PAGE, {"account": account_id, "after": after, "limit": limit, "one_in": one_in})
    return [ScannedProfile(*row) for row in rows]


def count_all(connection: Connection, account_id: str) -> int:
    """Return the number of an account's profiles."""
    return connection.execute(
        select(func.count()).select_from(profiles).where(profiles.c.account_id == account_id)
    ).scalar_one()
