"""The feed of events."""

import pytest

from prosperstack_destination.observability.event_writer import (
    MAX_EVENTS_PER_KIND,
    MAX_WAITING_CALLS,
    EventWriter,
    EveryNth,
)
from prosperstack_destination.store import activity, recent_calls
from prosperstack_destination.store.activity import Event, EventKind
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.recent_calls import CallQuery
from support.accounts import open_account
from support.clocks import SetClock
from support.recent_calls import arrival, keep_calls

pytestmark = pytest.mark.anyio


def event(number: int, account_id: str = "acct_1", kind: EventKind = EventKind.CALL) -> Event:
    return Event(account_id, number, kind, "accepted", "someone" if number % 2 else None, {"traits": 1})


async def test_it_keeps_what_it_has_room_for(sqlite: Database) -> None:
    """Events come back in their order; what there was no room for is counted, and was never made.

    Each kind has room of its own.
    """
    await sqlite.write(open_account)
    left_out: list[int] = []
    feed = EventWriter(sqlite, left_out.append, SetClock(), keep_calls)
    feed.add(EventKind.CALL, 1, event)
    feed.add(EventKind.CALL, MAX_EVENTS_PER_KIND + 9, event)
    feed.add(EventKind.DELIVERY, 1, lambda number: event(number, kind=EventKind.DELIVERY))
    feed.start()
    await feed.close()
    found, last = await sqlite.read(lambda connection: activity.latest(connection, "acct_1", limit=1000))

    assert left_out == [10]
    assert found[:-1] == [event(0), *map(event, range(MAX_EVENTS_PER_KIND - 1))]
    assert found[-1].kind is EventKind.DELIVERY
    assert last == MAX_EVENTS_PER_KIND + 1


async def test_a_flood_of_calls(sqlite: Database) -> None:
    """Calls that wait to be written are bounded, whoever asked whether there is room."""
    await sqlite.write(open_account)
    feed = EventWriter(sqlite, lambda _: None, SetClock(), keep_calls)
    for number in range(MAX_WAITING_CALLS + 9):
        feed.add_call(arrival(body=f"{number}"))
    feed.start()
    await feed.close()
    kept = await sqlite.read(recent_calls.page, "acct_1", CallQuery(), since=0, limit=1000)

    assert len(kept) == MAX_WAITING_CALLS
    assert kept[-1].body == "0"


async def test_old_events_go(sqlite: Database) -> None:
    """The table is bounded; one account's events are not another's, and may be asked for by whom they are about."""
    await sqlite.write(open_account)
    await sqlite.write(open_account, "acct_2")
    await sqlite.write(activity.append, [event(1, "acct_2")])
    await sqlite.write(activity.append, [event(number) for number in range(activity.MAX_EVENTS)])
    found, last = await sqlite.read(
        lambda connection: activity.latest(connection, "acct_1", limit=10, after=5, subject="someone")
    )
    others, _ = await sqlite.read(lambda connection: activity.latest(connection, "acct_2", limit=10))

    assert [each.at for each in found] == list(range(activity.MAX_EVENTS - 19, activity.MAX_EVENTS, 2))
    assert last == activity.MAX_EVENTS + 1
    assert others == []


@pytest.mark.parametrize(
    ("something", "due"),
    [
        ("yyyyyyy", "y--y--y"),  # all the time: every third turn
        ("--y-yyyy", "--y--y--"),  # the first after a rest is not waited for
        ("y-----yyy", "y-----y--"),
        ("-------", "-------"),
    ],
)
def test_turns(something: str, due: str) -> None:
    """What comes first is written at once, what comes all the time every so often, and nothing never."""
    turns = EveryNth(3)

    assert "".join("y" if turns.is_due(something=each == "y") else "-" for each in something) == due
