"""Transactions on mapping problems, and on properties that are created for traits.

A problem is a value that cannot become a property's type. A rejected creation of a property is final; one that
failed temporarily is retried.
"""

import builtins
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue
from sqlalchemy import Connection, bindparam, delete, func, insert, select

from prosperstack_destination.store import json_codec
from prosperstack_destination.store.statements import BulkInsert, BulkSelect
from prosperstack_destination.store.tables import creations, problems, profiles

#: Built once, as the statements below: it is read for every evaluated profile.
_OF_PROFILES = BulkSelect(problems, ["profile_id"], ["profile_id", "property", "trait", "value", "reason", "since"])
_INSERT = BulkInsert(problems, ["profile_id", "property", "account_id", "trait", "value", "reason", "since"])

#: Maximum number of problem groups that are listed.
MAX_GROUPS: Final = 500

_KINDS: Final = (
    select(problems.c.property, problems.c.reason)
    .where(problems.c.account_id == bindparam("account"))
    .order_by(problems.c.property, problems.c.reason)
    .limit(1)
)
# Two lookups instead of a comparison of pairs, for which SQLite would scan all rows of the problem.
_NEXT_REASON: Final = _KINDS.where(problems.c.property == bindparam("key"), problems.c.reason > bindparam("why"))
_NEXT_PROPERTY: Final = _KINDS.where(problems.c.property > bindparam("key"))

#: Upper bound of an exact count.
_NO_LIMIT: Final = 2**62
_OF_REASON: Final = (
    (problems.c.account_id == bindparam("account"))
    & (problems.c.property == bindparam("key"))
    & (problems.c.reason == bindparam("why"))
)
_TIMES: Final = (
    select(problems.c.since).where(_OF_REASON).order_by(problems.c.since).limit(bindparam("most")).subquery()
)
_COUNT: Final = select(func.count(), func.min(_TIMES.c.since)).select_from(_TIMES)
_NEWEST: Final = (
    select(profiles.c.email, problems.c.trait, problems.c.value, problems.c.profile_id)
    .join(profiles, profiles.c.id == problems.c.profile_id)
    .where(_OF_REASON)
    .order_by(problems.c.since.desc())
    .limit(bindparam("most"))
)

#: Prefix of the reason of a value that the property's type accepts and ProsperStack rejected.
_REJECTED: Final = "ProsperStack rejects it: "


@dataclass(frozen=True, slots=True)
class RecordedProblem:
    """Problem of a profile's latest evaluation."""

    property: str
    trait: str
    value: JsonValue
    reason: str
    #: Time of the first evaluation with this value and reason, in microseconds.
    since: int


def rejection_reason(message: str) -> str:
    """Return the reason of a value that ProsperStack rejected, with ProsperStack's own text."""
    return _REJECTED + message


def is_rejection(reason: str) -> bool:
    """Return whether the reason is a rejection by ProsperStack."""
    return reason.startswith(_REJECTED)


