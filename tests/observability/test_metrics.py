"""Metrics, through the service."""

import asyncio
from pathlib import Path

import pytest

from prosperstack_destination.ingest.documented_call import DOCUMENTED_CALL, DOCUMENTED_EMAIL
from prosperstack_destination.observability.metrics import Metrics
from support.service import KEY, Service, running, settings

pytestmark = pytest.mark.anyio

PREFIX = "prosperstack_destination_"


async def metrics(service: Service) -> dict[str, float]:
    """Every sample by its name and labels."""
    text = (await service.client.get("/metrics")).text
    return {
        name.removeprefix(PREFIX): float(value)
        for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    }


async def settled(service: Service) -> dict[str, float]:
    """The samples once something was delivered."""
    async with asyncio.timeout(10):
        while not (shown := await metrics(service)).get('settled_total{how="delivered"}'):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return shown


async def test_a_call_is_counted_on_its_way(tmp_path: Path) -> None:
    """A call shows as accepted, the request that delivered it by kind and status, and how fresh it was."""
    async with running(settings(tmp_path)) as service:
        for _ in range(3):
            await service.client.post("/identify", json=DOCUMENTED_CALL)
        await service.client.post("/v1/identify", json={"writeKey": KEY, "traits": {}})
        await service.client.post("/identify", json={"type": "track"})
        await service.client.post("/v1/batch", json={"batch": [{"traits": {}}, DOCUMENTED_CALL], "writeKey": KEY})
        await service.until(lambda: service.values(DOCUMENTED_EMAIL)[0].get("preferred_name") == "Johnny")
        shown = await settled(service)

    assert shown['calls_total{outcome="accepted"}'] == 4
    assert shown["calls_merged_total"] == 3
    assert shown['calls_refused_total{reason="MissingEmail"}'] == 2
    assert shown['calls_refused_total{reason="UnsupportedCall"}'] == 1
    assert shown['requests_total{kind="PATCH /subscribers/{id}",status="200"}'] == 1
    assert shown["freshness_seconds_count"] == 1
    assert shown["commit_seconds_count"] >= 2
    [remaining] = [value for name, value in shown.items() if name.startswith("budget_remaining{")]
    assert 9_900 < remaining < 10_000
    assert any(name.startswith("backlog{") for name in shown)


async def test_labels_name_nobody(tmp_path: Path) -> None:
    """Neither an email nor a key is in any metric, and a thousand people add no label."""
    async with running(settings(tmp_path)) as service:
        await service.client.post("/identify", json=DOCUMENTED_CALL)
        await settled(service)
        before = (await service.client.get("/metrics")).text
        for number in range(20):
            await service.identify(f"person.{number}@example.com", plan="x")
        after = (await service.client.get("/metrics")).text

    for text in (before, after):
        assert "@" not in text
        assert DOCUMENTED_EMAIL not in text
        assert KEY not in text
    assert len(after.splitlines()) - len(before.splitlines()) < 5


async def test_a_token_may_be_asked_for(tmp_path: Path) -> None:
    """Where METRICS_TOKEN is set, nobody without it sees the metrics."""
    async with running(settings(tmp_path, metrics_token="a long token")) as service:
        without = await service.client.get("/metrics")
        wrong = await service.client.get("/metrics", headers={"Authorization": "Bearer a long"}, auth=None)
        right = await service.client.get("/metrics", headers={"Authorization": "Bearer a long token"}, auth=None)

    assert (without.status_code, wrong.status_code, right.status_code) == (401, 401, 200)
    assert "prosperstack_destination_calls_merged_total 0.0" in right.text


def test_a_flood_of_requests_shares_one_text() -> None:
    """The text is reused for many times as long as it took to write, until gauges are counted."""
    metrics = Metrics()
    for number in range(500):
        metrics.refused.labels(f"reason {number}").inc()  # a text that takes a while
    first = metrics.render()

    assert metrics.render() is first
    metrics.set_account_stats([], 0)
    assert metrics.render() is not first
