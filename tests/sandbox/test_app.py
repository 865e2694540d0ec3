"""The sandbox behaves as ProsperStack does."""

import time
from typing import Any

import httpx
import pytest

from prosperstack_destination.sandbox import SandboxConfig, create_sandbox
from prosperstack_destination.sandbox.seed import seed_account
from support.clocks import SetClock

JOHN = {"email": "john.doe@example.com"}


async def john(api: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get("subscribers", params=JOHN)).json()["data"][0]
    return found


def values(subscriber: dict[str, Any]) -> dict[str, Any]:
    return {each["property"]["key"]: each["value"] for each in subscriber["properties"]}


@pytest.mark.anyio
async def test_the_documented_example_has_its_subscriber(api: httpx.AsyncClient) -> None:
    """The first subscriber is the documented example's, with other values than the example sends."""
    assert values(await john(api)) == {
        "number_of_contacts": 120,
        "is_professional": False,
        "last_contacted": "2020-01-15",
        "preferred_name": "John",
    }


@pytest.mark.anyio
async def test_an_update_sets_deletes_and_moves(api: httpx.AsyncClient, clock: SetClock) -> None:
    """Named properties are set or deleted, the others stay, and updated_at moves."""
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
async def test_pages_have_everything_once(api: httpx.AsyncClient, clock: SetClock, limit: int) -> None:
    """Cursors lead through all subscribers, each once, also while they change."""
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
async def test_the_window_is_fixed(api: httpx.AsyncClient, clock: SetClock) -> None:
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
async def test_some_share_an_email(api: httpx.AsyncClient) -> None:
    """Now and then two subscribers have one email, in whatever case it is asked for."""
    store = seed_account(250, "1/0")
    shared = [each.fields["email"] for each in store.subscribers.after(198)][:2]
    found = await api.get("subscribers", params={"email": shared[0].upper()})

    assert shared[0] == shared[1]
    assert [each["email"] for each in found.json()["data"]] == shared


@pytest.mark.anyio
async def test_what_was_asked_can_be_seen(api: httpx.AsyncClient) -> None:
    """The sandbox counts its requests by operation and status; looking does not count."""
    await api.get("subscribers/nobody")
    seen = (await api.get("http://sandbox/requests")).json()

    assert seen["total"] == 1
    assert seen["by_operation"] == {"GET /v1/subscribers/{subscriber_id} 404": 1}
    assert (await api.get("http://sandbox/")).json()["subscribers"] == 250


@pytest.mark.anyio
async def test_requests_are_counted_by_their_route(api: httpx.AsyncClient) -> None:
    """Also what is turned away at the door is counted under the route it was for, whatever ids are tried."""
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
    """A flood with wrong keys is held off like one with a right key, whose window it leaves alone."""
    answers = [await api.get("properties", auth=(f"key_test_{number}", "")) for number in range(101)]

    assert [each.status_code for each in answers] == [401] * 100 + [429]
    assert (await api.get("properties")).headers["RateLimit-Remaining"] == "99"


@pytest.mark.anyio
@pytest.mark.parametrize("header", ["Basic \u00e9", "Basic !", "Basic /w==", "Basic", "Bearer a2V5Og==", ""])
async def test_what_is_no_key_is_refused(api: httpx.AsyncClient, header: str) -> None:
    """A header that cannot be read is as good as none."""
    headers = {b"Authorization": header.encode("latin-1")}
    assert (await api.get("properties", headers=headers, auth=httpx.Auth())).status_code == 401


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "", 404),
        ("GET", "nowhere", 404),
        ("GET", "subscribers/", 404),  # no redirect, which would be an answer that is not documented
        ("PUT", "subscribers", 405),
        ("DELETE", "subscriptions/subn_x", 405),
    ],
)
async def test_what_is_not_there_has_an_error_like_any(
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
async def test_no_body_breaks_a_subscriber(api: httpx.AsyncClient, body: bytes) -> None:
    """Whatever is sent is refused with an error, and leaves a subscriber that can be shown."""
    before = await john(api)
    answer = await api.patch(
        f"subscribers/{before['id']}", content=body, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)
    assert await john(api) == before


@pytest.mark.anyio
async def test_a_delay_is_part_of_every_answer(clock: SetClock) -> None:
    """With a latency, an answer takes at least that long."""
    app = create_sandbox(SandboxConfig(subscribers=1, latency_ms=1), clock=lambda: clock() / 1_000_000)
    began = time.monotonic()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sandbox/v1") as client:
        await client.get("properties")

    assert time.monotonic() - began >= 0.001
