"""Mapping problems in the database."""

import pytest

from prosperstack_destination.store import problems, profiles
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.problems import RecordedProblem
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import identify, stored, take

pytestmark = pytest.mark.anyio


async def test_problems_are_grouped(database: Database) -> None:
    """Problems are counted by property and reason, the most frequent first, with samples; fixed ones are gone."""
    await database.write(open_account)
    for number in range(5):
        email = f"p{number}@x.y"
        await database.write(take, identify(email))
        profile = await database.read(profiles.find, "acct_1", email)
        assert profile is not None
        found = [RecordedProblem("seats", "seats", f"many {number}", "no number", NEW_YEAR - number)]
        if number == 0:
            found.append(RecordedProblem("plan", "tier", ["x"], "an array", NEW_YEAR))
        await database.write(problems.replace, "acct_1", {profile.id: found})
        if number == 4:
            await database.write(problems.replace, "acct_1", {profile.id: []})

    seats, plan = await database.read(problems.grouped, "acct_1", samples=2)

    assert (seats.property, seats.reason, seats.count, seats.since) == ("seats", "no number", 4, NEW_YEAR - 3)
    assert [(each.email, each.trait, each.value) for each in seats.samples] == [
        ("p0@x.y", "seats", "many 0"),
        ("p1@x.y", "seats", "many 1"),
    ]
    assert (plan.property, plan.count, plan.samples[0].value) == ("plan", 1, ["x"])


async def test_counts_are_bounded(database: Database) -> None:
    """Beyond the bound of the counts, every reason of every property is listed with its first time."""
    await database.write(open_account)
    await database.write(take, *(identify(f"p{number}@x.y") for number in range(6)))
    for number in range(6):
        profile = await database.read(stored, f"p{number}@x.y")
        found = [
            RecordedProblem("seats", "seats", number, f"reason {number % 2}", NEW_YEAR + number),
            *([RecordedProblem("plan", "plan", number, "reason 0", NEW_YEAR)] if number < 2 else []),
        ]
        await database.write(problems.replace, "acct_1", {profile.id: found})

    groups = await database.read(lambda it: problems.kinds(it, "acct_1", 2))
    fewer = await database.read(lambda it: problems.grouped(it, "acct_1", limit=2))

    assert [(each.property, each.reason, each.count, each.since) for each in groups] == [
        ("plan", "reason 0", 2, NEW_YEAR),
        ("seats", "reason 0", 2, NEW_YEAR),
        ("seats", "reason 1", 2, NEW_YEAR + 1),
    ]
    assert [(each.property, each.count) for each in fewer] == [("seats", 3), ("seats", 3)]
    assert fewer[0].samples[0].profile_id == (await database.read(stored, "p4@x.y")).id
