"""Previews of other rules."""

from typing import Any

import pytest

from prosperstack_destination.account_mapping import dump_catalog
from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.rules import Rules
from prosperstack_destination.reconcile.preview import EXAMPLES, Example, Preview, preview
from prosperstack_destination.store import account_stats, accounts, profiles, subscribers
from prosperstack_destination.store.account_stats import ReportedLimit
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.subscribers import SubscriberSnapshot
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import identify, take

pytestmark = pytest.mark.anyio

CATALOG = Catalog([Property("plan", "Plan", PropertyType.TEXT), Property("seats", "Seats", PropertyType.NUMBER)])


@pytest.fixture
async def stored(database: Database) -> Database:
    await database.write(open_account)
    await database.write(accounts.set_catalog, "acct_1", dump_catalog(CATALOG), NEW_YEAR)
    return database


async def previewed(database: Database, *rules: dict[str, Any], sample: int | None = None) -> Preview:
    draft = Rules.model_validate({"rules": rules})
    return await preview(database, "acct_1", draft, reserve=0.1, now=0, sample=sample)


async def unmatched(database: Database, email: str) -> None:
    profile = await database.read(profiles.find, "acct_1", email)
    assert profile is not None
    await database.write(profiles.settle, profile, Status.UNMATCHED)


async def test_preview_counts_changes_and_cost(stored: Database) -> None:
    """A preview counts changed profiles, shows values before and after, requests and duration."""
    people = {"a@x.y": ("a", "b"), "same@x.y": ("a", "a"), "there@x.y": ("a", "c"), "stranger@x.y": ("a", "d")}
    for email, (plan, tier) in people.items():
        await stored.write(take, identify(email, plan=plan, tier=tier))
        await stored.write(
            subscribers.replace_for_email,
            "acct_1",
            email,
            [SubscriberSnapshot(f"s_{email}", email, {"plan": plan})],
            NEW_YEAR,
        )
    await stored.write(
        subscribers.replace_for_email,
        "acct_1",
        "there@x.y",
        [SubscriberSnapshot("s1", "there@x.y", {"plan": "c"})],
        NEW_YEAR,
    )
    await stored.write(subscribers.replace_for_email, "acct_1", "stranger@x.y", [], NEW_YEAR)
    await unmatched(stored, "stranger@x.y")

    found = await previewed(stored, {"property": "plan", "from": "traits.tier"})

    assert (found.profiles, found.looked_at, found.exact) == (4, 4, True)
    assert (found.changed, found.by_property) == (3, {"plan": 3})
    assert found.examples[0] == Example("a@x.y", {"plan": "a"}, {"plan": "b"})
    assert found.requests == 1  # one value is in place, and one profile has no subscriber
    assert found.seconds == pytest.approx(60 / 90)
    assert (await stored.read(profiles.find, "acct_1", "a@x.y")).version == 1  # type: ignore[union-attr] # it exists


async def test_preview_counts_problems_before_and_after(stored: Database) -> None:
    """A preview shows whether a change fixes or causes mapping problems."""
    await stored.write(take, identify("a@x.y", seats="many"))

    found = await previewed(stored, {"property": "seats", "from": "traits.seats", "values": {"many": 9}})

    assert (found.problems_before, found.problems_after) == (1, 0)
    assert found.examples == (Example("a@x.y", {"seats": None}, {"seats": 9}),)
    assert found.requests == 2  # not looked up yet


async def test_sample_is_scaled_up(stored: Database) -> None:
    """An approximate preview evaluates a part of many profiles, and scales the figures up."""
    await stored.write(take, *(identify(f"p{number}@x.y", tier="x") for number in range(100)))

    found = await previewed(stored, {"property": "plan", "from": "traits.tier"}, sample=20)

    assert (found.profiles, found.exact) == (100, False)
    assert 5 <= found.looked_at <= 40
    assert (found.changed, found.requests) == (100, 200)
    assert len(found.examples) == EXAMPLES


async def test_unchanged_rules_cost_nothing(stored: Database) -> None:
    """Unchanged rules change nothing and cost nothing."""
    await stored.write(take, identify("a@x.y", plan="x"))

    found = await previewed(stored, {"property": "plan", "from": "traits.plan"})

    assert (found.changed, found.requests, found.seconds, found.examples) == (0, 0, 0, ())


async def test_duration_uses_the_accounts_rate(sqlite: Database) -> None:
    """A preview uses the reported limit, and the documented one before any was reported."""
    await sqlite.write(open_account)
    before = await preview(sqlite, "acct_1", Rules(), reserve=0.1, now=0)
    await sqlite.write(account_stats.record_rate_limits, {"acct_1": ReportedLimit(500, 499, 60.0, 0)})
    after = await preview(sqlite, "acct_1", Rules(), reserve=0.1, now=0)

    assert (before.requests_per_minute, after.requests_per_minute) == (90, 450)
