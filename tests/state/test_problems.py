"""Problems in the database."""

import pytest

from prosperstack_destination.state import problems, profiles
from prosperstack_destination.state.database import Database
from prosperstack_destination.state.problems import RecordedProblem, Sample
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import identify, take

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
        await database.write(problems.replace, "acct_1", profile.id, found)
        if number == 4:
            await database.write(problems.replace, "acct_1", profile.id, [])

    seats, plan = await database.read(problems.grouped, "acct_1", samples=2)

    assert (seats.property, seats.reason, seats.count, seats.since) == ("seats", "no number", 4, NEW_YEAR - 3)
    assert seats.samples == (Sample("p0@x.y", "seats", "many 0"), Sample("p1@x.y", "seats", "many 1"))
    assert (plan.property, plan.count, plan.samples[0].value) == ("plan", 1, ["x"])
