"""Tests of the pages of recent calls."""

import asyncio
import re

import pytest

from dashboard.conftest import Dashboard

pytestmark = pytest.mark.anyio

JOHN = "john.doe@example.com"
ANN = "ann@secret.example"


async def until(dashboard: Dashboard, page: str, text: str) -> str:
    """A page, once a pattern is in it: calls are written a second after they came."""
    async with asyncio.timeout(20):
        while re.search(text, shown := (await dashboard.get(page)).text) is None:
            pass
    return shown


async def test_call_is_masked_until_revealed(dashboard: Dashboard) -> None:
    """A call is listed with its outcome; personal data shows only when revealed."""
    await dashboard.service.identify(ANN, preferred_name="Annie")
    revealed = await until(dashboard, "calls?reveal=true", "Annie")
    listed = (await dashboard.get("calls")).text

    assert ANN in revealed
    assert "accepted" in listed
    assert not {"Annie", ANN} & set(re.split(r"[^\w@.]", listed))


async def test_call_page_shows_effect_and_events(dashboard: Dashboard) -> None:
    """The page of a call shows its message, its explanation and the later events of the person."""
    listed = await until(dashboard, "calls", r"/calls/\d+")
    [number] = re.findall(r"/calls/(\d+)", listed)
    shown = await until(dashboard, f"calls/{number}?reveal=true", "delivered")
    masked = (await dashboard.get(f"calls/{number}")).text

    assert "Johnny" not in masked
    assert "Preferred name" in shown
    assert "traits.email" in shown
    assert (await dashboard.get("calls/999999")).status_code == 404
    assert (await dashboard.get(f"calls/{10**30}")).status_code == 404


async def test_refused_call_has_its_reason(dashboard: Dashboard) -> None:
    """A refused call shows the reason that its sender got, and is found by its outcome."""
    await dashboard.service.client.post("http://service/identify", json={"traits": {"plan": "x"}})
    shown = await until(dashboard, "calls?outcome=refused", "Missing email address")

    assert shown.count("/calls/") >= 1
    assert "No matching calls" in (await dashboard.get("calls?outcome=skipped")).text
    assert "No matching calls" in (await dashboard.get("calls?email=nobody@example.com")).text
    assert (await dashboard.get("calls?outcome=nonsense&before=x")).status_code == 200


async def test_test_call_is_delivered_and_listed(dashboard: Dashboard) -> None:
    """The documented example is ingested, delivered, and listed as a test call."""
    answer = await dashboard.post("calls/test", email=JOHN)
    await until(dashboard, "calls", ">test<")

    assert answer.status_code == 303
    await dashboard.service.until(lambda: dashboard.service.values(JOHN)[0]["number_of_contacts"] == 5800)
