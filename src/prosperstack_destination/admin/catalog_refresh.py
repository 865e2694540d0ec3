"""Catalog refresh on demand. An idle account lists its properties once a day, so operators may see old ones."""

import structlog

from prosperstack_destination.account_mapping import MIN_REFRESH_INTERVAL, may_refresh
from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.errors import ProsperStackError
from prosperstack_destination.store import accounts
from prosperstack_destination.store.accounts import STOPPED_STATUSES, Account

log = structlog.get_logger(__name__)


async def refresh_if_stale(services: AdminServices, account: Account) -> None:
    """Request a background refresh of the catalog if it is older than `LISTED_AGAIN_AFTER`.

    The caller shows the stored catalog meanwhile. Safe to repeat. Raises `StoreUnavailable`.
    """
    before = services.clock() - MIN_REFRESH_INTERVAL
    if account.catalog_at is None or account.catalog_at > before:
        return
    if await services.database.write(accounts.expire_catalog, account.id, before):
        services.wake([account.id])


async def current_properties(services: AdminServices, account: Account) -> Account:
    """Return the account with its properties listed now.

    This sends at most one request every 10 s. If it fails, the stored properties stay.
    """
    latest = await services.database.read(accounts.get, account.id) or account
    if latest.status in STOPPED_STATUSES or not may_refresh(latest, services.clock()):
        return latest
    try:
        refreshed = await services.refresh_catalog(latest)
    except ProsperStackError as error:
        log.warning(
            "catalog refresh failed; using stored properties", account=account.fingerprint, reason=str(error)
        )
        return latest
    services.on_change()
    return refreshed
