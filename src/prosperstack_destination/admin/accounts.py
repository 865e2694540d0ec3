"""Accounts: open, find, configure and remove. Each change goes to the audit log under the ``actor``'s name.

`admin.credentials` issues and revokes keys, secrets and connector tokens in the same way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import EllipsisType
from typing import Final
from zoneinfo import available_timezones

import structlog
from sqlalchemy import Connection

from prosperstack_destination.account_mapping import change_time_zone
from prosperstack_destination.auth import credentials as issuing
from prosperstack_destination.auth.api_keys import is_prosperstack_key, key_hash
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.clock import DAY
from prosperstack_destination.errors import (
    InvalidInput,
    NotFoundError,
    ProsperStackAuthError,
    ProsperStackError,
    ProsperStackRateLimited,
)
from prosperstack_destination.mapping.name_matching import closest
from prosperstack_destination.prosperstack.client import ProsperStackClient
from prosperstack_destination.store import accounts, activity, credentials, sources
from prosperstack_destination.store.accounts import Account, HoldUnknown, OnDelete
from prosperstack_destination.store.activity import AuditEntry
from prosperstack_destination.store.credentials import Credential, CredentialKind
from prosperstack_destination.store.database import UnitOfWork
from prosperstack_destination.store.sources import KnownSource

log = structlog.get_logger(__name__)

#: Rows deleted in one transaction.
DELETE_BATCH: Final = 2_000

#: Warning that an operator reads before the removal.
CONSEQUENCES: Final = (
    "This deletes everything stored for the account: profiles, mapping, keys, secrets, connectors and the audit "
    "log. Nothing changes in ProsperStack or in Segment. It cannot be undone. A call with the account's "
    "ProsperStack key, or PROSPERSTACK_API_KEY at the next start, opens the account again, empty."
)
#: Message for a database without an account.
NO_ACCOUNT: Final = "There is no account yet. Send a call with its key, or run `accounts add`."


def list_accounts(connection: Connection) -> list[Account]:
    """Return all accounts, oldest first."""
    return accounts.all_accounts(connection)


def open_account(connection: Connection, key: str, vault: Vault, actor: str, now: int) -> tuple[Account, bool]:
    """Open the account of a ProsperStack key, and return it and whether it is new. Safe to repeat.

    Check the key first (`AdminServices.check_key`). Call `AdminServices.wake` and
    `AdminServices.invalidate_credentials` afterwards. Raises `InvalidInput` if the text is not a key.
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


def resolve(connection: Connection, name: str | None) -> Account:
    """Return the account with this ID or fingerprint, or the only account.

    Raises `InvalidInput` that lists the accounts if none or several match.
    """
    every = accounts.all_accounts(connection)
    matching = [each for each in every if name is None or name in (each.id, each.fingerprint)]
    if len(matching) == 1:
        return matching[0]
    if not every:
        raise InvalidInput(NO_ACCOUNT)
    names = ", ".join(each.fingerprint for each in every)
    reason = "There are several accounts" if name is None else f"There is no account {name!r}"
    raise InvalidInput(f"{reason}: choose one with --account ({names}).")


def resolve_optional(connection: Connection, name: str | None) -> Account | None:
    """Return the account with this name, or the only account; None without a name if there is not one account."""
    several = name is None and len(accounts.all_accounts(connection)) != 1
    return None if several else resolve(connection, name)


def list_sources(connection: Connection, account: Account) -> list[KnownSource]:
    """Return the sources of an account's calls, latest call first."""
    return sources.of_account(connection, account.id)


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """Credentials, sources and audit log of an account, of one snapshot."""

    #: By kind: active ones before revoked ones, each group newest first.
    credentials: Mapping[CredentialKind, list[Credential]]
    sources: list[KnownSource]
    audit: list[AuditEntry]


def settings_of(connection: Connection, account: Account, limit: int) -> AccountSettings:
    """Return the settings of an account, with at most ``limit`` entries of the audit log."""
    by_kind = {
        kind: sorted(
            credentials.of_kind(connection, kind, account.id), key=lambda each: each.revoked_at is not None
        )
        for kind in (CredentialKind.KEY, CredentialKind.SECRET, CredentialKind.CONNECTOR)
    }
    return AccountSettings(by_kind, list_sources(connection, account), audit(connection, account, limit))


def audit(connection: Connection, account: Account, limit: int) -> list[AuditEntry]:
    """Return an account's audit log, newest first."""
    return activity.recent_actions(connection, account.id, limit)


