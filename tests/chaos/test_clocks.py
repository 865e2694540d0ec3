"""Tests of clock changes while the service runs."""

from pathlib import Path

import pytest

from prosperstack_destination.sandbox import SandboxConfig, create_sandbox
from support.clocks import NEW_YEAR, SetClock
from support.service import KEY, running, settings

pytestmark = pytest.mark.anyio

JOHN = "john.doe@example.com"
HOUR_SECONDS = 3_600


async def test_latest_call_wins_after_clock_changes(tmp_path: Path, database_url: str) -> None:
    """With the clock an hour ahead, an hour behind, and correct again, the latest call is delivered."""
    clock = SetClock(NEW_YEAR)
    sandbox = create_sandbox(SandboxConfig(subscribers=3, keys=(KEY,), rate_limit=10_000))
    configured = settings(tmp_path, database_url=database_url)
    async with running(configured, sandbox, clock=clock) as service:
        for n, seconds in enumerate([0, HOUR_SECONDS, -HOUR_SECONDS, -HOUR_SECONDS, HOUR_SECONDS, HOUR_SECONDS]):
            clock.advance(seconds)
            call = {"timestamp": f"2025-12-01T00:00:{n:02}Z", "traits": {"email": JOHN, "preferred_name": f"{n}"}}
            response = await service.client.post("/identify", json=call)
            assert response.status_code == 202
            await service.until(lambda n=n: service.values(JOHN)[0]["preferred_name"] == f"{n}")  # type: ignore[misc]
