"""Units of work on problems: traits that feed a property and cannot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue
from sqlalchemy import Connection, bindparam, delete, insert, select

from prosperstack_destination.state import json_text
from prosperstack_destination.state.tables import problems

#: Built once: it is read with every profile that is settled.
_OF_PROFILE: Final = (
    select(problems).where(problems.c.profile_id == bindparam("profile")).order_by(problems.c.property)
)


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
    rows = connection.execute(_OF_PROFILE, {"profile": profile_id})
    return [
        RecordedProblem(row.property, row.trait, json_text.load(row.value), row.reason, row.since) for row in rows
    ]


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
