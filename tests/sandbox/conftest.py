"""Fixtures of a sandbox in this process, with a clock of the tests."""

from collections.abc import AsyncIterator

import httpx
import pytest

from prosperstack_destination.sandbox import SandboxConfig, create_sandbox
from support.clocks import SetClock

KEY = "key_test_sandbox"


@pytest.fixture
def config() -> SandboxConfig:
    return SandboxConfig(subscribers=250, keys=(KEY, "key_test_other"))


@pytest.fixture
async def api(config: SandboxConfig, clock: SetClock) -> AsyncIterator[httpx.AsyncClient]:
    """Client with the key of the first account."""
    app = create_sandbox(config, clock=lambda: clock() / 1_000_000)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://sandbox/v1", auth=(KEY, "")) as client:
        yield client
