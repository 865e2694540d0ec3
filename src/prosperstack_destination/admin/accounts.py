"""Accounts: open, find, configure and remove. Each change goes to the audit log under the ``actor``'s name.

`auth.credentials` issues and revokes keys, secrets and connector tokens in the same way.
"""

from typing import Final
from zoneinfo import available_timezones

import structlog
from sqlalchemy import Connection

from prosperstack_destination.account_mapping import change_time_zone
from prosperstack_destination.auth import credentials as issuing
from prosperstack_destination.auth.api_keys import key_hash
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.clock import DAY
from prosperstack_destination.errors import ConfigurationError, NotFoundError
from prosperstack_destination.mapping.name_matching import closest
from prosperstack_destination.store import accounts, activity
from prosperstack_destination.store.accounts import Account, HoldUnknown, OnDelete
from prosperstack_destination.store.database import UnitOfWork


def open_account(connection: Connection, key: str, vault: Vault, actor: str, now: int) -> tuple[Account, bool]:
    """Open the account of a ProsperStack key, and return it and whether it is new. Safe to repeat.

    Check the key first (`AdminServices.check_key`). Call `AdminServices.wake` and
    `AdminServices.invalidate_credentials` afterwards. Raises `ConfigurationError` if the text is no key.
    """
    known = accounts.find_by_key_hash(connection, key_hash(key))
    return issuing.open_account(connection, key, vault, actor, now), known is None


def find(connection: Connection, name: str) -> Account:
    """Return the account with this ID or fingerprint. Raises `NotFoundError`."""
    account = accounts.get(connection, name)
    if account is None:
        account = next((each for each in accounts.all_accounts(connection) if each.fingerprint == name), None)
    if account is None:
        raise NotFoundError(f"There is no account {name!r}.")
    return account


def set_on_delete(connection: Connection, account: Account, on_delete: OnDelete, actor: str, now: int) -> None:
    """Set the effect of a deletion in ProsperStack. Safe to repeat."""
    accounts.set_on_delete(connection, account.id, on_delete)
    details = {"on_delete": on_delete.value}
    activity.record_action(connection, account.id, now, actor=actor, action="set", details=details)


def set_reserve(connection: Connection, account: Account, reserve: float | None, actor: str, now: int) -> None:
    """Set the part of the rate limit that is kept free for the account's owner, from 0 to less than 1.

    None means the service's setting (RATE_LIMIT_RESERVE). It takes effect within seconds, also for running
    deliveries. Raises `ConfigurationError` for another number. Safe to repeat.
    """
    if reserve is not None and not 0 <= reserve < 1:  # which NaN is not either
        raise ConfigurationError(
            "The reserve is the part of the rate limit kept free for your own tools: 0 to less than 1, as in 0.1."
        )
    accounts.set_reserve(connection, account.id, reserve)
    activity.record_action(connection, account.id, now, actor=actor, action="set", details={"reserve": reserve})


def set_time_zone(connection: Connection, account: Account, time_zone: str, actor: str, now: int) -> None:
    """Set the zone in which rules see the day. Raises `ConfigurationError` for another name. Safe to repeat."""
    if time_zone not in available_timezones():
        hint = closest(time_zone, available_timezones())
        raise ConfigurationError(
            f"There is no time zone {time_zone!r}" + (f": did you mean {hint}?" if hint else ".")
        )
    change_time_zone(connection, account, time_zone, now)
    activity.record_action(connection, account.id, now, actor=actor, action="set", details={"time_zone": time_zone})


def set_hold_unknown(
    connection: Connection, account: Account, hold_unknown: HoldUnknown, actor: str, now: int
) -> None:
    """Set the calls without a known email that are held until the email is known. Safe to repeat."""
    accounts.set_hold_unknown(connection, account.id, hold_unknown)
    details = {"hold_unknown": hold_unknown.value}
    activity.record_action(connection, account.id, now, actor=actor, action="set", details=details)


log = structlog.get_logger(__name__)

#: Rows deleted in one transaction.
DELETE_BATCH: Final = 2_000

#: Warning that an operator reads before the removal.
CONSEQUENCES: Final = (
    "This deletes everything stored for the account: profiles, mapping, keys, secrets, connectors and the audit "
    "log. Nothing changes in ProsperStack or in Segment. It cannot be undone. A call with the account's "
    "ProsperStack key, or PROSPERSTACK_API_KEY at the next start, opens the account again, empty."
)


async def remove_account(
    store: UnitOfWork, account: Account, actor: str, now: int, batch: int = DELETE_BATCH
) -> None:
    """Delete an account and its rows, and no row of another account.

    The account is closed first. Its rows are then deleted in short transactions, so that calls for other accounts
    are accepted meanwhile. Safe to repeat after an interruption. Call `AdminServices.invalidate_credentials`
    afterwards. Raises `NotFoundError`.
    """
    await store.write(accounts.close, account.id, now + DAY)
    while await store.write(accounts.remove_some_rows, account.id, batch):
        pass
    if not await store.write(accounts.finish_removal, account.id):
        raise NotFoundError(f"There is no account {account.fingerprint}: it is already removed.")
    log.info("account removed", account=account.fingerprint, actor=actor)
