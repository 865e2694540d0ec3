"""The sandbox behaves as ProsperStack does."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.sandbox import SandboxConfig, create_sandbox
from prosperstack_destination.sandbox.journal import JournalMismatch
from prosperstack_destination.sandbox.pages import page, read_cursor
from prosperstack_destination.sandbox.rate_limit import FixedWindow
from prosperstack_destination.sandbox.seed import seeded
from prosperstack_destination.sandbox.values import InvalidValue, formatted, validated
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

    sent = {"number_of_contacts": "7", "is_professional": "T", "preferred_name": None, "last_contacted": ""}
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
    store = seeded(250, "1/0")
    shared = [each.fields["email"] for each in store.subscribers.after(198)][:2]
    found = await api.get("subscribers", params={"email": shared[0].upper()})

    assert shared[0] == shared[1]
    assert [each["email"] for each in found.json()["data"]] == shared


@pytest.mark.anyio
async def test_a_journal_outlives_the_sandbox(tmp_path: Path, clock: SetClock) -> None:
    """What was written is there after a restart; a journal of other data is refused."""
    config = SandboxConfig(subscribers=3, journal=tmp_path / "sandbox.jsonl")

    async def client(app: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://sandbox/v1", auth=("key_test_sandbox", "")
        )

    one = await client(create_sandbox(config, clock=lambda: clock() / 1_000_000))
    path = f"subscribers/{(await john(one))['id']}"
    new = {"key": "plan", "name": "Plan", "entity": "subscriber", "type": "text"}
    await one.post("properties", json=new)
    written = (await one.patch(path, json={"properties": {"plan": "pro"}})).json()
    with (tmp_path / "sandbox.jsonl").open("a") as file:
        file.write('{"cut off')

    with pytest.warns(UserWarning, match="cut off"):
        two = await client(create_sandbox(config))
    assert (await two.get(path)).json() == written
    with pytest.raises(JournalMismatch, match="delete the file"):
        create_sandbox(SandboxConfig(subscribers=4, journal=config.journal))


@pytest.mark.anyio
async def test_what_was_asked_can_be_seen(api: httpx.AsyncClient) -> None:
    """The sandbox counts its requests by operation and status; looking does not count."""
    await api.get("subscribers/nobody")
    seen = (await api.get("http://sandbox/requests")).json()

    assert seen["total"] == 1
    assert seen["by_operation"] == {"GET /v1/subscribers/{subscriber_id} 404": 1}
    assert (await api.get("http://sandbox/")).json()["subscribers"] == 250


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)


@given(json_values, st.sampled_from(["text", "number", "boolean", "date"]))
def test_any_value_is_taken_or_refused(value: Any, kind: str) -> None:
    """Any JSON value is one of the type or refused, and one that is taken can be shown."""
    try:
        taken = validated(value, kind)
    except InvalidValue:
        return

    assert isinstance(formatted(taken, "currency"), str)
    assert isinstance(formatted(taken, None), str)


@given(st.integers(1, 30), st.integers(1, 30))
def test_any_page_size_pages_through(count: int, limit: int) -> None:
    """Whatever the size of pages, they have every record once and end."""
    store = seeded(count, "x")
    seen: list[object] = []
    cursor: str | None = None
    while True:
        answer: Any = page(store.subscribers.after(read_cursor(cursor)), limit)
        assert len(answer["data"]) <= limit
        seen += [each["id"] for each in answer["data"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break

    assert len(seen) == len(set(seen)) == count


@pytest.mark.parametrize(("now", "reset"), [(0.0, "60"), (0.5, "60"), (59.5, "1"), (60.0, "60")])
def test_the_reset_is_in_whole_seconds(now: float, reset: str) -> None:
    """The time until the reset is rounded up, and a new window begins where the old one ended."""
    window = FixedWindow(2, 60)
    assert window.take(0.0)

    assert window.take(now)
    assert window.headers(now)["RateLimit-Reset"] == reset
