"""Where calls come from, and what of it was connected from here."""

import pytest

from prosperstack_destination.state import segment_connections, sources
from prosperstack_destination.state.database import Database
from prosperstack_destination.state.profile import Source, SourceKind
from prosperstack_destination.state.segment_connections import Kind, Region, SegmentConnection
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import identify, take

pytestmark = pytest.mark.anyio


def connection(account_id: str, source_id: str) -> SegmentConnection:
    return SegmentConnection(
        f"conn_{account_id}_{source_id}",
        account_id,
        Region.US,
        "ws_1",
        "Acme",
        source_id,
        source_id,
        "dest_1",
        Kind.WEBHOOK,
        "sec_1",
        NEW_YEAR,
    )


async def test_what_was_not_connected_from_here(database: Database) -> None:
    """What an account connected is left out, unless an audience is called the same; what sent last comes first."""
    for account in ("acct_1", "acct_2"):
        await database.write(open_account, account)
    came = [
        ("acct_1", SourceKind.SOURCE, "connected"),
        ("acct_1", SourceKind.SOURCE, "elsewhere"),
        ("acct_1", SourceKind.AUDIENCE, "connected"),
        ("acct_1", SourceKind.SOURCE, "theirs"),
        ("acct_2", SourceKind.SOURCE, "not_mine"),
    ]
    for number, (account, kind, key) in enumerate(came):
        at = NEW_YEAR + number
        await database.write(take, identify(account=account, source=Source(kind, key), received_at=at))
    await database.write(segment_connections.add, connection("acct_1", "connected"))
    await database.write(segment_connections.add, connection("acct_2", "theirs"))

    everything = await database.read(sources.not_connected, "acct_1", 10)
    newest = await database.read(sources.not_connected, "acct_1", 2)
    assert [(each.kind.value, each.key) for each in everything] == [
        ("source", "theirs"),
        ("audience", "connected"),
        ("source", "elsewhere"),
    ]
    assert newest == everything[:2]
