"""Data of the dashboard's benchmark: many profiles, and the largest content of every page."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from bench.projecting import BATCH, CATALOG, SECRET, TEN_RULES, _fill, _open_account
from sqlalchemy import Connection, func, insert, select, update

from prosperstack_destination.clock import DAY, HOUR, MINUTE, system_clock
from prosperstack_destination.mapping.mapping_file import as_yaml
from prosperstack_destination.mapping.rules import Rules, dump_rules
from prosperstack_destination.store import activity, mappings, rollups, tables
from prosperstack_destination.store.mappings import MappingVersion
from prosperstack_destination.store.models import IdKind, SourceKind, Status
from prosperstack_destination.store.recent_calls import CallOutcome, Channel
from prosperstack_destination.store.rollups import Bucket, Rollup

__all__ = ["BATCH", "SECRET", "Filled", "fill_people", "fill_the_rest", "filled", "open_account"]

#: Of so many people each: one in ten stands in this way.
STANDS: Final = {7: Status.IN_SYNC, 8: Status.IN_SYNC, 9: Status.UNMATCHED}
SET_ASIDE: Final = 2_000
#: People with a problem, by property; each property has problems for several reasons.
WITH_PROBLEM: Final = 20_000
REASONS: Final = 5
VERSIONS: Final = 60
CALLS: Final = 1_000
SOURCES: Final = 300
ENTRIES: Final = 2_000
USERS: Final = 10_000
CLEARINGS: Final = 100_000

open_account = _open_account
fill_people = _fill


@dataclass(frozen=True, slots=True)
class Filled:
    """What is there to be looked at."""

    account_id: str
    person: int
    call: int
    #: The mapping in force, and its file.
    version: int
    draft: str


def filled(connection: Connection) -> Filled | None:
    """What a database has; None: it was not filled."""
    account_id = connection.execute(select(tables.accounts.c.id).limit(1)).scalar()
    call = connection.execute(select(func.max(tables.recent_calls.c.id))).scalar()
    if account_id is None or call is None:
        return None
    mapping = mappings.current(connection, account_id)
    person = connection.execute(select(tables.profiles.c.id).limit(1)).scalar_one()
    return Filled(account_id, person, call, mapping.version, mapping.source or "")


def fill_the_rest(connection: Connection, account_id: str) -> None:
    """Everything but the people, and how these stand; times are about now."""
    now = system_clock()
    _stand(connection, account_id)
    _problems(connection, account_id, now)
    _mappings(connection, account_id, now)
    _tallies(connection, account_id, now)
    for table, rows in (
        (tables.identities, _identities(account_id)),
        (tables.sources, _sources(account_id, now)),
        (tables.clearings, _clearings(account_id, now)),
        (tables.recent_calls, _calls(account_id, now)),
    ):
        connection.execute(insert(table), list(rows))
    for number in range(ENTRIES):
        details = {"profiles": number}
        activity.record_action(connection, account_id, now - DAY, actor="bench", action="replay", details=details)


def _stand(connection: Connection, account_id: str) -> None:
    table = tables.profiles
    mine = table.c.account_id == account_id
    for digit, status in STANDS.items():
        settled = {"status": status, "due_at": None, "pending_since": None}
        connection.execute(update(table).where(mine, table.c.id % 10 == digit).values(settled))
    aside = {"status": Status.REJECTED, "status_reason": "Invalid email", "due_at": None, "pending_since": None}
    connection.execute(update(table).where(mine, table.c.id <= SET_ASIDE).values(aside))


def _problems(connection: Connection, account_id: str, now: int) -> None:
    last = connection.execute(select(func.max(tables.profiles.c.id))).scalar_one()
    for each in CATALOG:
        rows = [
            {
                "profile_id": number,
                "property": each.key,
                "account_id": account_id,
                "trait": f"a trait for {each.name}",
                "value": json.dumps({"what": "cannot be", "number": number}),
                "reason": f"{number % REASONS} is not a number",
                "since": now - number,
            }
            for number in range(1, min(WITH_PROBLEM, last) + 1)
        ]
        connection.execute(insert(tables.problems), rows)


def _mappings(connection: Connection, account_id: str, now: int) -> None:
    rules = Rules.model_validate({"rules": TEN_RULES})
    for version in range(1, VERSIONS + 1):
        source = f"# version {version}\n{as_yaml(rules)}"
        mappings.add(
            connection, account_id, MappingVersion(version, dump_rules(rules), "bench", now, source, "a note")
        )


def _tallies(connection: Connection, account_id: str, now: int) -> None:
    for at in [*range(now - 7 * DAY, now - DAY, HOUR), *range(now - DAY, now, MINUTE)]:
        tally = Rollup(at, 4_711, 12, 90, 10, 5, 400, 95, 2, 0, 0, [3] * len(rollups.DELIVERY_TIME_BOUNDS), 700_000)
        for span in Bucket:
            rollups._add(connection, account_id, span, at - at % span.microseconds, tally)


def _identities(account_id: str) -> Iterator[dict[str, Any]]:
    for number in range(USERS):
        yield {
            "account_id": account_id,
            "kind": IdKind.USER,
            "external_id": f"u{number}",
            "email": f"person{number}@example.com",
            "former": "[]",
        }


def _sources(account_id: str, now: int) -> Iterator[dict[str, Any]]:
    kinds = list(SourceKind)
    for number in range(SOURCES):
        yield {
            "account_id": account_id,
            "kind": kinds[number % len(kinds)],
            "key": f"project{number}",
            "name": "analytics.js",
            "first_at": now - DAY,
            "last_at": now - number * MINUTE,
            "calls": 1_000_000 + number,
            "members": number,
        }


def _clearings(account_id: str, now: int) -> Iterator[dict[str, Any]]:
    """A long queue, of which the last alone failed: the worst that whoever looks for those could meet."""
    for number in range(CLEARINGS):
        failed = number >= CLEARINGS - 3
        yield {
            "account_id": account_id,
            "subscriber_id": f"sub_{number}",
            "properties": '["plan"]',
            "delete_subscriber": False,
            "due_at": now + DAY if failed else now - DAY,
            "attempts": int(failed),
            "reason": "ProsperStack does not answer" if failed else None,
        }


def _calls(account_id: str, now: int) -> Iterator[dict[str, Any]]:
    fates = [*[CallOutcome.ACCEPTED] * 7, *CallOutcome]
    for number in range(CALLS):
        traits = {f"trait {each}": "x" * 400 for each in range(40)}
        call = {"userId": f"u{number}", "traits": {"email": f"person{number}@example.com", **traits}}
        yield {
            "account_id": account_id,
            "at": now - (CALLS - number) * 1_000,
            "type": ("identify", "delete", "track")[number % 3],
            "way": Channel.IDENTIFY,
            "outcome": fates[number % len(fates)],
            "message": "Accepted.",
            "source": f"source:project{number % 50}",
            "subject": f"subject {number}",
            "user_subject": None,
            "body": json.dumps(call)[: 16 * 1024],
            "size": 17_000,
        }
