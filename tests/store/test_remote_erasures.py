"""Erasures in ProsperStack."""

import pytest
from sqlalchemy import Connection

from prosperstack_destination.clock import HOUR
from prosperstack_destination.store import remote_erasures
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.remote_erasures import RemoteErasure
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import ACCOUNT

pytestmark = pytest.mark.anyio


def queue(connection: Connection) -> None:
    """Add five that were not tried yet, and three that failed: of one of those the next attempt is due."""
    open_account(connection)
    for number in range(8):
        remote_erasures.add(connection, ACCOUNT, {f"s{number}": ["plan"]}, delete_subscriber=False, now=NEW_YEAR)
    for number, until in ((1, NEW_YEAR + 2 * HOUR), (2, NEW_YEAR + HOUR), (3, NEW_YEAR - HOUR)):
        remote_erasures.postpone(
            connection, ACCOUNT, RemoteErasure(f"s{number}", ("plan",), False, 0), until, "no answer"
        )


@pytest.mark.parametrize(("limit", "wanted"), [(10, ["s3", "s2", "s1"]), (2, ["s3", "s2"])])
async def test_failed_erasures_are_listed(database: Database, limit: int, wanted: list[str]) -> None:
    """Failed erasures are listed in the order of their next attempts, without those not tried yet."""
    await database.write(queue)

    found = await database.read(remote_erasures.failed, ACCOUNT, NEW_YEAR, limit)

    assert [each.erasure.subscriber_id for each in found] == wanted
    assert found[0].erasure.reason == "no answer"
