"""Units of work on profiles."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from prosperstack_destination.state import json_text
from prosperstack_destination.state.merging import merge
from prosperstack_destination.state.profile import Identify, Profile, Stamped, Status
from prosperstack_destination.state.tables import profiles

_INSERT = insert(profiles)
_UPDATE = (
    update(profiles)
    .where(profiles.c.id == bindparam("row_id"))
    .values({name: bindparam(name) for name in ("address", "user_id", "traits", "version", "status")})
    .values({name: bindparam(name) for name in ("pending_since", "due_at")})
)
_SELECT_MERGED = select(
    profiles.c.id,
    profiles.c.email,
    profiles.c.address,
    profiles.c.user_id,
    profiles.c.traits,
    profiles.c.version,
    profiles.c.status,
    profiles.c.pending_since,
    profiles.c.due_at,
).where(profiles.c.account_id == bindparam("account"), profiles.c.email.in_(bindparam("emails", expanding=True)))


@dataclass(slots=True)
class _Draft:
    """A profile while calls are merged into it; its fields are those of the table."""

    row_id: int | None
    address: str
    user_id: str | None
    traits: Mapping[str, Stamped]
    version: int
    status: str
    pending_since: int | None
    due_at: int | None
    touched: bool = False

    def take(self, call: Identify) -> None:
        merged = merge(self.traits, call.traits, call.at)
        new = self.row_id is None and self.version == 0
        if not (merged.touched or new):
            return
        self.touched = True
        self.traits = merged.traits
        self.address = call.address
        self.user_id = call.user_id or self.user_id
        if merged.value_changed or new:
            self.version += 1
            self.status = Status.PENDING
            self.pending_since = self.pending_since or call.received_at
            self.due_at = min(self.due_at or call.received_at, call.received_at)


def merge_calls(connection: Connection, calls: Sequence[Identify]) -> set[str]:
    """Merge calls into their profiles; the ids of the accounts where a value changed are returned.

    What a repeated call says is there already: it writes nothing.
    """
    by_account: dict[str, list[Identify]] = {}
    for call in calls:
        by_account.setdefault(call.account_id, []).append(call)
    changed: set[str] = set()
    inserts: list[dict[str, Any]] = []
    updates: list[dict[str, Any]] = []
    for account_id in sorted(by_account):  # in key order, so that two writers cannot wait for each other
        for email, draft in _merged(connection, account_id, by_account[account_id]):
            fields = {
                "address": draft.address,
                "user_id": draft.user_id,
                "traits": json_text.dump(draft.traits),
                "version": draft.version,
                "status": draft.status,
                "pending_since": draft.pending_since,
                "due_at": draft.due_at,
            }
            if draft.row_id is None:
                inserts.append({**fields, "account_id": account_id, "email": email, "attempts": 0})
            else:
                updates.append({**fields, "row_id": draft.row_id})
            if draft.due_at is not None:
                changed.add(account_id)
    if inserts:
        connection.execute(_INSERT, inserts)
    if updates:
        connection.execute(_UPDATE, updates)
    return changed


def _merged(connection: Connection, account_id: str, calls: Sequence[Identify]) -> Iterable[tuple[str, _Draft]]:
    """The profiles that calls touch, after all of them, in the order of their emails."""
    emails = sorted({call.email for call in calls})
    drafts = {
        row.email: _Draft(
            row.id,
            row.address,
            row.user_id,
            json_text.load(row.traits),
            row.version,
            row.status,
            row.pending_since,
            row.due_at,
        )
        for row in connection.execute(_SELECT_MERGED, {"account": account_id, "emails": emails})
    }
    for call in calls:
        draft = drafts.get(call.email)
        if draft is None:
            draft = drafts[call.email] = _Draft(None, call.address, None, {}, 0, Status.PENDING, None, None)
        draft.take(call)
    return ((email, drafts[email]) for email in emails if drafts[email].touched)


def find(connection: Connection, account_id: str, email: str) -> Profile | None:
    """The profile of an email (trimmed, in lower case), or None."""
    row = connection.execute(
        select(profiles).where(profiles.c.account_id == account_id, profiles.c.email == email)
    ).one_or_none()
    return None if row is None else _profile(row)


def get(connection: Connection, profile_id: int) -> Profile | None:
    """The profile with this id, or None."""
    row = connection.execute(select(profiles).where(profiles.c.id == profile_id)).one_or_none()
    return None if row is None else _profile(row)


def due(connection: Connection, account_id: str, now: int, limit: int) -> list[Profile]:
    """An account's profiles that have to be looked at by now, the longest due first."""
    rows = connection.execute(
        select(profiles)
        .where(profiles.c.account_id == account_id, profiles.c.due_at <= now)
        .order_by(profiles.c.due_at)
        .limit(limit)
    )
    return [_profile(row) for row in rows]


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


def _profile(row: Row[Any]) -> Profile:
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
