"""Somebody looks at an account's properties: an idle account lists them once a day only, so they may be old."""

from prosperstack_destination.operations.desk import Desk
from prosperstack_destination.state import accounts
from prosperstack_destination.state.accounts import CATALOG_FOR, Account


async def looked_at(desk: Desk, account: Account) -> None:
    """Have the properties listed anew if they are old; whoever looks is shown the old ones, and waits for nothing.

    Safe to repeat. Raises `StoreUnavailable`.
    """
    before = desk.clock() - CATALOG_FOR
    if account.catalog_at is None or account.catalog_at > before:
        return
    if await desk.database.write(accounts.expire_catalog, account.id, before):
        desk.wake([account.id])
