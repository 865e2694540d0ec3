"""The debugger: what arrived, and what came of it."""

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


async def test_a_call_shows_masked(dashboard: Dashboard) -> None:
    """A call is among the newest with its outcome; what it says of a person shows only when it is asked for."""
    await dashboard.service.identify(ANN, preferred_name="Annie")
    revealed = await until(dashboard, "calls?reveal=true", "Annie")
    listed = (await dashboard.get("calls")).text

    assert ANN in revealed
    assert "accepted" in listed
    assert not {"Annie", ANN} & set(re.split(r"[^\w@.]", listed))


async def test_a_call_in_full(dashboard: Dashboard) -> None:
    """One call tells what arrived, what was understood of it, and what happened to the person afterwards."""
    listed = await until(dashboard, "calls", r"/calls/\d+")
    [number] = re.findall(r"/calls/(\d+)", listed)
    shown = await until(dashboard, f"calls/{number}?reveal=true", "delivered")
    masked = (await dashboard.get(f"calls/{number}")).text

    assert "Johnny" not in masked
    assert "Preferred name" in shown
    assert "traits.email" in shown
    assert (await dashboard.get("calls/999999")).status_code == 404
    assert (await dashboard.get(f"calls/{10**30}")).status_code == 404


async def test_a_refused_call(dashboard: Dashboard) -> None:
    """A refused call shows with the reason that its sender was told, and is found by its outcome."""
    await dashboard.service.client.post("http://service/identify", json={"traits": {"plan": "x"}})
    shown = await until(dashboard, "calls?outcome=refused", "Missing email address")

    assert shown.count("/calls/") >= 1
    assert "No matching calls" in (await dashboard.get("calls?outcome=skipped")).text
    assert "No matching calls" in (await dashboard.get("calls?email=nobody@example.com")).text
    assert (await dashboard.get("calls?outcome=nonsense&before=x")).status_code == 200


async def test_sending_a_test_call(dashboard: Dashboard) -> None:
    """The documented example is taken in, reaches ProsperStack, and shows among the calls as a test."""
    answer = await dashboard.post("calls/test", email=JOHN)
    await until(dashboard, "calls", ">test<")

    assert answer.status_code == 303
    await dashboard.service.until(lambda: dashboard.service.values(JOHN)[0]["number_of_contacts"] == 5800)
