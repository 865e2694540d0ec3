"""Several replicas on one database, in this process."""

from pathlib import Path
from typing import Any

import pytest

from prosperstack_destination.sandbox import SandboxConfig, create_sandbox
from prosperstack_destination.settings import Role, Settings
from prosperstack_destination.store import leases
from prosperstack_destination.store.database import Database
from support.service import Service, running, settings

pytestmark = pytest.mark.anyio

KEYS = [f"key_test_{n}" for n in range(4)]
JOHN = "john.doe@example.com"


@pytest.fixture
def shared(tmp_path: Path, database_url: str) -> Settings:
    return settings(tmp_path, database_url=database_url)


@pytest.fixture
def sandbox() -> Any:
    return create_sandbox(SandboxConfig(subscribers=3, keys=tuple(KEYS), rate_limit=10_000))


async def delivered(service: Service, value: str, *keys: str) -> None:
    await service.until(lambda: all(service.values(JOHN, key)[0]["preferred_name"] == value for key in keys))


async def owners(url: str) -> set[str]:
    """Return the owners of leases."""
    database = Database(url)
    held = await database.read(leases.load, [])
    await database.close()
    return {lease.owner for lease in held.values()}


async def test_receiver_and_reconciler_divide_the_work(shared: Settings, sandbox: Any) -> None:
    """One process receives calls and another delivers them."""
    receiver = shared.model_copy(update={"role": Role.RECEIVE})
    reconciler = shared.model_copy(update={"role": Role.RECONCILE})
    async with running(receiver, sandbox) as receiving, running(reconciler, sandbox) as reconciling:
        accepted = await receiving.identify(JOHN, key=KEYS[0], preferred_name="taken")
        refused = await reconciling.identify(JOHN, key=KEYS[0], preferred_name="lost?")
        ready = await receiving.client.get("/readyz")
        await delivered(receiving, "taken", KEYS[0])

    assert (accepted.status_code, refused.status_code, ready.status_code) == (202, 503, 200)
    assert "ROLE=reconcile" in refused.json()["message"]


async def test_accounts_are_shared_and_taken_over(shared: Settings, sandbox: Any) -> None:
    """Each of two replicas holds a part of the accounts; when one leaves the other takes over at once."""
    async with running(shared, sandbox) as first:
        async with running(shared, sandbox) as second:
            for key in KEYS:
                assert (await second.identify(JOHN, key=key, preferred_name="both")).status_code == 202
            await delivered(first, "both", *KEYS)
            both = await owners(shared.effective_database_url)
        for key in KEYS:
            await first.identify(JOHN, key=key, preferred_name="one")
        await delivered(first, "one", *KEYS)
        one = await owners(shared.effective_database_url)

    assert len(both) == 2
    assert len(one) == 1
    assert await owners(shared.effective_database_url) == set()
