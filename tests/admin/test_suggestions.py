"""Tests of suggested rules."""

from typing import Any

import pytest
from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination import account_mapping
from prosperstack_destination.account_mapping import dump_catalog, load, mapping_input
from prosperstack_destination.admin.suggestions import Suggestion, suggest_rules
from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.mapping_file import check_mapping, read_mapping
from prosperstack_destination.reconcile.preview import preview
from prosperstack_destination.store import accounts, problems, profiles
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.problems import RecordedProblem
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import ACCOUNT, identify, take

pytestmark = pytest.mark.anyio

CATALOG = Catalog(Property(each.value, each.value.capitalize(), each) for each in PropertyType)


def account_of(connection: Connection) -> Account:
    """A unit of work: the account."""
    account = accounts.get(connection, ACCOUNT)
    assert account is not None
    return account


def prepare(connection: Connection, key: str, rule: dict[str, Any] | None, values: list[JsonValue]) -> None:
    """A unit of work: people with these values of the trait that feeds a property, and their problems."""
    open_account(connection)
    accounts.set_catalog(connection, ACCOUNT, dump_catalog(CATALOG), NEW_YEAR)
    if rule is not None:
        rules = check_mapping({"rules": [{"property": key, "trait": key, **rule}]}).rules
        account_mapping.apply(connection, account_of(connection), rules, author="ann", now=NEW_YEAR)
    meaning = load(connection, account_of(connection))
    for number, value in enumerate(values):
        call = identify(f"{number}@b.c")
        call.traits = {key: value}
        take(connection, call)
        profile = profiles.find(connection, ACCOUNT, call.address)
        assert profile is not None
        found = meaning.compiled.project(mapping_input(profile, 0)).problems
        recorded = [RecordedProblem(each.property, each.trait, each.value, each.reason, NEW_YEAR) for each in found]
        problems.replace(connection, ACCOUNT, {profile.id: recorded})


def suggestions(connection: Connection) -> list[Suggestion]:
    """A unit of work: what is suggested for all problems."""
    groups = problems.grouped(connection, ACCOUNT)
    return list(suggest_rules(connection, account_of(connection), groups, 0).values())


@pytest.mark.parametrize(
    ("key", "rule", "values", "left"),
    [
        ("boolean", None, [True, "true", 0, "yes", " No", "maybe"], 1),
        ("boolean", None, [True, 0, "false", 7, -1], 1),
        ("boolean", {"values": {"ja": True}, "fallback": "keep"}, [True, "ja", "yes"], 0),
        ("date", None, ["2026-12-31", 1620086400, "31/12/2026", "01/02/2026"], 0),
        ("date", {"date_format": "%d.%m.%Y"}, ["31.12.2026", "2026-12-31", "12/31/2026"], 0),
        ("date", {"timezone": "Europe/Berlin"}, ["2026-12-31T23:30:00Z", "31.12.2026"], 0),
        ("text", {"values": {"pro": "Professional"}}, ["pro", "legacy-2019"], 0),
        ("number", {"values": {"many": 100}}, ["many", 5, "few"], 1),
        ("text", None, ["a", ["b", "c"]], 0),
    ],
)
async def test_suggested_rule_leaves_fewer_problems(
    database: Database, key: str, rule: dict[str, Any] | None, values: list[JsonValue], left: int
) -> None:
    """A suggested rule is a valid mapping file, and its preview has fewer problems."""
    await database.write(prepare, key, rule, values)

    found = await database.read(suggestions)
    assert found
    for each in found:
        rules = read_mapping(each.yaml).rules
        previewed = await preview(database, ACCOUNT, rules, reserve=0.1, now=0)
        assert previewed.problems_after < previewed.problems_before
        assert each.problems_after < each.problems_before
    assert min(each.problems_after for each in found) == left


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("number", [5, "many"]),
        ("boolean", [True, "maybe"]),
        ("date", ["2026-12-31", "01/02/2026"]),  # in January, or in February
        ("date", ["2026-12-31", 44320]),
        ("number", [5, ["a"]]),
    ],
)
async def test_problem_without_helpful_rule_has_no_suggestion(
    database: Database, key: str, values: list[JsonValue]
) -> None:
    """A problem that no rule solves has no suggestion."""
    await database.write(prepare, key, None, values)

    assert await database.read(suggestions) == []
