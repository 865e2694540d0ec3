"""Transactions on profiles."""

from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Select,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    union_all,
    update,
)

from prosperstack_destination.call_facts import facts_of, has_facts, without_facts
from prosperstack_destination.store import json_codec
from prosperstack_destination.store.merge import ProfileDraft
from prosperstack_destination.store.models import ID_KINDS, IdKind, Lane, Profile, Stamped, Status
from prosperstack_destination.store.statements import BulkInsert, BulkSelect, BulkUpdate, OneOf, PreparedStatement
from prosperstack_destination.store.tables import profiles
from prosperstack_destination.store.timed_traits import by_name, by_time, dump_traits, load_traits

#: External IDs with their latest event time, in microseconds since the epoch.
Ids = dict[tuple[IdKind, str], int]


_WRITTEN: Final = (
    *("address", "user_id", "ids", "traits", "version", "status"),
    *("pending_since", "changed_at", "lane", "due_at", "touched_at"),
)
_INSERT = BulkInsert(profiles, [*_WRITTEN, "account_id", "email", "attempts", "lost_at"])
_UPDATE = BulkUpdate(profiles, ["id"], _WRITTEN)
_AWAIT = BulkUpdate(profiles, ["id", "version"], ["status", "changed_at", "due_at"])
_SETTLE = BulkUpdate(
    profiles, ["id", "version"], ["status", "status_reason", "due_at", "attempts", "pending_since"]
)
_BY_EMAIL: Final = select(profiles).where(
    profiles.c.account_id == bindparam("account"), profiles.c.email == bindparam("email")
)
_COLUMNS: Final = [column.name for column in profiles.columns]
_BY_IDS = BulkSelect(profiles, ["id"], _COLUMNS)
_LOCKED = BulkSelect(
    profiles, ["id"], _COLUMNS, lock="ORDER BY profiles.account_id, profiles.email FOR UPDATE OF profiles"
)


def _ids_to_judge(status: Status, lane: Lane, until: str) -> Select[Any]:
    one = (
        select(profiles.c.id)
        .where(
            profiles.c.account_id == bindparam("account"),
            profiles.c.status == literal_column(f"'{status}'"),
            profiles.c.lane == literal_column(f"{lane:d}"),
            profiles.c.due_at <= bindparam(until),
        )
        .order_by(profiles.c.due_at)
        .limit(bindparam("most"))
        .subquery()
    )
    return select(one.c.id)


#: One statement, built once; each part is an index lookup.
_TO_JUDGE: Final = union_all(
    *(
        _ids_to_judge(status, lane, until)
        for status, until in ((Status.PENDING, "now"), (Status.UNKNOWN, "as_of"), (Status.UNMATCHED, "now"))
        for lane in Lane
    )
)


def _select_merged(one_of: OneOf) -> Select[Any]:
    """Select the columns of a `ProfileDraft`, in order, locked in key order so that writers cannot deadlock."""
    columns = (
        *("email", "id", "address", "user_id", "ids", "traits"),
        *("version", "status", "pending_since", "changed_at", "lane", "due_at", "touched_at"),
    )
    return (
        select(*(profiles.c[name] for name in columns))
        .where(profiles.c.account_id == bindparam("account"), one_of(profiles.c.email, "emails"))
        .order_by(profiles.c.email)
        .with_for_update()
    )


_SELECT_MERGED: Final = PreparedStatement(_select_merged)


def drafts(connection: Connection, account_id: str, emails: Collection[str], now: int) -> dict[str, ProfileDraft]:
    """Load and lock the existing profiles of these emails, by email, for the rest of the transaction.

    Their times are corrected as of ``now`` (microseconds): see `ProfileDraft.correct_times`.
    """
    wanted = {"account": account_id, "emails": sorted(emails)}
    found = {
        email: ProfileDraft(email, row_id, address, user_id, json_codec.load(ids), load_traits(traits), *rest)
        for email, row_id, address, user_id, ids, traits, *rest in _SELECT_MERGED.rows(connection, wanted)
    }
    for draft in found.values():
        draft.correct_times(now)
    return found


