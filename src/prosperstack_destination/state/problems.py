"""Units of work on problems: traits that feed a property and cannot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue
from sqlalchemy import Connection, Row, delete, func, insert, select

from prosperstack_destination.state import json_text
from prosperstack_destination.state.tables import problems


@dataclass(frozen=True, slots=True)
class RecordedProblem:
    """A problem of a profile's latest projection."""

    property: str
    trait: str
    value: JsonValue
    reason: str
    #: When it was first seen with this value and reason, in microseconds.
    since: int


def of_profile(connection: Connection, profile_id: int) -> list[RecordedProblem]:
    """A profile's problems, by property."""
    rows = connection.execute(
        select(problems).where(problems.c.profile_id == profile_id).order_by(problems.c.property)
    )
    return [
        RecordedProblem(row.property, row.trait, json_text.load(row.value), row.reason, row.since) for row in rows
    ]


@dataclass(frozen=True, slots=True)
class ProblemGroup:
    """The same problem of several people."""

    property: str
    trait: str
    reason: str
    #: How many people have it.
    people: int
    #: When the first and the latest of them came up, in microseconds.
    since: int
    latest: int
    #: A few of the values.
    samples: tuple[JsonValue, ...]


def grouped(connection: Connection, account_id: str, *, samples: int = 3) -> list[ProblemGroup]:
    """An account's problems by property, trait and reason, the most frequent first."""
    key = (problems.c.property, problems.c.trait, problems.c.reason)
    rows = connection.execute(
        select(
            *key,
            func.count().label("people"),
            func.min(problems.c.since).label("since"),
            func.max(problems.c.since).label("latest"),
        )
        .where(problems.c.account_id == account_id)
        .group_by(*key)
        .order_by(func.count().desc(), *key)
    ).all()
    return [
        ProblemGroup(
            row.property,
            row.trait,
            row.reason,
            row.people,
            row.since,
            row.latest,
            _samples(connection, account_id, row, samples),
        )
        for row in rows
    ]


def _samples(connection: Connection, account_id: str, group: Row[Any], count: int) -> tuple[JsonValue, ...]:
    values = connection.scalars(
        select(problems.c.value)
        .where(
            problems.c.account_id == account_id,
            problems.c.property == group.property,
            problems.c.trait == group.trait,
            problems.c.reason == group.reason,
        )
        .distinct()
        .limit(count)
    )
    return tuple(json_text.load(value) for value in values)


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