def of_profile(connection: Connection, profile_id: int) -> list[RecordedProblem]:
    """Return a profile's problems, by property."""
    rows = sorted(_OF_PROFILES.rows(connection, [(profile_id,)]), key=lambda row: row.property)
    return [
        RecordedProblem(row.property, row.trait, json_codec.load(row.value), row.reason, row.since) for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Sample:
    """Profile with a problem."""

    email: str
    trait: str
    value: JsonValue
    profile_id: int


@dataclass(frozen=True, slots=True)
class ProblemGroup:
    """Problems of one property with the same reason."""

    property: str
    reason: str
    #: Number of profiles with the problem.
    count: int
    #: Time of its first occurrence, in microseconds.
    since: int
    samples: tuple[Sample, ...]

    @builtins.property
    def is_rejected(self) -> bool:
        """True if ProsperStack rejected the values, which are not sent again until they change."""
        return is_rejection(self.reason)


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """Counted problems of one property with the same reason."""

    property: str
    reason: str
    count: int
    #: Time of its first occurrence, in microseconds.
    since: int


def has_any(connection: Connection, account_id: str) -> bool:
    """Return whether an account has a problem. Costs one index lookup."""
    return connection.execute(_KINDS, {"account": account_id}).first() is not None


def grouped(connection: Connection, account_id: str, *, limit: int = 100, samples: int = 3) -> list[ProblemGroup]:
    """Return an account's problems by property and reason, the most frequent first, with the newest samples.

    Beyond `MAX_GROUPS` only the first groups by property are known. Reads all problems.
    """
    return with_samples(connection, account_id, kinds(connection, account_id)[:limit], samples)


def kinds(connection: Connection, account_id: str, max_count: int | None = None) -> list[ProblemKind]:
    """Return an account's problems by property and reason, without samples.

    ``max_count`` bounds each count, and with it the time that it takes; None: exact counts.
    """
    found = [
        ProblemKind(key, reason, *_count(connection, account_id, key, reason, max_count))
        for key, reason in _kinds(connection, account_id)
    ]
    return sorted(found, key=lambda each: (-each.count, each.property, each.reason))


def with_samples(
    connection: Connection, account_id: str, counted_kinds: Sequence[ProblemKind], limit: int
) -> list[ProblemGroup]:
    """Add the newest samples to counted problems, and omit those without an occurrence any more."""
    found = [(each, samples(connection, account_id, each.property, each.reason, limit)) for each in counted_kinds]
    return [
        ProblemGroup(each.property, each.reason, each.count, each.since, theirs) for each, theirs in found if theirs
    ]


def _kinds(connection: Connection, account_id: str) -> Iterator[tuple[str, str]]:
    """Yield each property with each of its reasons, in order. Costs up to two index lookups for each."""
    last = {"account": account_id, "key": "", "why": ""}
    for _ in range(MAX_GROUPS):
        row = (
            connection.execute(_NEXT_REASON, last).first()
            or connection.execute(_NEXT_PROPERTY, {"account": account_id, "key": last["key"]}).first()
        )
        if row is None:
            return
        last |= {"key": row.property, "why": row.reason}
        yield row.property, row.reason


def _count(connection: Connection, account_id: str, key: str, reason: str, counted: int | None) -> tuple[int, int]:
    """Return the number of profiles with a problem, up to a bound, and the time of its first occurrence."""
    same = {"account": account_id, "key": key, "why": reason, "most": _NO_LIMIT if counted is None else counted}
    row = connection.execute(_COUNT, same).one()
    return row[0], row[1]


def samples(connection: Connection, account_id: str, key: str, reason: str, limit: int) -> tuple[Sample, ...]:
    """Return the profiles that got this problem of a property last."""
    rows = connection.execute(_NEWEST, {"account": account_id, "key": key, "why": reason, "most": limit})
    return tuple(Sample(row.email, row.trait, json_codec.load(row.value), row.profile_id) for row in rows)


def replace(connection: Connection, account_id: str, current: Mapping[int, Sequence[RecordedProblem]]) -> None:
    """Replace the problems of an account's profiles, by profile ID. A problem that persists keeps its time."""
    replace_all(connection, {profile_id: (account_id, found) for profile_id, found in current.items()})


def replace_all(connection: Connection, current: Mapping[int, tuple[str, Sequence[RecordedProblem]]]) -> None:
    """Replace the problems of profiles, by profile ID with the account's ID, as `replace` does."""
    since: dict[tuple[int, str, str, str], int] = {
        (row.profile_id, row.property, row.trait, row.reason): row.since
        for row in _OF_PROFILES.rows(connection, [(profile_id,) for profile_id in current])
    }
    if since:
        before = {profile_id for profile_id, *_ in since}
        connection.execute(delete(problems).where(problems.c.profile_id.in_(before)))
    rows = [
        {
            "profile_id": profile_id,
            "property": each.property,
            "account_id": account_id,
            "trait": each.trait,
            "value": json_codec.dump(each.value),
            "reason": each.reason,
            "since": since.get((profile_id, each.property, each.trait, each.reason), each.since),
        }
        for profile_id, (account_id, found) in current.items()
        for each in found
    ]
    if rows:
        _INSERT.execute(connection, rows)


@dataclass(frozen=True, slots=True)
class PropertyCreation:
    """Attempt to create a property."""

    key: str
    trait: str
    #: Type of the property, by ProsperStack's name.
    type: str
    #: In microseconds since the epoch.
    at: int
    #: Reason of the failure; None: created, or present already.
    reason: str | None
    #: Time of the retry, in microseconds; None: no retry.
    retry_at: int | None = None


def property_creations(connection: Connection, account_id: str) -> list[PropertyCreation]:
    """Return an account's attempts, the oldest first."""
    rows = connection.execute(
        select(creations).where(creations.c.account_id == account_id).order_by(creations.c.at, creations.c.key)
    )
    return [PropertyCreation(row.key, row.trait, row.type, row.at, row.reason, row.retry_at) for row in rows]


def record_creation(connection: Connection, account_id: str, creation: PropertyCreation) -> None:
    """Record an attempt; it replaces an earlier one."""
    same = (creations.c.account_id == account_id) & (creations.c.key == creation.key)
    connection.execute(delete(creations).where(same))
    connection.execute(
        insert(creations).values(
            account_id=account_id,
            key=creation.key,
            trait=creation.trait,
            type=creation.type,
            at=creation.at,
            reason=creation.reason,
            retry_at=creation.retry_at,
        )
    )
