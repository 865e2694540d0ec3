"""Tests of the overview and of live updates."""

import asyncio
import json
import re

import pytest

from dashboard.conftest import Dashboard
from prosperstack_destination.dashboard.sse import MAX_STREAMS, LiveUpdates
from prosperstack_destination.errors import Overloaded

pytestmark = pytest.mark.anyio


async def anybody() -> bool:
    return True


async def test_start_leads_to_the_only_account(dashboard: Dashboard) -> None:
    """With one account the start page is its overview; with two it is the list."""
    only = await dashboard.client.get("/dashboard")
    await dashboard.service.identify("a@b.c", key="key_test_other")
    several = await dashboard.client.get("/dashboard")

    assert only.headers["location"] == f"{dashboard.home}/overview"
    assert several.headers["location"] == "/dashboard/accounts"


@pytest.mark.parametrize("period", ["hour", "day", "week", "nonsense"])
async def test_overview_has_status_and_charts(dashboard: Dashboard, period: str) -> None:
    """The overview has the status of the account, and charts of the chosen period."""
    page = await dashboard.get(f"overview?period={period}")

    assert page.status_code == 200
    for said in ("Calls accepted", "Requests saved", "Requests left", "Activity"):
        assert said in page.text
    assert len(page.content) < 200_000
    shown = period if period != "nonsense" else "hour"
    assert f'<a href="?period={shown}#charts" aria-current="true">' in page.text


async def test_stopped_account_shows_its_reason_first(dashboard: Dashboard) -> None:
    """The reason and the effect of a stopped account come first."""
    dashboard.service.sandbox_app.state.accounts.clear()
    await dashboard.service.identify("john.doe@example.com", preferred_name="Jo")

    async with asyncio.timeout(10):
        while "Calls are refused until the key works" not in (text := (await dashboard.get("overview")).text):
            pass
    text = re.sub(r"\s+", " ", text)
    assert "ProsperStack refuses the API key" in text
    assert "Next attempt" in text


async def parts_of(live: LiveUpdates, texts: list[dict[str, str]]) -> list[str]:
    """What is sent while a page renders these, one after the other."""
    sent = []

    async def render() -> dict[str, str]:
        if len(texts) == 1:
            live.close()
        return texts.pop(0)

    stream = live.stream(render, anybody)
    async for piece in stream.body_iterator:  # type: ignore[attr-defined] # it is a StreamingResponse
        sent.append(str(piece))
    return sent


async def test_stream_sends_changed_parts() -> None:
    """A part is sent first as one line; the stream ends with the service."""
    text = "<b>\n</b>"
    [retry, part] = await parts_of(LiveUpdates(), [{"status": text}])

    assert retry.startswith("retry: ")
    name, data = part.strip().split("\n")
    assert name == "event: part"
    assert json.loads(data.removeprefix("data: ")) == {"id": "status", "html": text}


async def test_relative_times_are_no_change() -> None:
    """A part whose relative times alone differ is not sent again; another time is sent."""
    times = (("1", "now"), ("1", "1 s ago"), ("2", "now"))
    texts = [f'<time datetime="{at}">{words}</time>' for at, words in times]
    looks = LiveUpdates(poll_seconds=0.0)
    sent = await parts_of(looks, [{"status": text} for text in texts])

    assert [json.loads(each.partition("data: ")[2])["html"] for each in sent[1:]] == [texts[0], texts[2]]


async def test_streams_are_limited() -> None:
    """The number of open streams is limited; one more gets an error."""
    live = LiveUpdates()

    async def render() -> dict[str, str]:
        return {}

    streams = [live.stream(render, anybody).body_iterator for _ in range(MAX_STREAMS)]  # type: ignore[attr-defined]
    for each in streams:
        await anext(each)
    with pytest.raises(Overloaded):
        live.stream(render, anybody)
    for each in streams:
        await each.aclose()
    live.stream(render, anybody)
