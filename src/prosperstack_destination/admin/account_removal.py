"""Removing an account with everything that is stored for it."""

from typing import Final

import structlog

from prosperstack_destination.clock import DAY
from prosperstack_destination.errors import NotFoundError
from prosperstack_destination.store import account_removal
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import UnitOfWork

log = structlog.get_logger(__name__)

#: Rows that are deleted in one transaction.
DELETED_AT_ONCE: Final = 2_000

#: What an operator is told before.
CONSEQUENCES: Final = (
    "Everything stored for this account is deleted: profiles, mapping, keys, secrets, connectors and the audit "
    "log. Nothing changes in ProsperStack or in Segment. It cannot be undone. A call with the account's "
    "ProsperStack key, or PROSPERSTACK_API_KEY at the next start, opens the account again, empty."
)


async def remove_account(
    store: UnitOfWork, account: Account, actor: str, now: int, at_once: int = DELETED_AT_ONCE
) -> None:
    """Delete an account and its rows, and no row of another account.

    The account is closed first; its rows are deleted in short transactions, so that calls for others are accepted
    meanwhile. Safe to repeat where it was interrupted. Tell `AdminServices.invalidate_credentials` afterwards.
    Raises `NotFoundError`.
    """
    await store.write(account_removal.close, account.id, now + DAY)
    while await store.write(account_removal.remove_some, account.id, at_once):
        pass
    if not await store.write(account_removal.finish, account.id):
        raise NotFoundError(f"There is no account {account.fingerprint}: it was removed before.")
    log.info("account removed", account=account.fingerprint, actor=actor)
