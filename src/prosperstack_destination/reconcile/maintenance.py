"""The account itself: its catalog of properties, whether it works, and what its mapping creates in ProsperStack."""

from collections.abc import Awaitable
from dataclasses import replace
from functools import partial
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.account_mapping import dump_catalog, fetch_catalog, load, load_catalog
from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import ProsperStackAuthError, ProsperStackError, ProsperStackUnavailable
from prosperstack_destination.prosperstack.models import Page, PropertyDefinition
from prosperstack_destination.reconcile.property_creation import create_missing
from prosperstack_destination.reconcile.subscriptions import SubscriptionUpdater
from prosperstack_destination.reconcile.worker_context import RequestInfo, WorkerContext
from prosperstack_destination.store import account_stats, accounts, remap_progress, requeue
from prosperstack_destination.store.accounts import (
    CATALOG_FOR,
    IDLE_CATALOG_FOR,
    STOPPED_STATUSES,
    Account,
    AccountStatus,
)

#: How often it is seen to that what the mapping creates is there, in microseconds.
CREATED_EVERY: Final = 1 * SECOND


class AccountMaintenance:
    """Keeps one account up to date. ``account`` is the account as it is by now."""

    def __init__(
        self, account: Account, at: WorkerContext, subscriptions: SubscriptionUpdater, ticks: Clock
    ) -> None:
        self.account = account
        self._at = at
        self._subscriptions = subscriptions
        self._ticks = ticks
        #: When it was last seen to that what the mapping creates in ProsperStack is there.
        self._created_at: int | None = None
        #: The catalog was listed to see whether an account that failed works.
        self._asked = False

    async def run_if_due(self) -> None:
        """List the catalog when it is old, or where requests failed: that shows whether ProsperStack answers.

        An account that failed works again when the kind of request succeeds that failed: see `FailureStreaks`.
        """
        streaks = self._at.rate_limiter.streaks
        old = await self._catalog_is_old()
        if old or streaks.needs_probe or (self._is_failing and not self._asked):
            await self._refresh_catalog()
            streaks.probe_succeeded()
        if self._is_failing and not self._asked:
            streaks.start_retry()
            self._asked = True
        if self._is_failing and not streaks.broken:
            await self._works()
        await self._create_missing(look=old)

    async def finish(self) -> None:
        """Nothing can be sent now: decide whether an account that failed works again.

        It does where nothing waits. Raises `ProsperStackError` where something does: the account waits on.
        """
        if not self._is_failing:
            return
        if await self._at.database.read(account_stats.has_waiting, self.account.id):
            raise _as_before(self.account)
        self._at.rate_limiter.streaks.reset()
        await self._works()

    @property
    def _is_failing(self) -> bool:
        return self.account.status is not AccountStatus.ACTIVE

    async def _works(self) -> None:
        self._at.rate_limiter.failures = 0
        await self._at.database.write(_activate, self.account.id, self._at.clock())
        self.account = replace(self.account, status=AccountStatus.ACTIVE)
        self._at.log.info("the account works again")

    async def _catalog_is_old(self) -> bool:
        listed_at, now = self.account.catalog_at, self._at.clock()
        if listed_at is None or not 0 <= now - listed_at < IDLE_CATALOG_FOR:
            return True
        # An idle account is looked at for its directory now and then: that is no reason to list its properties.
        if now - listed_at < CATALOG_FOR:
            return False
        return not await self._at.database.read(accounts.is_idle, self.account.id, now)

    async def _create_missing(self, *, look: bool) -> None:
        """Create in ProsperStack what the mapping says to; ``look``: going by all profiles' traits as well."""
        ticks = self._ticks()
        if not look and self._created_at is not None and 0 <= ticks - self._created_at < CREATED_EVERY:
            return
        self._created_at = ticks
        at = self._at
        meaning = await at.database.read(load, self.account)
        if await create_missing(at, meaning, look=look):
            await self._refresh_catalog()

    async def _refresh_catalog(self) -> None:
        def fetch(cursor: str | None) -> Awaitable[Page[PropertyDefinition]]:
            return self._at.send(
                RequestInfo("GET /properties"), partial(self._at.prosperstack.list_properties, cursor)
            )

        catalog = dump_catalog(await fetch_catalog(fetch))
        now = self._at.clock()
        changed = catalog != self.account.catalog
        await self._at.database.write(_store_catalog, self.account.id, catalog, changed=changed, now=now)
        self.account = replace(self.account, catalog=catalog, catalog_at=now)
        self.account = await self._subscriptions.refresh_catalog(self.account)
        if changed:
            self._at.log.info("the catalog of properties changed", properties=len(load_catalog(catalog)))


def _activate(connection: Connection, account_id: str, now: int) -> None:
    """Note that an account works, and have what failed meanwhile tried now."""
    accounts.set_status(connection, account_id, AccountStatus.ACTIVE)
    requeue.end_backoff(connection, account_id, now)


def _as_before(account: Account) -> ProsperStackError:
    """What an account failed by."""
    reason = account.status_reason or "ProsperStack does not answer as it should."
    if account.status in STOPPED_STATUSES:
        return ProsperStackAuthError(
            reason, status_code=401 if account.status is AccountStatus.KEY_REFUSED else 403
        )
    return ProsperStackUnavailable(reason)


def _store_catalog(connection: Connection, account_id: str, catalog: str, *, changed: bool, now: int) -> None:
    if changed:  # a property that was made today applies to everything already received
        remap_progress.begin(connection, account_id, now)
    accounts.set_catalog(connection, account_id, catalog, now)
