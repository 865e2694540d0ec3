"""Tests of a mapping tried on one person."""

import pytest

from prosperstack_destination.account_mapping import dump_catalog
from prosperstack_destination.admin.mapping import Change, TrialResult, run_trial
from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.rules import Rules
from prosperstack_destination.store import accounts
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import identify, take

pytestmark = pytest.mark.anyio

CATALOG = Catalog([Property("plan", "Plan", PropertyType.TEXT), Property("seats", "Seats", PropertyType.NUMBER)])
SUBSCRIPTION = Catalog([Property("seats", "Seats", PropertyType.NUMBER)])
RULES = Rules.model_validate(
    {
        "rules": [
            {"property": "seats", "trait": "count"},
            {"property": "subscription.seats", "trait": "count"},
        ]
    }
)


@pytest.fixture
async def account(sqlite: Database) -> Account:
    """An account with some people, and another one."""
    await sqlite.write(open_account)
    await sqlite.write(open_account, "acct_2")
    await sqlite.write(accounts.set_catalog, "acct_1", dump_catalog(CATALOG), NEW_YEAR)
    await sqlite.write(accounts.set_subscription_catalog, "acct_1", dump_catalog(SUBSCRIPTION))
    await sqlite.write(
        take,
        identify("ada@x.y", plan="pro"),
        identify("bob@x.y", plan="pro", count=5, user_id="u1"),
        identify("cy@x.y", seats=4, count="many"),
        identify("ann@x.y", account="acct_2", count=5),
    )
    found = await sqlite.read(accounts.get, "acct_1")
    assert found is not None
    return found


async def rows(sqlite: Database, account: Account, email: str) -> tuple[TrialResult, dict[str, Change]]:
    found = await sqlite.read(run_trial, account, RULES, email, 0)
    assert found is not None
    return found, {each.key: each for each in found.changes}


async def test_trial_shows_each_property_before_and_after(sqlite: Database, account: Account) -> None:
    """A trial shows each property under the current and the proposed mapping, with those of subscriptions."""
    found, changes = await rows(sqlite, account, " BOB@x.y")

    assert (found.email, found.context["userId"], found.context["traits"]) == (
        "bob@x.y",
        "u1",
        {"plan": "pro", "count": 5},
    )
    assert list(changes) == ["plan", "seats", "subscription.seats"]
    assert [(each.differs, each.is_fed) for each in changes.values()] == [(False, True), (True, True), (True, True)]
    for key in ("seats", "subscription.seats"):
        after = changes[key].after.desired
        assert (changes[key].before.desired, after and after.value) == (None, 5)


async def test_new_problem_is_a_difference(sqlite: Database, account: Account) -> None:
    """A value that a rule cannot convert is a problem, and differs from the value before."""
    _, changes = await rows(sqlite, account, "cy@x.y")

    seats = changes["seats"]
    assert seats.before.desired is not None
    assert (seats.before.desired.value, seats.after.desired, seats.differs) == (4, None, True)
    assert "seats is a number property" in (seats.after.problem or "")
    assert not changes["plan"].is_fed


@pytest.mark.parametrize(("email", "who"), [("", "bob@x.y"), ("a", "ada@x.y"), ("bob@x.y", "bob@x.y")])
async def test_person_is_found_by_email_prefix_or_change(
    sqlite: Database, account: Account, email: str, who: str
) -> None:
    """The person has the email, or is the first with the prefix; without email, one whom the mapping changes."""
    found, _ = await rows(sqlite, account, email)
    assert found.email == who


async def test_unknown_person_has_no_trial(sqlite: Database, account: Account) -> None:
    """An unknown person, or one of another account, has no trial; without a change the first person is used."""
    assert await sqlite.read(run_trial, account, RULES, "ann@x.y", 0) is None
    same = await sqlite.read(run_trial, account, Rules(), "", 0)
    assert same is not None
    assert same.email == "ada@x.y"
    empty = await sqlite.write(open_account, "acct_3")
    assert await sqlite.read(run_trial, empty, RULES, "", 0) is None
