"""Fixtures: a client with mocked responses."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import respx

from prosperstack_destination.prosperstack.budget import RateLimit
from prosperstack_destination.prosperstack.client import ProsperStackClient

BASE_URL = "https://api.prosperstack.test/v1"


@pytest.fixture
def api() -> Iterator[respx.Router]:
    """Routes below the base URL; each has to be called."""
    router = respx.Router(base_url=BASE_URL, assert_all_called=True)
    yield router
    router.assert_all_called()


@pytest.fixture
def reported() -> list[RateLimit | None]:
    """Rate limits that the client reported, one per response."""
    return []


@pytest.fixture
async def client(api: respx.Router, reported: list[RateLimit | None]) -> AsyncIterator[ProsperStackClient]:
    transport = httpx.MockTransport(api.async_handler)
    async with httpx.AsyncClient(transport=transport) as http:
        yield ProsperStackClient(http, BASE_URL, "key_test_abc", reported.append)
