"""Tests of the sandbox's behaviour, which is that of ProsperStack."""

import time
from typing import Any

import httpx
import pytest

from prosperstack_destination.sandbox import SandboxConfig, create_sandbox
from prosperstack_destination.sandbox.seed import seed_account
from support.clocks import SetClock

JOHN = {"email": "john.doe@example.com"}


async def john(api: httpx.AsyncClient) -> dict[str, Any]:
    subscriber: dict[str, Any] = (await api.get("subscribers", params=JOHN)).json()["data"][0]
    return subscriber


def values(subscriber: dict[str, Any]) -> dict[str, Any]:
    return {each["property"]["key"]: each["value"] for each in subscriber["properties"]}


@pytest.mark.anyio
async def test_first_subscriber_is_the_documented_example(api: httpx.AsyncClient) -> None:
    """The first subscriber is the documented example's, with other values than the example sends."""
    assert values(await john(api)) == {
        "number_of_contacts": 120,
        "is_professional": False,
        "last_contacted": "2020-01-15",
        "preferred_name": "John",
    }


@pytest.mark.anyio
async def test_update_sets_and_deletes_properties(api: httpx.AsyncClient, clock: SetClock) -> None:
    """Named properties are set or deleted, the others stay, and updated_at changes."""
    before = await john(api)
    clock.advance(5)

    sent = {"number_of_contacts": "7", "is_professional": "t", "preferred_name": None, "last_contacted": ""}
    after = (await api.patch(f"subscribers/{before['id']}", json={"properties": sent})).json()

    assert values(after) == {"number_of_contacts": 7, "is_professional": True}
    assert after["updated_at"] > before["updated_at"]
    recent = await api.get("subscribers", params={"updated_at[gte]": after["updated_at"]})
    assert [each["id"] for each in recent.json()["data"]] == [before["id"]]


@pytest.mark.anyio
@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_pages_have_every_subscriber_once(api: httpx.AsyncClient, clock: SetClock, limit: int) -> None:
    """Cursors lead through all subscribers, each once, even if they change."""
    seen: list[str] = []
    cursor: str | None = None
    while len(seen) < 250:
        query = {"limit": str(limit)} | ({} if cursor is None else {"cursor": cursor})
        answer = (await api.get("subscribers", params=query)).json()
        seen += [each["id"] for each in answer["data"]]
        cursor = answer["next_cursor"]
        await api.patch(f"subscribers/{seen[0]}", json={"properties": {"preferred_name": str(len(seen))}})
        clock.advance(60)

    assert len(seen) == len(set(seen)) == 250
    assert cursor is None


@pytest.mark.anyio
async def test_rate_limit_resets_after_a_window(api: httpx.AsyncClient, clock: SetClock) -> None:
    """A hundred requests a minute pass and are counted down; then 429, until the window resets."""
    answers = [await api.get("properties") for _ in range(101)]

    assert [each.status_code for each in answers] == [200] * 100 + [429]
    assert answers[0].headers["RateLimit-Remaining"] == "99"
    assert answers[-1].headers["RateLimit-Reset"] == "60"
    assert (await api.get("properties", auth=("key_test_other", ""))).status_code == 200
    clock.advance(60)
    assert (await api.get("properties")).status_code == 200


@pytest.mark.anyio
async def test_accounts_have_their_own_data(api: httpx.AsyncClient) -> None:
    """Another key sees other subscribers."""
    theirs = await api.get("subscribers", auth=("key_test_other", ""))

    assert theirs.json()["data"][0]["id"] != (await api.get("subscribers")).json()["data"][0]["id"]


@pytest.mark.anyio
async def test_some_subscribers_share_an_email(api: httpx.AsyncClient) -> None:
    """A few subscribers have one email, which filters compare case-insensitively."""
    store = seed_account(250, "1/0")
    shared = [each.fields["email"] for each in store.subscribers.after(198)][:2]
    found = await api.get("subscribers", params={"email": shared[0].upper()})

    assert shared[0] == shared[1]
    assert [each["email"] for each in found.json()["data"]] == shared


