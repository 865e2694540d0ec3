"""A mapping, tried out on one person."""

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


async def test_before_and_after(sqlite: Database, account: Account) -> None:
    """Each property is told as it is to be now, and as it would be; also those of subscriptions."""
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


async def test_problems(sqlite: Database, account: Account) -> None:
    """A value that a rule cannot use is a problem then, and differs from one that there was."""
    _, changes = await rows(sqlite, account, "cy@x.y")

    seats = changes["seats"]
    assert seats.before.desired is not None
    assert (seats.before.desired.value, seats.after.desired, seats.differs) == (4, None, True)
    assert "seats is a number property" in (seats.after.problem or "")
    assert not changes["plan"].is_fed


@pytest.mark.parametrize(("email", "who"), [("", "bob@x.y"), ("a", "ada@x.y"), ("bob@x.y", "bob@x.y")])
async def test_who_it_is(sqlite: Database, account: Account, email: str, who: str) -> None:
    """The one with the email; else the first whose email begins so; without any, one whom it changes."""
    found, _ = await rows(sqlite, account, email)
    assert found.email == who


async def test_nobody(sqlite: Database, account: Account) -> None:
    """Nobody is nobody, and somebody of another account is as well; where nothing changes it is the first one."""
    assert await sqlite.read(run_trial, account, RULES, "ann@x.y", 0) is None
    same = await sqlite.read(run_trial, account, Rules(), "", 0)
    assert same is not None
    assert same.email == "ada@x.y"
    empty = await sqlite.write(open_account, "acct_3")
    assert await sqlite.read(run_trial, empty, RULES, "", 0) is None
