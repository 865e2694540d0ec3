"""Listing an account's properties now: a rule names one that is not known, and it may be new in ProsperStack."""

from functools import partial
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.accounts.catalogs import dump_catalog, fetch_catalog
from prosperstack_destination.clock import SECOND
from prosperstack_destination.prosperstack.client import ProsperStackClient
from prosperstack_destination.state import accounts, reprojections
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.database import UnitOfWork

#: Properties that were listed within this time are not listed again, in microseconds.
LISTED_AGAIN_AFTER: Final = 10 * SECOND


def may_refresh(account: Account, now: int) -> bool:
    """Whether an account's properties are old enough to be listed again because of a name that is not known."""
    return account.catalog_at is None or not 0 <= now - account.catalog_at < LISTED_AGAIN_AFTER


async def refresh_catalog(
    store: UnitOfWork, account: Account, prosperstack: ProsperStackClient, now: int
) -> Account:
    """List an account's properties and store them: a request, and one more where rules name subscriptions'.

    Profiles are gone through again where they changed. Raises `ProsperStackError`. Safe to repeat.
    """
    catalog = dump_catalog(await fetch_catalog(prosperstack.list_properties))
    of_subscriptions = account.subscription_catalog
    if of_subscriptions is not None:
        fetch = partial(prosperstack.list_properties, entity="subscription")
        of_subscriptions = dump_catalog(await fetch_catalog(fetch, "subscription"))

    def keep(connection: Connection) -> Account:
        if (catalog, of_subscriptions) != (account.catalog, account.subscription_catalog):
            reprojections.begin(connection, account.id, now)
        accounts.set_catalog(connection, account.id, catalog, now)
        if of_subscriptions is not None:
            accounts.set_subscription_catalog(connection, account.id, of_subscriptions)
        return accounts.get(connection, account.id) or account

    return await store.write(keep)