def save(connection: Connection, account_id: str, changed: Iterable[ProfileDraft]) -> bool:
    """Write touched drafts in the order of their emails. Return whether any of them is due."""
    inserts: list[tuple[Any, ...]] = []
    updates: list[tuple[Any, ...]] = []
    due = False
    # Key order, so that two writers cannot deadlock.
    for draft in sorted((draft for draft in changed if draft.touched), key=lambda draft: draft.email):
        ids, traits = json_codec.dump(draft.ids), dump_traits(draft.traits)
        written = (  # in the order of _WRITTEN
            *(draft.address, draft.user_id, ids, traits, draft.version, draft.status),
            *(draft.pending_since, draft.changed_at, draft.lane, draft.due_at, draft.touched_at),
        )
        due = due or draft.due_at is not None
        if draft.row_id is None:
            inserts.append((*written, account_id, draft.email, 0, draft.lost_at))
        else:
            updates.append((*written, draft.row_id))
    _INSERT.execute_values(connection, inserts)
    _UPDATE.execute_values(connection, updates)
    return due


def erase(
    connection: Connection, account_id: str, emails: Collection[str]
) -> list[tuple[Ids, Mapping[str, Stamped]]]:
    """Delete the profiles of these emails with their problems. Return the IDs and the traits of each."""
    known = (profiles.c.account_id == account_id) & profiles.c.email.in_(list(emails))
    rows = connection.execute(select(profiles.c.ids, profiles.c.traits).where(known)).all()
    connection.execute(delete(profiles).where(known))
    return [(ids_of(row.ids), by_name(load_traits(row.traits))) for row in rows]


def rewrite_traits(
    connection: Connection, ids: Collection[int], change: Callable[[Mapping[str, Stamped]], Mapping[str, Stamped]]
) -> None:
    """Change the stored traits and facts of profiles, in key order, without making them due."""
    chosen = select(profiles.c.id, profiles.c.traits).where(profiles.c.id.in_(ids)).order_by(profiles.c.email)
    for row in connection.execute(chosen.with_for_update()).all():
        traits = dump_traits(by_time(change(by_name(load_traits(row.traits)))))
        connection.execute(update(profiles).where(profiles.c.id == row.id).values(traits=traits))


def find(connection: Connection, account_id: str, email: str) -> Profile | None:
    """Return the profile of an email (trimmed, in lower case), or None."""
    row = connection.execute(_BY_EMAIL, {"account": account_id, "email": email}).one_or_none()
    return None if row is None else profile_of(row)


def get(connection: Connection, profile_id: int) -> Profile | None:
    """Return the profile with this ID, or None."""
    rows = _BY_IDS.rows(connection, [(profile_id,)])
    return profile_of(rows[0]) if rows else None


def of_ids(
    connection: Connection, profile_ids: Iterable[int], unreadable: MutableMapping[int, str] | None = None
) -> dict[int, Profile]:
    """Return profiles by ID. Unreadable ones go into ``unreadable``: see `due`."""
    found: dict[int, Profile] = {}
    for row in _BY_IDS.rows(connection, [(profile_id,) for profile_id in profile_ids]):
        try:
            found[row.id] = profile_of(row)
        except Exception as error:
            if unreadable is None:
                raise
            unreadable[row.id] = type(error).__name__
    return found


def lock(connection: Connection, profile_ids: Iterable[int]) -> dict[int, Profile]:
    """Return profiles by ID, locked for the rest of the transaction in the order in which calls lock them."""
    rows = _LOCKED.rows(connection, [(profile_id,) for profile_id in profile_ids])
    return {row.id: profile_of(row) for row in rows}


def due(
    connection: Connection,
    account_id: str,
    now: int,
    as_of: int | None,
    limit: int,
    unreadable: MutableMapping[int, str] | None = None,
) -> list[Profile]:
    """Return up to ``limit`` of an account's profiles that are due for evaluation.

    First changed profiles; then profiles that waited for a listing newer than their change (the listing is as of
    ``as_of``, microseconds; None: no listing); then unmatched profiles that are due again. Within each group
    urgent lanes come first, then the longest due. Unreadable profiles go into ``unreadable``, by ID with the type
    of the error; without it the error is raised.
    """
    given = {"account": account_id, "now": now, "as_of": -1 if as_of is None else as_of, "most": limit}
    ids = connection.scalars(_TO_JUDGE, given).all()[:limit]
    found = of_ids(connection, ids, unreadable)
    return [found[each] for each in ids if each in found]


def mark_waiting(connection: Connection, waiting: Sequence[tuple[Profile, Status]], now: int) -> None:
    """Mark profiles as waiting for a request: `Status.READY` for an update, `Status.UNKNOWN` for a lookup.

    A profile that changed in the meantime stays pending.
    """
    if waiting:
        _AWAIT.execute(
            connection,
            [
                {
                    "id": profile.id,
                    "version": profile.version,
                    "status": status,
                    # No observation would ever be newer than a change in the future, after a clock was set back.
                    "changed_at": min(profile.changed_at, now),
                    "due_at": min(profile.changed_at, now),
                }
                for profile, status in waiting
            ],
        )


