"""What is written outlives the sandbox."""

import re
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from prosperstack_destination.sandbox import SandboxConfig, create_sandbox
from prosperstack_destination.sandbox.journal import JournalMismatch


@pytest.fixture
def config(tmp_path: Path) -> SandboxConfig:
    return SandboxConfig(subscribers=3, journal=tmp_path / "new" / "sandbox.jsonl")


@pytest.fixture
def file(config: SandboxConfig) -> Path:
    assert config.journal is not None
    return config.journal


def started(config: SandboxConfig) -> httpx.AsyncClient:
    """A client of a sandbox that has just been started."""
    transport = httpx.ASGITransport(create_sandbox(config))
    return httpx.AsyncClient(transport=transport, base_url="http://sandbox/v1", auth=("key_test_sandbox", ""))


async def john(api: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get("subscribers?limit=1")).json()["data"][0]
    return found


async def call(api: httpx.AsyncClient, name: str) -> dict[str, Any]:
    """Call John something; he is as the sandbox shows him then."""
    body = {"properties": {"preferred_name": name}}
    shown: dict[str, Any] = (await api.patch(f"subscribers/{(await john(api))['id']}", json=body)).json()
    return shown


@pytest.mark.anyio
async def test_every_write_is_there_after_a_restart(config: SandboxConfig) -> None:
    """Each kind of write is kept, in order; what was refused is not."""
    one = started(config)
    new = {"key": "plan", "name": "Plan", "entity": "subscriber", "type": "text"}
    made = await one.post("properties", json=new)
    await one.post("properties", json=new)
    subscribers = (await one.get("subscribers")).json()["data"]
    subscription = (await one.get("subscriptions")).json()["data"][1]
    await one.patch(f"subscribers/{subscribers[0]['id']}", json={"properties": {"plan": "pro"}})
    await one.patch(f"subscribers/{subscribers[0]['id']}", json={"properties": {"number_of_contacts": "many"}})
    await one.patch(f"subscriptions/{subscription['id']}", json={"properties": {"seats": 3}})
    await one.delete(made.headers["Location"].removeprefix("/v1/"))
    await one.delete(f"subscribers/{subscribers[2]['id']}")

    two = started(config)
    for path in ("properties", "subscribers", "subscriptions"):
        assert (await two.get(path)).json() == (await one.get(path)).json()


@pytest.mark.anyio
async def test_a_torn_line_costs_nothing_that_follows(config: SandboxConfig, file: Path) -> None:
    """A line that a crash cut off goes with a warning, and what is written next is kept."""
    await call(started(config), "Johnny")
    with file.open("a") as journal:
        journal.write('{"cut off')

    with pytest.warns(UserWarning, match="incomplete"):
        api = started(config)
    written = await call(api, "Jack")
    assert await john(started(config)) == written


@pytest.mark.anyio
@pytest.mark.parametrize("torn", ["", '{"subscri'])
async def test_a_journal_without_a_line_is_new(config: SandboxConfig, file: Path, torn: str) -> None:
    """A file that a crash left before its first line had an end is begun anew."""
    await anyio.Path(file.parent).mkdir()
    await anyio.Path(file).write_text(torn)

    if torn:
        with pytest.warns(UserWarning, match="incomplete"):
            api = started(config)
    else:
        api = started(config)
    written = await call(api, "Jack")
    assert await john(started(config)) == written


@pytest.mark.parametrize(("subscribers", "seed"), [(4, 1), (3, 2)])
def test_a_journal_of_other_data_is_refused(config: SandboxConfig, file: Path, subscribers: int, seed: int) -> None:
    """A sandbox with other subscribers than the journal's does not start, and says what to do."""
    create_sandbox(config)

    with pytest.raises(JournalMismatch, match="start it with those, or delete the file"):
        create_sandbox(SandboxConfig(subscribers=subscribers, seed=seed, journal=file))


@pytest.mark.parametrize(
    "line",
    ['{"cut', "5", "{}", '{"account": "0", "operation": "delete_subscriber", "arguments": {"subscriber_id": "x"}}'],
)
def test_a_damaged_journal_is_refused(config: SandboxConfig, file: Path, line: str) -> None:
    """A line that cannot be applied stops the start, named by file and number."""
    create_sandbox(config)
    with file.open("a") as journal:
        journal.write(f"{line}\n")

    with pytest.raises(JournalMismatch, match=re.escape(f"{file} is damaged in line 2")):
        create_sandbox(config)


@pytest.mark.anyio
async def test_keys_are_not_in_the_journal(config: SandboxConfig, file: Path) -> None:
    """The journal tells accounts apart by their place among the keys."""
    await call(started(config), "Johnny")

    kept = await anyio.Path(file).read_text()
    assert "Johnny" in kept
    assert "key_test_sandbox" not in kept
