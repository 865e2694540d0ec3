"""What operators choose for accounts: units of work that go on the audit trail under the ``actor``'s name.

Keys, secrets and connectors are issued and revoked by `auth.credential_service`, which does the same.
"""

from typing import Final

import structlog
from sqlalchemy import Connection

from prosperstack_destination.auth import credential_service
from prosperstack_destination.auth.api_keys import key_hash
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.clock import DAY
from prosperstack_destination.errors import ConfigurationError, NotFoundError
from prosperstack_destination.store import account_removal, accounts, audit_log
from prosperstack_destination.store.accounts import Account, OnDelete
from prosperstack_destination.store.database import UnitOfWork


def open_account(connection: Connection, key: str, vault: Vault, actor: str, now: int) -> tuple[Account, bool]:
    """Open the account of a ProsperStack key; whether it is new. Repeated: the same account, which is not new.

    Check the key first (`AdminServices.check_key`), and tell `AdminServices.wake` and
    `AdminServices.invalidate_credentials` afterwards. Raises
    `ConfigurationError` for what is no key.
    """
    known = accounts.of_prosperstack_key(connection, key_hash(key))
    return credential_service.open_account(connection, key, vault, actor, now), known is None


def find(connection: Connection, name: str) -> Account:
    """The account with this id or fingerprint. Raises `NotFoundError`."""
    account = accounts.get(connection, name)
    if account is None:
        account = next((each for each in accounts.all_accounts(connection) if each.fingerprint == name), None)
    if account is None:
        raise NotFoundError(f"There is no account {name!r}.")
    return account


def set_on_delete(connection: Connection, account: Account, on_delete: OnDelete, actor: str, now: int) -> None:
    """Choose what a deletion does in ProsperStack from now on. Safe to repeat."""
    accounts.set_on_delete(connection, account.id, on_delete)
    details = {"on_delete": on_delete.value}
    audit_log.record(connection, account.id, now, actor=actor, action="set", details=details)


def set_reserve(connection: Connection, account: Account, reserve: float | None, actor: str, now: int) -> None:
    """Choose the part of the rate limit that is left to the account's owner, from 0 to less than 1.

    None: as the service is set (RATE_LIMIT_RESERVE). It counts within seconds, also for what is under way. Raises
    `ConfigurationError` for another number. Safe to repeat.
    """
    if reserve is not None and not 0 <= reserve < 1:  # which NaN is not either
        raise ConfigurationError(
            "What is left of the rate limit to the account's owner is a part of it: 0 or more, less than 1, as 0.1."
        )
    accounts.set_reserve(connection, account.id, reserve)
    audit_log.record(connection, account.id, now, actor=actor, action="set", details={"reserve": reserve})


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
