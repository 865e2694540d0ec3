"""A sandbox in this process, whose time the tests own."""

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
    """A client with the first account's key."""
    app = create_sandbox(config, clock=lambda: clock() / 1_000_000)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://sandbox/v1", auth=(KEY, "")) as client:
        yield client
