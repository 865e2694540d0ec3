"""Benchmark of the mapping: profiles a second and core, in memory and from the database, and memory growth.

Rates are per second of processor time, which depends less on other load of the machine.
"""

import argparse
import asyncio
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection

from prosperstack_destination import account_mapping
from prosperstack_destination.account_mapping import dump_catalog
from prosperstack_destination.auth.credentials import new_account
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.clock import system_clock
from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.compiled_mapping import CompiledMapping
from prosperstack_destination.mapping.expression_runner import MappingInput
from prosperstack_destination.mapping.rules import Rules
from prosperstack_destination.reconcile.remap import Remapper
from prosperstack_destination.store import accounts, profile_queries, profiles
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.merge import new_draft

#: Promised rates, in profiles a second and core.
AIMS: Final = {"automatic": 20_000, "ten rules": 5_000}
BATCH: Final = 5_000
SECRET: Final = "a secret that is long enough"  # noqa: S105 -- of a database that is thrown away

TEXT, NUMBER, BOOLEAN, DATE = PropertyType.TEXT, PropertyType.NUMBER, PropertyType.BOOLEAN, PropertyType.DATE
CATALOG: Final = Catalog(
    [
        Property("number_of_contacts", "Number of contacts", NUMBER),
        Property("is_professional", "Is professional", BOOLEAN),
        Property("last_contacted", "Last contacted", DATE),
        Property("preferred_name", "Preferred name", TEXT),
        Property("plan", "Plan", TEXT),
        Property("city", "City", TEXT),
        Property("mrr", "Monthly revenue", NUMBER),
        Property("tags", "Tags", TEXT),
        Property("orders", "Orders", NUMBER),
        Property("spent", "Spent", NUMBER),
        Property("signed_up", "Signed up", DATE),
        Property("country", "Country", TEXT),
        Property("customer", "Customer number", TEXT),
        Property("vip", "VIP", BOOLEAN),
    ]
)
TEN_RULES: Final[list[dict[str, Any]]] = [
    {"property": "plan", "from": "traits.plan_code", "trim": True, "lower": True, "values": {"pro": "Professional"}}
    | {"fallback": "Other"},
    {"property": "city", "from": "traits.address.city", "title": True},
    {"property": "mrr", "from": "traits.mrr_cents", "scale": 0.01, "round": 2},
    {"property": "tags", "from": "traits.labels", "join": ", ", "max_length": 100},
    {"property": "orders", "from": "length(traits.purchases)"},
    {"property": "spent", "from": "sum(traits.purchases[*].total)"},
    {"property": "signed_up", "from": "traits.signup", "date_format": "%d/%m/%Y"},
    {"property": "country", "first_of": ["traits.country_code", "traits.address.country"], "upper": True},
    {"property": "customer", "from": "userId", "when": "traits.plan_code != 'free'"},
    {"property": "vip", "from": "contains(audiences, 'big_spenders')"},
]


def traits(number: int) -> dict[str, JsonValue]:
    """Return the traits of one generated profile."""
    return {
        "email": f"person{number}@example.com",
        "Number of contacts": number % 9_000,
        "Is professional": number % 2 == 0,
        "Last contacted": f"2026-0{number % 9 + 1}-11",
        "Preferred name": f"Jo {number % 500}",
        "plan_code": (" Pro", "free", "ENT ")[number % 3],
        "address": {"city": "new york", "country": "us", "street": "Main Street 1"},
        "mrr_cents": number % 99_999,
        "labels": [f"label {each}" for each in range(number % 4)],
        "purchases": [{"total": 5, "sku": "x"}, {"total": number % 70, "sku": "y"}],
        "signup": "04/05/2021",
        "big_spenders": number % 5 == 0,
    }


def plans() -> dict[str, CompiledMapping]:
    """Return the measured mappings by name."""
    rules = Rules.model_validate({"rules": TEN_RULES})
    return {
        "automatic": CompiledMapping(CATALOG),
        "ten rules": CompiledMapping(CATALOG, rules, audiences={"big_spenders"}),
    }