def mark_changed(connection: Connection, account_id: str, emails: Collection[str], now: int) -> int:
    """Mark the profiles of these emails as pending: ProsperStack reported changes of their subscribers.

    Return the number of those that were not pending before. All get a new version, since an evaluation without the
    change may be running.
    """
    theirs = (profiles.c.account_id == account_id) & profiles.c.email.in_(list(emails))
    found = select(func.count()).select_from(profiles).where(theirs, profiles.c.status != Status.PENDING)
    count = connection.execute(found).scalar_one()
    connection.execute(
        update(profiles)
        .where(theirs)
        .values(
            status=Status.PENDING,
            version=profiles.c.version + 1,
            pending_since=func.coalesce(profiles.c.pending_since, now),
            due_at=now,
        )
    )
    return count


def settle(
    connection: Connection,
    profile: Profile,
    status: Status,
    *,
    reason: str | None = None,
    due_at: int | None = None,
) -> bool:
    """Set the final status of this version of a profile, until ``due_at`` (microseconds) if given.

    Return False if the profile changed in the meantime; it then stays due.
    """
    return bool(settle_all(connection, [(profile, status, due_at)], reason=reason))


def settle_all(
    connection: Connection, settled: Sequence[tuple[Profile, Status, int | None]], *, reason: str | None = None
) -> set[int]:
    """Set the final status of profiles as `settle` does; return the IDs of those that did not change meanwhile."""
    values: list[tuple[Any, ...]] = []
    for profile, status, due_at in settled:
        attempts = profile.attempts + 1 if status is Status.UNMATCHED else 0
        values.append((status, reason, due_at, attempts, None, profile.id, profile.version))
    return _SETTLE.execute_matching(connection, values)


def postpone(connection: Connection, profile_id: int, until: int, reason: str) -> None:
    """Postpone a profile until a time (microseconds) after a failed attempt."""
    connection.execute(
        update(profiles)
        .where(profiles.c.id == profile_id, profiles.c.status.not_in([Status.IN_SYNC, Status.REJECTED]))
        .values(due_at=until, attempts=profiles.c.attempts + 1, status_reason=reason)
    )


def mark_looked_up(connection: Connection, profile: Profile, at: int, now: int, *, lost: bool = False) -> None:
    """Record a subscriber lookup that was sent at ``at`` (microseconds), and mark the profile as pending.

    It gets a new version, since an evaluation without the result may be running. ``lost``: known subscribers were
    not found and are forgotten.
    """
    looked_up: dict[str, Any] = {"looked_up_at": at, "version": profiles.c.version + 1}
    looked_up |= {"status": Status.PENDING, "status_reason": None, "due_at": now}
    if lost:
        looked_up["lost_at"] = at
    connection.execute(update(profiles).where(profiles.c.id == profile.id).values(looked_up))


def invalidate_observed(connection: Connection, profile_id: int, now: int) -> None:
    """Invalidate older observations of a profile's subscribers, after an update with an unknown result."""
    connection.execute(update(profiles).where(profiles.c.id == profile_id).values(changed_at=now))


def profile_of(row: Any) -> Profile:
    """Convert a row of the profiles table."""
    traits, facts = by_name(load_traits(row.traits)), {}
    if has_facts(row.traits):
        traits, facts = without_facts(traits), facts_of(traits)
    return Profile(
        id=row.id,
        account_id=row.account_id,
        email=row.email,
        address=row.address,
        user_id=row.user_id,
        traits=traits,
        facts=facts,
        version=row.version,
        status=Status(row.status),
        status_reason=row.status_reason,
        pending_since=row.pending_since,
        changed_at=row.changed_at,
        lane=Lane(row.lane),
        looked_up_at=row.looked_up_at,
        attempts=row.attempts,
        anonymous_id=newest_id(row.ids, IdKind.ANONYMOUS),
        lost_at=row.lost_at,
    )


def newest_id(ids: str, kind: IdKind) -> str | None:
    """Return the latest ID of a kind from a profile's stored IDs; None: there is none."""
    if ids == "{}":  # the usual case: skip decoding
        return None
    found: dict[str, int] = json_codec.load(ids).get(kind.value, {})
    return max(found, key=lambda each: (found[each], each), default=None)


def ids_of(text: str) -> Ids:
    """Decode the IDs column of a profile."""
    return {(ID_KINDS[kind], each): at for kind, ids in json_codec.load(text).items() for each, at in ids.items()}
