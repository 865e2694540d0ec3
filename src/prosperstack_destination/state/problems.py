"""Units of work on problems: traits that feed a property and cannot."""

import builtins
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue
from sqlalchemy import Connection, bindparam, delete, func, insert, select

from prosperstack_destination.state import json_text
from prosperstack_destination.state.tables import problems, profiles

#: Built once: it is read with every profile that is settled.
_OF_PROFILE: Final = (
    select(problems).where(problems.c.profile_id == bindparam("profile")).order_by(problems.c.property)
)

#: How the reason of a problem begins whose value is good by all that is known here, and ProsperStack rejected it.
_REJECTED: Final = "ProsperStack rejects it: "


@dataclass(frozen=True, slots=True)
class RecordedProblem:
    """A problem of a profile's latest projection."""

    property: str
    trait: str
    value: JsonValue
    reason: str
    #: When it was first seen with this value and reason, in microseconds.
    since: int


def as_rejected(words: str) -> str:
    """The reason of a problem that ProsperStack told of, in its words."""
    return _REJECTED + words


def of_profile(connection: Connection, profile_id: int) -> list[RecordedProblem]:
    """A profile's problems, by property."""
    rows = connection.execute(_OF_PROFILE, {"profile": profile_id})
    return [
        RecordedProblem(row.property, row.trait, json_text.load(row.value), row.reason, row.since) for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Sample:
    """One profile that has a problem."""

    email: str
    trait: str
    value: JsonValue


@dataclass(frozen=True, slots=True)
class ProblemGroup:
    """The problems of one property that have the same reason."""

    property: str
    reason: str
    #: Profiles that have it.
    count: int
    #: When it was first seen, in microseconds.
    since: int
    samples: tuple[Sample, ...]

    @builtins.property
    def is_set_aside(self) -> bool:
        """Whether ProsperStack rejected the values, which are not sent again before they are others."""
        return self.reason.startswith(_REJECTED)


def grouped(connection: Connection, account_id: str, *, limit: int = 100, samples: int = 3) -> list[ProblemGroup]:
    """An account's problems by property and reason, the most frequent first."""
    count, since = func.count().label("count"), func.min(problems.c.since).label("since")
    groups = connection.execute(
        select(problems.c.property, problems.c.reason, count, since)
        .where(problems.c.account_id == account_id)
        .group_by(problems.c.property, problems.c.reason)
        .order_by(count.desc(), problems.c.property, problems.c.reason)
        .limit(limit)
    ).all()
    return [
        ProblemGroup(
            each.property,
            each.reason,
            each[2],
            each.since,
            _samples(connection, account_id, each.property, each.reason, samples),
        )
        for each in groups
    ]


def _samples(connection: Connection, account_id: str, key: str, reason: str, limit: int) -> tuple[Sample, ...]:
    rows = connection.execute(
        select(profiles.c.email, problems.c.trait, problems.c.value)
        .join(profiles, profiles.c.id == problems.c.profile_id)
        .where(problems.c.account_id == account_id, problems.c.property == key, problems.c.reason == reason)
        .order_by(problems.c.profile_id)
        .limit(limit)
    )
    return tuple(Sample(row.email, row.trait, json_text.load(row.value)) for row in rows)


def replace(connection: Connection, account_id: str, profile_id: int, current: Sequence[RecordedProblem]) -> None:
    """Make these a profile's problems: what is fixed goes by itself, what lasts keeps its age."""
    known = {(each.property, each.trait, each.reason): each.since for each in of_profile(connection, profile_id)}
    if not (known or current):
        return
    connection.execute(delete(problems).where(problems.c.profile_id == profile_id))
    if current:
        connection.execute(
            insert(problems),
            [
                {
                    "profile_id": profile_id,
                    "property": each.property,
                    "account_id": account_id,
                    "trait": each.trait,
                    "value": json_text.dump(each.value),
                    "reason": each.reason,
                    "since": known.get((each.property, each.trait, each.reason), each.since),
                }
                for each in current
            ],
        )
