"""Tests of the API of the overview."""

import asyncio
from pathlib import Path

import httpx
import pytest

from prosperstack_destination.settings import Role
from support.operators import issued, operator
from support.service import running, settings

pytestmark = pytest.mark.anyio


async def test_overview_has_backlog_and_savings(api: httpx.AsyncClient) -> None:
    """The overview has the backlog, the requests spent and those of a forwarder."""
    async with asyncio.timeout(20):
        while not (found := (await api.get("overview")).json())["day"]["accepted"]:
            pass

    assert (found["status"], found["mapping_version"]) == ("active", 0)
    assert found["day"]["accepted"] == 1
    assert found["day"]["naive_requests"] >= 1
    assert found["hour"]["fresh_p50"] is None or found["hour"]["fresh_p50"] < 60


async def test_overview_shows_a_running_remap(tmp_path: Path) -> None:
    """The overview shows a running remap."""
    token = await issued(tmp_path)
    async with running(settings(tmp_path, role=Role.RECEIVE)) as service:  # nobody goes through them meanwhile
        await service.identify("ann@example.com", nickname="An")
        async with operator(service, token) as api:
            before = (await api.get("overview")).json()
            rule = {"property": "preferred_name", "from": "traits.nickname"}
            await api.put("mapping", json={"based_on": 0, "mapping": {"rules": [rule]}})
            found = (await api.get("overview")).json()

    assert before["going_through"] is None
    assert (found["going_through"]["total"], found["going_through"]["done"]) == (1, 0)


@pytest.mark.parametrize(("period", "parts"), [("hour", 60), ("day", 96), ("week", 84)])
async def test_history_has_every_part_of_the_period(api: httpx.AsyncClient, period: str, parts: int) -> None:
    """The history has every part of the period, also quiet ones."""
    found = (await api.get("history", params={"period": period})).json()

    assert len(found) == parts
    assert (await api.get("history", params={"period": "century"})).status_code == 422
