"""Scan of all profiles of an account."""

import pytest

from prosperstack_destination.store import profile_queries
from prosperstack_destination.store.database import Database
from support.accounts import open_account
from support.intake import identify, take

pytestmark = pytest.mark.anyio


async def test_scan_returns_every_profile_once(database: Database) -> None:
    """Pages follow the order of the emails, and have no profile of another account."""
    await database.write(open_account)
    await database.write(open_account, "acct_2")
    await database.write(take, *(identify(f"p{number}@x.y", anonymous_id="anon", n=number) for number in range(25)))
    await database.write(take, identify("other@x.y", account="acct_2"))

    found, after = [], ""
    while page := await database.read(profile_queries.scan_page, "acct_1", after, limit=10):
        found += page
        after = page[-1].email

    assert [each.email for each in found] == sorted(f"p{number}@x.y" for number in range(25))
    assert (found[0].values(), found[0].anonymous_id, found[0].user_id) == ({"n": 0}, "anon", None)
    assert await database.read(profile_queries.count_all, "acct_1") == 25


async def test_sample_follows_no_pattern(database: Database) -> None:
    """Of profiles in a pattern, such as every second one, a sample has its share of each kind."""
    await database.write(open_account)
    await database.write(take, *(identify(f"p{number:03}@x.y", even=number % 2 == 0) for number in range(200)))

    page = await database.read(profile_queries.scan_page, "acct_1", "", one_in=2)

    assert 60 <= len(page) <= 140
    assert 0.25 <= sum(each.values()["even"] is True for each in page) / len(page) <= 0.75