@pytest.mark.anyio
async def test_requests_are_listed(api: httpx.AsyncClient) -> None:
    """The sandbox counts requests by operation and status; `GET /requests` does not count."""
    await api.get("subscribers/nobody")
    seen = (await api.get("http://sandbox/requests")).json()

    assert seen["total"] == 1
    assert seen["by_operation"] == {"GET /v1/subscribers/{subscriber_id} 404": 1}
    assert (await api.get("http://sandbox/")).json()["subscribers"] == 250


@pytest.mark.anyio
async def test_requests_are_counted_by_their_route(api: httpx.AsyncClient) -> None:
    """Rejected requests are counted under their route, too, for any ID."""
    await api.get("subscribers/one", auth=("key_test_wrong", ""))
    await api.get("subscribers/two", auth=("key_test_wrong", ""))
    await api.get("nowhere")

    seen = (await api.get("http://sandbox/requests")).json()
    assert seen["by_operation"] == {"GET /v1/subscribers/{subscriber_id} 401": 2, "GET (unknown) 404": 1}
    assert [each["path"] for each in seen["latest"]] == [
        "/v1/subscribers/one",
        "/v1/subscribers/two",
        "/v1/nowhere",
    ]


@pytest.mark.anyio
async def test_unknown_keys_share_a_window(api: httpx.AsyncClient) -> None:
    """Requests with unknown keys share one window, apart from those of known keys."""
    answers = [await api.get("properties", auth=(f"key_test_{number}", "")) for number in range(101)]

    assert [each.status_code for each in answers] == [401] * 100 + [429]
    assert (await api.get("properties")).headers["RateLimit-Remaining"] == "99"


@pytest.mark.anyio
@pytest.mark.parametrize("header", ["Basic \u00e9", "Basic !", "Basic /w==", "Basic", "Bearer a2V5Og==", ""])
async def test_invalid_header_is_unauthorized(api: httpx.AsyncClient, header: str) -> None:
    """An invalid Authorization header is answered like a missing one."""
    headers = {b"Authorization": header.encode("latin-1")}
    assert (await api.get("properties", headers=headers, auth=httpx.Auth())).status_code == 401


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "", 404),
        ("GET", "nowhere", 404),
        ("GET", "subscribers/", 404),  # no redirect, which is not documented
        ("PUT", "subscribers", 405),
        ("DELETE", "subscriptions/subn_x", 405),
    ],
)
async def test_unknown_route_has_the_documented_error(
    api: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    """Paths and methods that do not exist answer with the documented body and the rate limit."""
    answer = await api.request(method, path)

    assert answer.status_code == status
    assert isinstance(answer.json()["error"], str)
    assert answer.headers["RateLimit-Limit"] == "100"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        b'{"properties": null}',
        b'{"properties": {"number_of_contacts": NaN}}',
        b'{"properties": {"number_of_contacts": 1e999}}',
        b'{"properties": {"preferred_name": "\\ud800"}}',
        b'{"properties": {"\\ud800": 1}}',
        b"[" * 100_000,
    ],
)
async def test_invalid_body_changes_nothing(api: httpx.AsyncClient, body: bytes) -> None:
    """An invalid body is answered 400, and leaves the subscriber unchanged."""
    before = await john(api)
    answer = await api.patch(
        f"subscribers/{before['id']}", content=body, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)
    assert await john(api) == before


@pytest.mark.anyio
async def test_latency_delays_responses(clock: SetClock) -> None:
    """With a latency, a response takes at least that time."""
    app = create_sandbox(SandboxConfig(subscribers=1, latency_ms=1), clock=lambda: clock() / 1_000_000)
    started_at = time.monotonic()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sandbox/v1") as client:
        await client.get("properties")

    assert time.monotonic() - started_at >= 0.001
