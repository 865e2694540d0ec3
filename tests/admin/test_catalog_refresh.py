"""Tests of the catalog refresh on demand."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import cast

import httpx
import pytest
from fastapi import FastAPI

from prosperstack_destination.account_mapping import MIN_REFRESH_INTERVAL
from prosperstack_destination.admin.mapping import refresh_if_stale
from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.settings import Role
from prosperstack_destination.store import accounts, queue
from prosperstack_destination.store.accounts import Account, AccountStatus
from support.accounts import open_account
from support.clocks import NEW_YEAR, SetClock
from support.service import running, settings

pytestmark = pytest.mark.anyio


@pytest.fixture
def woken() -> list[str]:
    """The accounts that were woken."""
    return []


@pytest.fixture
async def services(tmp_path: Path, clock: SetClock, woken: list[str]) -> AsyncIterator[AdminServices]:
    """The admin services of a process without a reconciler."""

    def wake(account_ids: Iterable[str]) -> None:
        woken.extend(account_ids)

    async with running(settings(tmp_path, role=Role.RECEIVE), clock=clock) as service:
        application = cast(FastAPI, cast(httpx.ASGITransport, service.transport).app)
        yield replace(application.state.services, wake=wake)


async def opened(services: AdminServices, listed_at: int) -> Account:
    """Open an account whose properties were listed at a time."""
    await services.database.write(open_account)
    await services.database.write(accounts.set_catalog, "acct_1", "[]", listed_at)
    return await stored(services)


async def stored(services: AdminServices) -> Account:
    account = await services.database.read(accounts.get, "acct_1")
    assert account is not None
    return account


async def test_old_properties_are_listed_again(services: AdminServices, woken: list[str]) -> None:
    """Properties that are 10 s old are listed again once; the old ones stay meanwhile."""
    account = await opened(services, NEW_YEAR - MIN_REFRESH_INTERVAL)

    await refresh_if_stale(services, account)
    await refresh_if_stale(services, account)
    await refresh_if_stale(services, await stored(services))

    assert woken == ["acct_1"]
    assert (await stored(services)).catalog_at is None
    assert (await stored(services)).catalog == "[]"
    assert await services.database.read(queue.accounts_with_work, NEW_YEAR) == ["acct_1"]


async def test_new_properties_are_not_listed(services: AdminServices, woken: list[str]) -> None:
    """Properties that are younger than 10 s cost no request, however often an operator looks."""
    account = await opened(services, NEW_YEAR - MIN_REFRESH_INTERVAL + 1)

    await refresh_if_stale(services, account)

    assert woken == []
    assert (await stored(services)).catalog_at == NEW_YEAR - MIN_REFRESH_INTERVAL + 1


async def test_stopped_account_is_not_refreshed(services: AdminServices, woken: list[str]) -> None:
    """An account with a refused key is not asked for its properties."""
    account = await opened(services, NEW_YEAR - MIN_REFRESH_INTERVAL)
    await services.database.write(accounts.set_status, "acct_1", AccountStatus.KEY_REFUSED, reason="no")

    await refresh_if_stale(services, account)

    assert woken == []
    assert (await stored(services)).catalog_at == NEW_YEAR - MIN_REFRESH_INTERVAL
