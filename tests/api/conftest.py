"""Fixtures of the API of a running service."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from support.operators import issued, operator
from support.service import Service, running, settings


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """A running service with a sandbox behind it, and one call about John, which opened the account."""
    async with running(settings(tmp_path)) as service:
        await service.identify("john.doe@example.com", nickname="Jo", number_of_contacts="many", contactCount=5)
        yield service


@pytest.fixture
async def token(tmp_path: Path) -> str:
    """The token of an operator."""
    return await issued(tmp_path)


@pytest.fixture
async def api(service: Service, token: str) -> AsyncIterator[httpx.AsyncClient]:
    """Asks about the only account, with a token."""
    async with operator(service, token) as client:
        yield client
