"""Tests of the journal: writes survive a restart."""

import re
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from prosperstack_destination.sandbox import SandboxConfig, create_sandbox
from prosperstack_destination.sandbox.account import JournalMismatch


@pytest.fixture
def config(tmp_path: Path) -> SandboxConfig:
    return SandboxConfig(subscribers=3, journal=tmp_path / "new" / "sandbox.jsonl")


@pytest.fixture
def file(config: SandboxConfig) -> Path:
    assert config.journal is not None
    return config.journal


def started(config: SandboxConfig) -> httpx.AsyncClient:
    """Return a client of a new sandbox."""
    transport = httpx.ASGITransport(create_sandbox(config))
    return httpx.AsyncClient(transport=transport, base_url="http://sandbox/v1", auth=("key_test_sandbox", ""))


async def john(api: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get("subscribers?limit=1")).json()["data"][0]
    return found


async def rename_john(api: httpx.AsyncClient, name: str) -> dict[str, Any]:
    """Set John's preferred name, and return his record."""
    body = {"properties": {"preferred_name": name}}
    shown: dict[str, Any] = (await api.patch(f"subscribers/{(await john(api))['id']}", json=body)).json()
    return shown


@pytest.mark.anyio
async def test_writes_survive_a_restart(config: SandboxConfig) -> None:
    """Every kind of write is recorded in order; rejected writes are not."""
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
async def test_incomplete_line_is_removed(config: SandboxConfig, file: Path) -> None:
    """An incomplete last line is removed with a warning, and the next write is kept."""
    await rename_john(started(config), "Johnny")
    with file.open("a") as journal:
        journal.write('{"cut off')

    with pytest.warns(UserWarning, match="incomplete"):
        api = started(config)
    written = await rename_john(api, "Jack")
    assert await john(started(config)) == written


@pytest.mark.anyio
@pytest.mark.parametrize("torn", ["", '{"subscri'])
async def test_journal_without_header_is_begun_again(config: SandboxConfig, file: Path, torn: str) -> None:
    """A file without a complete line is begun again."""
    await anyio.Path(file.parent).mkdir()
    await anyio.Path(file).write_text(torn)

    if torn:
        with pytest.warns(UserWarning, match="incomplete"):
            api = started(config)
    else:
        api = started(config)
    written = await rename_john(api, "Jack")
    assert await john(started(config)) == written


@pytest.mark.parametrize(("subscribers", "seed"), [(4, 1), (3, 2)])
def test_journal_of_other_data_is_rejected(config: SandboxConfig, file: Path, subscribers: int, seed: int) -> None:
    """A sandbox with other subscribers than the journal's does not start, with advice."""
    create_sandbox(config)

    with pytest.raises(JournalMismatch, match="start it with those, or delete the file"):
        create_sandbox(SandboxConfig(subscribers=subscribers, seed=seed, journal=file))


@pytest.mark.parametrize(
    "line",
    ['{"cut', "5", "{}", '{"account": "0", "operation": "delete_subscriber", "arguments": {"subscriber_id": "x"}}'],
)
def test_damaged_journal_is_rejected(config: SandboxConfig, file: Path, line: str) -> None:
    """A damaged line stops the start; the message has file and line number."""
    create_sandbox(config)
    with file.open("a") as journal:
        journal.write(f"{line}\n")

    with pytest.raises(JournalMismatch, match=re.escape(f"{file} is damaged in line 2")):
        create_sandbox(config)


@pytest.mark.anyio
async def test_journal_has_no_keys(config: SandboxConfig, file: Path) -> None:
    """The journal names accounts by the position of their key."""
    await rename_john(started(config), "Johnny")

    kept = await anyio.Path(file).read_text()
    assert "Johnny" in kept
    assert "key_test_sandbox" not in kept
