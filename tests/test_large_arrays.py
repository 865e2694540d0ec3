"""Tests of arrays of thousands of events that come at once, while other accounts send single calls."""

import asyncio
import json
import os
import time
from pathlib import Path

import pytest

from prosperstack_destination.ingest.json_array import MAX_EVENTS
from prosperstack_destination.store import profile_queries
from prosperstack_destination.store.accounts import all_accounts
from prosperstack_destination.store.database import Database
from support.service import KEY, Service, running, settings

pytestmark = pytest.mark.anyio

OTHER = "key_test_other"
ARRAYS = [2, 8, 16] if os.environ.get("HOSTILE") == "full" else [2]
#: How long a single call may wait beside arrays, in seconds. On a machine of its own it waits less than 0.05.
PATIENCE = 1.0


def array(number: int) -> bytes:
    """An array of the largest number of events, each about a person of its own."""
    return json.dumps(
        [
            {
                "type": "identify",
                "traits": {"email": f"{number}.{place}@example.com", "plan": "pro", "seats": place},
            }
            for place in range(MAX_EVENTS)
        ]
    ).encode()


async def single_calls(service: Service, until: asyncio.Event) -> list[float]:
    """Send one call after the other of another account; how long each took, in seconds."""
    waits: list[float] = []
    while not until.is_set():
        begun = time.monotonic()
        answer = await service.identify("jane@example.com", key=OTHER, seats=len(waits))
        waits.append(time.monotonic() - begun)
        assert answer.status_code == 202
    return waits


@pytest.mark.parametrize("count", ARRAYS)
async def test_arrays_at_once_are_all_accepted(tmp_path: Path, database_url: str, count: int) -> None:
    """Arrays of 4,000 at once all end in 202, and single calls of another account go on between their pieces."""
    configured = settings(tmp_path, database_url=database_url, role="receive")
    async with running(configured) as service:
        for key in (KEY, OTHER):
            await service.identify("first@example.com", key=key)
        ended = asyncio.Event()
        singles = asyncio.create_task(single_calls(service, ended))
        begun = time.monotonic()

        answers = await asyncio.gather(
            *(service.client.post("/identify", content=array(number), auth=(KEY, "")) for number in range(count))
        )

        took = time.monotonic() - begun
        ended.set()
        waits = sorted(await singles)
        database = Database(database_url)
        stored = sum(
            [await database.read(profile_queries.count_all, each.id) for each in await database.read(all_accounts)]
        )
        await database.close()
    assert [answer.status_code for answer in answers] == [202] * count
    assert stored == count * MAX_EVENTS + 3
    assert len(waits) > count
    assert waits[-1] < PATIENCE, (
        f"{count} arrays took {took:.1f} s; the median wait is {waits[len(waits) // 2]:.3f} s"
    )
