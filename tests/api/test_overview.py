"""How an account stands, by the API."""

import asyncio

import httpx
import pytest

pytestmark = pytest.mark.anyio


async def test_the_overview(api: httpx.AsyncClient) -> None:
    """It tells what waits, what was spent, and what a plain forwarder would have spent."""
    async with asyncio.timeout(20):
        while not (found := (await api.get("overview")).json())["day"]["accepted"]:
            pass

    assert (found["status"], found["mapping_version"]) == ("active", 0)
    assert found["day"]["accepted"] == 1
    assert found["day"]["naive_requests"] >= 1
    assert found["hour"]["fresh_p50"] is None or found["hour"]["fresh_p50"] < 60


@pytest.mark.parametrize(("period", "parts"), [("hour", 60), ("day", 96), ("week", 84)])
async def test_the_history(api: httpx.AsyncClient, period: str, parts: int) -> None:
    """Each part of a period is there, also where nothing happened."""
    found = (await api.get("history", params={"period": period})).json()

    assert len(found) == parts
    assert (await api.get("history", params={"period": "century"})).status_code == 422
