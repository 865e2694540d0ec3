"""What operators choose for accounts: units of work that go on the audit trail under the ``actor``'s name.

Keys, secrets and connectors are issued and revoked by `auth.credential_service`, which does the same.
"""

from sqlalchemy import Connection

from prosperstack_destination.auth import credential_service
from prosperstack_destination.auth.api_keys import key_hash
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.errors import ConfigurationError, NotFoundError
from prosperstack_destination.store import accounts, audit_log
from prosperstack_destination.store.accounts import Account, OnDelete


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
