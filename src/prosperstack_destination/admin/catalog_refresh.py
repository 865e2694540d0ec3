"""Properties of an account for an operator who looks: an idle account lists them once a day, so they may be old."""

import structlog

from prosperstack_destination.account_mapping import MIN_REFRESH_INTERVAL, may_refresh
from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.errors import ProsperStackError
from prosperstack_destination.store import accounts
from prosperstack_destination.store.accounts import STOPPED_STATUSES, Account

log = structlog.get_logger(__name__)


async def refresh_if_stale(services: AdminServices, account: Account) -> None:
    """Have the properties listed again in the background unless that was done seconds ago; the old ones are shown.

    Safe to repeat. Raises `StoreUnavailable`.
    """
    before = services.clock() - MIN_REFRESH_INTERVAL
    if account.catalog_at is None or account.catalog_at > before:
        return
    if await services.database.write(accounts.expire_catalog, account.id, before):
        services.wake([account.id])


async def current_properties(services: AdminServices, account: Account) -> Account:
    """The account with its properties listed now: one request at most each 10 s; where it fails the old ones."""
    latest = await services.database.read(accounts.get, account.id) or account
    if latest.status in STOPPED_STATUSES or not may_refresh(latest, services.clock()):
        return latest
    try:
        refreshed = await services.refresh_catalog(latest)
    except ProsperStackError as error:
        log.warning("the properties could not be listed", account=account.fingerprint, reason=str(error))
        return latest
    services.on_change()
    return refreshed
