"""Units of work on profiles."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from prosperstack_destination.state import json_text
from prosperstack_destination.state.bulk import Bulk
from prosperstack_destination.state.merging import merge
from prosperstack_destination.state.profile import IdKind, Profile, Stamped, Status
from prosperstack_destination.state.tables import profiles

#: When an id came with an email last, in microseconds since the epoch.
Ids = dict[tuple[IdKind, str], int]

#: Ids that a profile remembers; past it the one that came longest ago goes.
MAX_IDS: Final = 50

_WRITTEN: Final = (
    *("address", "user_id", "ids", "traits", "version", "status"),
    *("pending_since", "due_at"),
)
_INSERT = Bulk(insert(profiles), [*_WRITTEN, "account_id", "email", "attempts"])
_UPDATE = Bulk(
    update(profiles)
    .where(profiles.c.id == bindparam("row_id"))
    .values({name: bindparam(name) for name in _WRITTEN})
)
_SELECT_MERGED = select(
    profiles.c.id,
    profiles.c.email,
    profiles.c.address,
    profiles.c.user_id,
    profiles.c.ids,
    profiles.c.traits,
    profiles.c.version,
    profiles.c.status,
    profiles.c.pending_since,
    profiles.c.due_at,
).where(profiles.c.account_id == bindparam("account"), profiles.c.email.in_(bindparam("emails", expanding=True)))


@dataclass(slots=True)
class Draft:
    """A profile while calls are merged into it."""

    email: str
    #: None: it is new.
    row_id: int | None
    address: str
    user_id: str | None
    #: The ids that came with the email, and when last (event time).
    ids: Ids
    traits: Mapping[str, Stamped]
    version: int
    status: str
    pending_since: int | None
    due_at: int | None
    touched: bool = False

    def came_with(self, key: tuple[IdKind, str], at: int) -> None:
        """Note that the email came with an id at an event time."""
        known = self.ids.get(key)
        if known is not None and known >= at:
            return
        self.ids[key] = at
        self.touched = True
        if len(self.ids) > MAX_IDS:
            del self.ids[min(self.ids, key=lambda each: (self.ids[each], each))]

    def take(self, new: Mapping[str, Stamped], received_at: int) -> None:
        """Merge values that came in at a time (microseconds)."""
        merged = merge(self.traits, new)
        if not (merged.touched or self.version == 0):
            return
        self.touched = True
        self.traits = merged.traits
        if merged.value_changed or self.version == 0:
            self.version += 1
            self.status = Status.PENDING
            self.pending_since = self.pending_since or received_at
            self.due_at = received_at if self.due_at is None else min(self.due_at, received_at)


def drafts(connection: Connection, account_id: str, emails: Collection[str]) -> dict[str, Draft]:
    """The profiles of these emails, as far as they are there, by email."""
    return {
        row.email: Draft(
            row.email,
            row.id,
            row.address,
            row.user_id,
            _ids(row.ids),
            json_text.load(row.traits),
            row.version,
            row.status,
            row.pending_since,
            row.due_at,
        )
        for row in connection.execute(_SELECT_MERGED, {"account": account_id, "emails": sorted(emails)})
    }


def new_draft(email: str, address: str) -> Draft:
    """A profile that is not there yet."""
    return Draft(email, None, address, None, {}, {}, 0, Status.PENDING, None, None)


def save(connection: Connection, account_id: str, changed: Iterable[Draft]) -> bool:
    """Write drafts that were touched, in the order of their emails; whether any of them is due."""
    inserts: list[dict[str, Any]] = []
    updates: list[dict[str, Any]] = []
    due = False
    # In key order, so that two writers cannot wait for each other.
    for draft in sorted((draft for draft in changed if draft.touched), key=lambda draft: draft.email):
        fields = {
            "address": draft.address,
            "user_id": draft.user_id,
            "ids": _ids_text(draft.ids),
            "traits": json_text.dump(draft.traits),
            "version": draft.version,
            "status": draft.status,
            "pending_since": draft.pending_since,
            "due_at": draft.due_at,
        }
        due = due or draft.due_at is not None
        if draft.row_id is None:
            inserts.append({**fields, "account_id": account_id, "email": draft.email, "attempts": 0})
        else:
            updates.append({**fields, "row_id": draft.row_id})
    if inserts:
        _INSERT.execute(connection, inserts)
    if updates:
        _UPDATE.execute(connection, updates)
    return due


def erase(connection: Connection, account_id: str, emails: Collection[str]) -> list[Ids]:
    """Delete the profiles of these emails, and their problems with them; the ids of each."""
    known = (profiles.c.account_id == account_id) & profiles.c.email.in_(list(emails))
    ids = [_ids(text) for text in connection.scalars(select(profiles.c.ids).where(known))]
    connection.execute(delete(profiles).where(known))
    return ids


def find(connection: Connection, account_id: str, email: str) -> Profile | None:
    """The profile of an email (trimmed, in lower case), or None."""
    row = connection.execute(
        select(profiles).where(profiles.c.account_id == account_id, profiles.c.email == email)
    ).one_or_none()
    return None if row is None else profile_of(row)


def get(connection: Connection, profile_id: int) -> Profile | None:
    """The profile with this id, or None."""
    row = connection.execute(select(profiles).where(profiles.c.id == profile_id)).one_or_none()
    return None if row is None else profile_of(row)


def due(connection: Connection, account_id: str, now: int, limit: int) -> list[Profile]:
    """An account's profiles that have to be looked at by now, the longest due first."""
    rows = connection.execute(
        select(profiles)
        .where(profiles.c.account_id == account_id, profiles.c.due_at <= now)
        .order_by(profiles.c.due_at)
        .limit(limit)
    )
    return [profile_of(row) for row in rows]


