"""Maintenance of one account: its catalog, its status, and the properties that its mapping creates."""

from collections.abc import Awaitable
from dataclasses import replace
from functools import partial
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.account_mapping import AccountMapping, dump_catalog, fetch_catalog, load, load_catalog
from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import ProsperStackAuthError, ProsperStackError, ProsperStackUnavailable
from prosperstack_destination.mapping.rules import CreateMissing
from prosperstack_destination.prosperstack.models import Page, PropertyDefinition
from prosperstack_destination.reconcile.property_creation import create_missing
from prosperstack_destination.reconcile.subscriptions import SubscriptionUpdater
from prosperstack_destination.reconcile.worker_context import RequestInfo, WorkerContext
from prosperstack_destination.store import account_stats, accounts, mappings, queue, requeue
from prosperstack_destination.store.accounts import (
    STOPPED_STATUSES,
    Account,
    AccountStatus,
)
from prosperstack_destination.store.queue import CATALOG_MAX_AGE, IDLE_CATALOG_MAX_AGE

#: Interval between two checks for properties to create, in microseconds.
CREATE_INTERVAL: Final = 1 * SECOND


class AccountMaintenance:
    """Maintains one account. ``account`` is its current state."""

    def __init__(
        self, account: Account, ctx: WorkerContext, subscriptions: SubscriptionUpdater, ticks: Clock
    ) -> None:
        self.account = account
        #: The mapping as it was read last; None: not yet.
        self.mapping: AccountMapping | None = None
        self._ctx = ctx
        self._subscriptions = subscriptions
        self._ticks = ticks
        #: Time of the latest check for properties to create, in ticks.
        self._created_at: int | None = None
        #: The catalog was listed to probe a failing account.
        self._probed = False

    async def run_if_due(self) -> None:
        """List the catalog when it is old, or as a probe where requests failed.

        A failing account works again when a request of the failed kind succeeds: see `FailureStreaks`.
        """
        streaks = self._ctx.rate_limiter.streaks
        old = await self._catalog_is_old()
        if old or streaks.needs_probe or (self._is_failing and not self._probed):
            await self._refresh_catalog()
            streaks.probe_succeeded()
        if self._is_failing and not self._probed:
            streaks.start_retry()
            self._probed = True
        if self._is_failing and not streaks.broken:
            await self._mark_active()
        await self._create_missing(look=old)

    async def finish(self) -> None:
        """Decide, when nothing can be sent now, whether a failing account works again.

        It does where nothing waits. Raises `ProsperStackError` where something does: the account keeps waiting.
        """
        if not self._is_failing:
            return
        if await self._ctx.database.read(account_stats.has_waiting, self.account.id):
            raise _stored_error(self.account)
        self._ctx.rate_limiter.streaks.reset()
        await self._mark_active()

    @property
    def _is_failing(self) -> bool:
        return self.account.status is not AccountStatus.ACTIVE

    async def _mark_active(self) -> None:
        self._ctx.rate_limiter.failures = 0
        await self._ctx.database.write(_activate, self.account.id, self._ctx.clock())
        self.account = replace(self.account, status=AccountStatus.ACTIVE)
        self._ctx.log.info("the account works again")

    async def _catalog_is_old(self) -> bool:
        listed_at, now = self.account.catalog_at, self._ctx.clock()
        if listed_at is None or not 0 <= now - listed_at < IDLE_CATALOG_MAX_AGE:
            return True
        # An idle account still refreshes its listing now and then: that does not require listing its properties.
        if now - listed_at < CATALOG_MAX_AGE:
            return False
        return not await self._ctx.database.read(queue.is_account_idle, self.account.id, now)

    async def _create_missing(self, *, look: bool) -> None:
        """Create the properties that the mapping asks for; ``look``: also scan all profiles' traits."""
        if not look and self.mapping is not None and self.mapping.rules.create_missing is CreateMissing.NONE:
            return
        ticks = self._ticks()
        if not look and self._created_at is not None and 0 <= ticks - self._created_at < CREATE_INTERVAL:
            return
        self._created_at = ticks
        ctx = self._ctx
        mapping = await ctx.database.read(load, self.account)
        if await create_missing(ctx, mapping, look=look):
            await self._refresh_catalog()

    async def _refresh_catalog(self) -> None:
        def fetch(cursor: str | None) -> Awaitable[Page[PropertyDefinition]]:
            return self._ctx.send(
                RequestInfo("GET /properties"), partial(self._ctx.prosperstack.list_properties, cursor)
            )

        catalog = dump_catalog(await fetch_catalog(fetch))
        now = self._ctx.clock()
        changed = catalog != self.account.catalog
        await self._ctx.database.write(_store_catalog, self.account.id, catalog, changed=changed, now=now)
        self.account = replace(self.account, catalog=catalog, catalog_at=now)
        self.account = await self._subscriptions.refresh_catalog(self.account)
        if changed:
            self._ctx.log.info("the catalog of properties changed", properties=len(load_catalog(catalog)))


def _activate(connection: Connection, account_id: str, now: int) -> None:
    """Mark an account as active, and make what failed meanwhile due now."""
    accounts.set_status(connection, account_id, AccountStatus.ACTIVE)
    requeue.end_backoff(connection, account_id, now)


def _stored_error(account: Account) -> ProsperStackError:
    """Return the error that an account's stored status describes."""
    reason = account.status_reason or "ProsperStack does not answer as it should."
    if account.status in STOPPED_STATUSES:
        return ProsperStackAuthError(
            reason, status_code=401 if account.status is AccountStatus.KEY_REFUSED else 403
        )
    return ProsperStackUnavailable(reason)


def _store_catalog(connection: Connection, account_id: str, catalog: str, *, changed: bool, now: int) -> None:
    if changed:  # a new property applies to everything already received
        mappings.begin_remap(connection, account_id, now)
    accounts.set_catalog(connection, account_id, catalog, now)
