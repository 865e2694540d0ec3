"""Stored times of a clock that was ahead."""

from typing import Any

import pytest

from prosperstack_destination.clock import DAY, HOUR, SECOND
from prosperstack_destination.store import erasure, identities
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import IdKind
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import ACCOUNT, identify, pseudonym, stored, take

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("ahead", [HOUR, 400 * DAY])
async def test_calls_count_after_the_clock_is_corrected(database: Database, ahead: int) -> None:
    """Calls without a time count once the clock is right, though earlier ones have times in the future."""
    await database.write(open_account)
    wrong = NEW_YEAR + ahead
    without_time: dict[str, Any] = {"at": wrong, "received_at": wrong, "user_id": "u1"}
    await database.write(take, identify(plan="wrong", **without_time), identify("old@b.c", **without_time))
    await database.write(erasure.erase_email, ACCOUNT, "x@y.z", pseudonym, "ann", wrong)

    await database.write(take, identify(plan="right", user_id="u1"), identify("x@y.z", plan="back"))
    later: dict[str, Any] = {"at": NEW_YEAR + HOUR, "received_at": NEW_YEAR + HOUR}
    await database.write(take, identify(plan="newer", **later), identify("x@y.z", plan="newer", **later))

    assert (await database.read(stored)).traits["plan"] == ("newer", NEW_YEAR + HOUR)
    assert (await database.read(stored, "x@y.z")).traits["plan"] == ("newer", NEW_YEAR + HOUR)
    assert await database.read(identities.emails_of, ACCOUNT, (IdKind.USER, "u1")) == {"old@b.c", "a@b.c"}


async def test_overtaken_call_does_not_win(database: Database) -> None:
    """A call that is written after a newer one, as by another replica, does not win."""
    await database.write(open_account)
    await database.write(take, identify(plan="newer", at=NEW_YEAR + 5 * SECOND, received_at=NEW_YEAR + 5 * SECOND))
    await database.write(take, identify(plan="older"))

    assert (await database.read(stored)).traits["plan"][0] == "newer"