async def check_key(client: ProsperStackClient, key: str, base_url: str) -> None:
    """Raise `InvalidInput` if ProsperStack refuses a key, or does not answer. For commands.

    Text without the form of a ProsperStack key is not sent.
    """
    if not is_prosperstack_key(key):
        return
    try:
        await client.list_properties()
    except ProsperStackRateLimited:
        return  # the key was not refused
    except ProsperStackAuthError as refusal:
        raise InvalidInput(f"{refusal} Nothing was changed: copy the key again from ProsperStack.") from None
    except ProsperStackError as error:
        raise InvalidInput(
            f"The key could not be checked at {base_url}: {error} Nothing was changed. Try again, or use "
            "--unchecked if this machine cannot reach ProsperStack."
        ) from None


def replace_key(connection: Connection, account: Account, key: str, vault: Vault, actor: str, now: int) -> Account:
    """Replace the account's ProsperStack key, and return the account.

    Check the key first (`AdminServices.check_key`). Call `AdminServices.wake` and
    `AdminServices.invalidate_credentials` afterwards. Raises `InvalidInput` for text that is not a key, a key of
    the other mode, and the key of another account.
    """
    issuing.replace_key(connection, account, key, vault, actor, now)
    return find(connection, account.id)


@dataclass(frozen=True, slots=True)
class AccountChanges:
    """Settings of an account to change; None means unchanged."""

    on_delete: OnDelete | None = None
    #: See `set_reserve` for None; ``...`` means unchanged.
    reserve: float | EllipsisType | None = ...
    hold_unknown: HoldUnknown | None = None
    time_zone: str | None = None


def change(connection: Connection, account: Account, changes: AccountChanges, actor: str, now: int) -> Account:
    """Change settings of an account, and return it. Safe to repeat.

    Raises `InvalidInput` for an invalid one.
    """
    if changes.on_delete is not None:
        set_on_delete(connection, account, changes.on_delete, actor, now)
    if not isinstance(changes.reserve, EllipsisType):
        set_reserve(connection, account, changes.reserve, actor, now)
    if changes.hold_unknown is not None:
        set_hold_unknown(connection, account, changes.hold_unknown, actor, now)
    if changes.time_zone is not None:
        set_time_zone(connection, account, changes.time_zone, actor, now)
    return find(connection, account.id)


def set_on_delete(connection: Connection, account: Account, on_delete: OnDelete, actor: str, now: int) -> None:
    """Set the effect of a deletion in ProsperStack. Safe to repeat."""
    accounts.set_on_delete(connection, account.id, on_delete)
    details = {"on_delete": on_delete.value}
    activity.record_action(connection, account.id, now, actor=actor, action="set", details=details)


def set_reserve(connection: Connection, account: Account, reserve: float | None, actor: str, now: int) -> None:
    """Set the part of the rate limit that is kept free for the account's owner, from 0 to less than 1.

    None means the service's setting (RATE_LIMIT_RESERVE). It takes effect within seconds, also for running
    deliveries. Raises `InvalidInput` for another number. Safe to repeat.
    """
    if reserve is not None and not 0 <= reserve < 1:  # which NaN is not either
        raise InvalidInput(
            "The reserve is the part of the rate limit kept free for your own tools: 0 to less than 1, e.g. 0.1."
        )
    accounts.set_reserve(connection, account.id, reserve)
    activity.record_action(connection, account.id, now, actor=actor, action="set", details={"reserve": reserve})


def set_time_zone(connection: Connection, account: Account, time_zone: str, actor: str, now: int) -> None:
    """Set the zone in which rules see the day. Raises `InvalidInput` for another name. Safe to repeat."""
    if time_zone not in available_timezones():
        hint = closest(time_zone, available_timezones())
        raise InvalidInput(f"There is no time zone {time_zone!r}" + (f": did you mean {hint}?" if hint else "."))
    change_time_zone(connection, account, time_zone, now)
    activity.record_action(connection, account.id, now, actor=actor, action="set", details={"time_zone": time_zone})


def set_hold_unknown(
    connection: Connection, account: Account, hold_unknown: HoldUnknown, actor: str, now: int
) -> None:
    """Set the calls without a known email that are held until the email is known. Safe to repeat."""
    accounts.set_hold_unknown(connection, account.id, hold_unknown)
    details = {"hold_unknown": hold_unknown.value}
    activity.record_action(connection, account.id, now, actor=actor, action="set", details=details)


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