def in_memory(plan: CompiledMapping, people: list[MappingInput]) -> float:
    """Return the mapped profiles a second, without a database."""
    begun = time.process_time()
    for each in people:
        plan.project(each)
    return len(people) / (time.process_time() - begun)


async def reprojected(database: Database, account_id: str, rules: Rules) -> tuple[float, float]:
    """Return the remapped profiles a second after applying rules, and the growth of the process in MB."""
    before, begun = _memory_mb(), time.process_time()
    total = await database.write(_apply, account_id, rules)
    reprojector = Remapper(database, lambda _: None, clock=system_clock, ticks=system_clock, sleep=_no_rest)
    await reprojector.run_once()
    return total / (time.process_time() - begun), _memory_mb() - before


async def _no_rest(_: float) -> None:
    """Return at once, because no other account waits."""


def _apply(connection: Connection, account_id: str, rules: Rules) -> int:
    account = accounts.get(connection, account_id)
    assert account is not None
    return account_mapping.apply(connection, account, rules, author="bench", now=0).profiles


async def stored(database: Database, account_id: str, plan: CompiledMapping) -> tuple[float, float]:
    """Return the mapped profiles a second from the database, and the growth of the process in MB."""
    before, begun, done, after = _memory_mb(), time.process_time(), 0, ""
    while last := await database.read(_project_page, account_id, plan, after):
        count, after = last
        done += count
    return done / (time.process_time() - begun), _memory_mb() - before


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=1_000_000, help="stored profiles")
    parser.add_argument("--runs", type=int, default=3, help="runs in memory; the best counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure(Path(folder), options.profiles, options.runs))


async def _measure(folder: Path, count: int, runs: int) -> None:
    table = Table("what", "profiles a second and core", "aim", "grew by")
    people = [MappingInput(traits(number), f"u{number}") for number in range(20_000)]
    for name, plan in plans().items():
        rate = max(in_memory(plan, people) for _ in range(runs))
        table.add_row(f"{name}, in memory", f"{rate:,.0f}", f"{AIMS[name]:,}", "")
    del people
    database = Database(f"sqlite:///{folder / 'bench.db'}")
    await database.open()
    account_id = await database.write(_open_account)
    for numbers in _batches(count):
        await database.write(_fill, account_id, numbers)
    for name, plan in plans().items():
        rate, grew = await stored(database, account_id, plan)
        table.add_row(f"{name}, {count:,} stored", f"{rate:,.0f}", f"{AIMS[name]:,}", f"{grew:.0f} MB")
    ten = Rules.model_validate({"rules": TEN_RULES})
    other = Rules.model_validate({"rules": [*TEN_RULES[:-1], {"property": "vip", "from": "traits.big_spenders"}]})
    for name, rules in {"ten rules": ten, "one rule of ten": other, "no rules": Rules()}.items():
        rate, grew = await reprojected(database, account_id, rules)
        table.add_row(f"{name} applied to {count:,}", f"{rate:,.0f}", "", f"{grew:.0f} MB")
    await database.close()
    Console().print(table)


def _project_page(
    connection: Connection, account_id: str, plan: CompiledMapping, after: str
) -> tuple[int, str] | None:
    page = profile_queries.scan_page(connection, account_id, after)
    for each in page:
        plan.project(MappingInput(each.values(), each.user_id, each.anonymous_id))
    return (len(page), page[-1].email) if page else None


def _batches(count: int) -> Iterator[range]:
    return (range(first, min(first + BATCH, count)) for first in range(0, count, BATCH))


def _open_account(connection: Connection) -> str:
    account = new_account("key_test_bench", Vault(SECRET))
    accounts.add(connection, account, "bench", 0)
    accounts.set_catalog(connection, account.id, dump_catalog(CATALOG), 0)
    return account.id


def _fill(connection: Connection, account_id: str, numbers: range) -> None:
    drafts = []
    for number in numbers:
        draft = new_draft(f"person{number}@example.com", f"person{number}@example.com")
        draft.user_id = f"u{number}"
        draft.merge_traits({1_767_225_600_000_000: traits(number)}, 1_767_225_600_000_000)
        drafts.append(draft)
    profiles.save(connection, account_id, drafts)


def _memory_mb() -> float:
    """Return the peak memory of the process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