def settle(
    connection: Connection,
    profile: Profile,
    status: Status,
    *,
    reason: str | None = None,
    look_again_at: int | None = None,
) -> bool:
    """Nothing is left to do for this version of a profile, or not before ``look_again_at``.

    False: the profile changed meanwhile, and stays due.
    """
    result = connection.execute(
        update(profiles)
        .where(profiles.c.id == profile.id, profiles.c.version == profile.version)
        .values(
            status=status,
            status_reason=reason,
            due_at=look_again_at,
            attempts=profile.attempts + 1 if status is Status.UNMATCHED else 0,
            pending_since=None,
        )
    )
    return result.rowcount == 1


def postpone(connection: Connection, profile: Profile, until: int, reason: str) -> None:
    """Let the others go first: an attempt at a profile that is pending came to nothing."""
    connection.execute(
        update(profiles)
        .where(profiles.c.id == profile.id)
        .values(due_at=until, attempts=profiles.c.attempts + 1, status_reason=reason)
    )


def mark_looked_up(connection: Connection, profile_id: int, at: int | None) -> None:
    """Note when a profile's subscribers were looked up; None: what we knew is gone, look again."""
    connection.execute(update(profiles).where(profiles.c.id == profile_id).values(looked_up_at=at))


def mark_all_due(connection: Connection, account_id: str, now: int) -> int:
    """Have every profile of an account looked at, because what its traits mean changed; how many."""
    result = connection.execute(
        update(profiles)
        .where(profiles.c.account_id == account_id)
        .values(
            due_at=func.coalesce(profiles.c.due_at, now),
            version=profiles.c.version + 1,
            status=Status.PENDING,
            pending_since=func.coalesce(profiles.c.pending_since, now),
        )
    )
    return result.rowcount


def profile_of(row: Row[Any]) -> Profile:
    """The profile in a row of the profiles table."""
    return Profile(
        id=row.id,
        account_id=row.account_id,
        email=row.email,
        address=row.address,
        user_id=row.user_id,
        traits={name: (value, at) for name, (value, at) in json_text.load(row.traits).items()},
        version=row.version,
        status=Status(row.status),
        status_reason=row.status_reason,
        pending_since=row.pending_since,
        looked_up_at=row.looked_up_at,
        attempts=row.attempts,
    )


def _ids(text: str) -> Ids:
    return {(IdKind(kind), each): at for kind, ids in json_text.load(text).items() for each, at in ids.items()}


def _ids_text(ids: Ids) -> str:
    by_kind: dict[str, dict[str, int]] = {}
    for (kind, each), at in ids.items():
        by_kind.setdefault(kind.value, {})[each] = at
    return json_text.dump(by_kind)
