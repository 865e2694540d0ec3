"""Coverage of stored profiles."""

import pytest

from prosperstack_destination.account_mapping import dump_catalog
from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.reconcile.preview import coverage
from prosperstack_destination.store import accounts
from prosperstack_destination.store.database import Database
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import identify, take

pytestmark = pytest.mark.anyio


async def test_coverage_counts_all_profiles_or_a_sample(database: Database) -> None:
    """Every profile of the account is counted, or one in so many where there are more than the sample."""
    catalog = Catalog([Property("plan", "Plan", PropertyType.TEXT)])
    await database.write(open_account)
    await database.write(open_account, "acct_2")
    await database.write(accounts.set_catalog, "acct_1", dump_catalog(catalog), NEW_YEAR)
    await database.write(take, *(identify(f"p{number}@x.y", plan="x", other=1) for number in range(40)))
    await database.write(take, identify("p@x.y", account="acct_2", plan="x"))

    whole, profiles = await coverage(database, "acct_1", 0, sample=None)
    part, _ = await coverage(database, "acct_1", 0, sample=10)

    assert (whole.profiles, profiles) == (40, 40)
    assert 1 <= part.profiles <= 25
    [plan] = whole.properties()
    assert (plan.filled, plan.sample) == (40, "x")
    assert [each.trait for each in whole.traits()] == ["other", "plan"]
