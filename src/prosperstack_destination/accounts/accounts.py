"""From the key that a caller shows to the account that it opens."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.accounts.catalogs import dump_catalog, list_catalog
from prosperstack_destination.accounts.issuing import new_account
from prosperstack_destination.accounts.keys import fingerprint, is_prosperstack_key, key_hash
from prosperstack_destination.accounts.vault import Vault
from prosperstack_destination.clock import MINUTE, SECOND, Clock
from prosperstack_destination.errors import (
    AccessDenied,
    CredentialsRefused,
    KeyNotPermitted,
    KeyRefused,
    KeyUnverified,
    ProsperStackError,
    RateLimited,
)
from prosperstack_destination.mapping.catalog import Catalog
from prosperstack_destination.prosperstack.client import ProsperStack
from prosperstack_destination.state import accounts as rows
from prosperstack_destination.state import credentials
from prosperstack_destination.state.accounts import Account, AccountStatus
from prosperstack_destination.state.credentials import ActiveSecret, InboundKey, KeyOrigin
from prosperstack_destination.state.database import Database

#: How long an account's row is believed before it is read again, in microseconds.
BELIEVED_FOR: Final = 2 * SECOND
#: How long a refused key is remembered, so that a flood of it costs ProsperStack nothing, in microseconds.
REFUSED_FOR: Final = 1 * MINUTE
#: Keys that are remembered at most, good and bad together.
REMEMBERED_KEYS: Final = 10_000
#: Unknown keys that ProsperStack is asked about in a second, all callers together.
CHECKS_PER_SECOND: Final = 5
#: What a caller is told to wait when a key could not be checked, in seconds.
CHECK_RETRY_SECONDS: Final = 5.0

_UNKNOWN_KEY = "The API key is not known here: copy it anew into the destination's settings in Segment."


@dataclass(frozen=True, slots=True)
class _Remembered:
    answer: Account | AccessDenied
    until: int


@dataclass(frozen=True, slots=True)
class _Secrets:
    #: By the secret in clear.
    secrets: dict[str, ActiveSecret] = field(repr=False)
    until: int


class Accounts:
    """The accounts, and the keys that open them.

    ``connect`` makes a ProsperStack client for a ProsperStack key.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        connect: Callable[[str], ProsperStack],
        clock: Clock,
        *,
        allow_pass_through: bool,
    ) -> None:
        self._database = database
        self._vault = vault
        self._connect = connect
        self._clock = clock
        self._allow_pass_through = allow_pass_through
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self._secrets: dict[str, _Secrets] = {}
        self._checks: dict[str, asyncio.Task[Account]] = {}
        self._checked_at: list[int] = []

    async def authenticate(self, key: str) -> Account:
        """The account that an inbound key opens.

        A ProsperStack key that is new to us is checked by listing its properties, once however many callers
        show it meanwhile. Raises `KeyRefused`, `KeyNotPermitted`, or `KeyUnverified` where ProsperStack could
        not be asked.
        """
        account = self.remembered(key)
        return account or await self._shared_check(key, _usual_hash(key))

    def remembered(self, key: str) -> Account | None:
        """The account that an inbound key opens, as far as that is known; None: it has to be looked for.

        Raises `AccessDenied`'s kinds where it is known to open none.
        """
        remembered = self._remembered.get(_usual_hash(key))
        if remembered is None or not self._is_fresh(remembered):
            return None
        if isinstance(remembered.answer, AccessDenied):
            raise type(remembered.answer)(str(remembered.answer))  # an exception of its own for each caller
        return remembered.answer

    async def by_id(self, account_id: str) -> Account:
        """The account with this id, for callers who authenticate otherwise. Raises `KeyRefused` for none."""
        remembered = self._remembered.get(account_id)
        if remembered is not None and self._is_fresh(remembered) and isinstance(remembered.answer, Account):
            return remembered.answer
        account = await self._database.read(rows.get, account_id)
        if account is None:
            raise KeyRefused("The URL names no account that is known here.")
        account = await self._if_not_stopped(account)
        self._remember(account_id, account, BELIEVED_FOR)
        return account

    async def shared_secrets(self, account: Account) -> Sequence[str]:
        """The secrets that may have signed a webhook for an account, in clear; believed as accounts are."""
        known = self._secrets.get(account.id)
        if known is None or not 0 <= known.until - self._clock() <= BELIEVED_FOR:
            active = await self._database.read(credentials.active_secrets, account.id)
            by_clear = {self._vault.decrypt(each.encrypted): each for each in active}
            known = self._secrets[account.id] = _Secrets(by_clear, self._clock() + BELIEVED_FOR)
        return list(known.secrets)

    async def secret_used(self, account: Account, secret: str) -> None:
        """Note that one of an account's `shared_secrets` signed a webhook, once in a minute."""
        known = self._secrets.get(account.id)
        used = None if known is None else known.secrets.get(secret)
        if known is None or used is None:  # forgotten meanwhile: the next call is noted
            return
        now = self._clock()
        if not _is_noted(used.last_used_at, now):
            known.secrets[secret] = replace(used, last_used_at=now)
            await self._database.write(credentials.mark_secret_used, used.id, now)

    def prosperstack_key(self, account: Account) -> str:
        """An account's ProsperStack key in clear: to be used, never kept or logged."""
        return self._vault.decrypt(account.encrypted_key)

    def forget(self) -> None:
        """Believe nothing that is remembered: accounts have changed."""
        self._remembered.clear()
        self._secrets.clear()

    async def configure(self, api_key: str | None, segment_keys: Sequence[str]) -> None:
        """Open the operator's account as the settings name it; keys no longer in the settings are revoked.

        ProsperStack is not asked: the service has to start while it is away. Safe to repeat.
        """
        keys = [InboundKey(key_hash(key), fingerprint(key), KeyOrigin.SETTINGS) for key in segment_keys]
        await self._database.write(self._configure, api_key, keys)
        self.forget()

    def _configure(self, connection: Connection, api_key: str | None, keys: Sequence[InboundKey]) -> None:
        now = self._clock()
        if api_key is not None:
            account = rows.of_prosperstack_key(connection, key_hash(api_key))
            if account is None:
                account = new_account(api_key, self._vault)
                rows.add(connection, account, key_hash(api_key), now)
            for key in keys:
                credentials.admit_key(connection, account.id, key, now)
        credentials.revoke_settings_keys(connection, [key.key_hash for key in keys], now)

    async def _shared_check(self, key: str, hashed: str) -> Account:
        """Check a key once for all who show it meanwhile; who hangs up does not stop the check."""
        task = self._checks.get(hashed)
        if task is None:
            task = self._checks[hashed] = asyncio.create_task(self._check(key, hashed))
            task.add_done_callback(lambda _: self._checks.pop(hashed, None))
            task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def _check(self, key: str, hashed: str) -> Account:
        try:
            account = await self._find(key, hashed)
        except AccessDenied as refusal:
            self._remember(hashed, refusal, REFUSED_FOR)
            raise
        self._remember(hashed, account, BELIEVED_FOR)
        return account

    def _is_fresh(self, remembered: _Remembered) -> bool:
        """Whether it is still believed; not where the clock was set back, either."""
        return 0 <= remembered.until - self._clock() <= REFUSED_FOR

    def _remember(self, hashed: str, answer: Account | AccessDenied, believed_for: int) -> None:
        self._remembered[hashed] = _Remembered(answer, self._clock() + believed_for)
        self._remembered.move_to_end(hashed)
        while len(self._remembered) > REMEMBERED_KEYS:
            self._remembered.popitem(last=False)

    async def _find(self, key: str, hashed: str) -> Account:
        known = await self._database.read(credentials.of_inbound_key, hashed)
        if known is not None:
            account, inbound = known
            if inbound.revoked_at is not None:
                raise KeyRefused("The API key was revoked: set another one in Segment.")
            if inbound.origin is KeyOrigin.PASS_THROUGH and not self._allow_pass_through:
                raise KeyRefused(_UNKNOWN_KEY)
            now = self._clock()
            if not _is_noted(inbound.last_used_at, now):
                await self._database.write(credentials.mark_used, hashed, now)
            return await self._if_not_stopped(account)
        if not self._allow_pass_through or not is_prosperstack_key(key):
            raise KeyRefused(_UNKNOWN_KEY)
        catalog = await self._ask(self._connect(key))
        return await self._database.write(self._open, key, hashed, catalog)

    async def _if_not_stopped(self, account: Account) -> Account:
        """The account; whether a stopped one works again is asked as often as refusals are forgotten."""
        if account.status not in rows.STOPPED:
            return account
        await self._ask(self._connect(self.prosperstack_key(account)))
        await self._database.write(rows.set_status, account.id, AccountStatus.ACTIVE)
        return replace(account, status=AccountStatus.ACTIVE, status_reason=None, status_until=None)

    async def _ask(self, prosperstack: ProsperStack) -> Catalog:
        """List a key's properties: whether it works, and what there is to map to."""
        self._count_check()
        try:
            return await list_catalog(prosperstack.list_properties)
        except CredentialsRefused as refusal:
            if refusal.status_code == 403:
                raise KeyNotPermitted(str(refusal)) from refusal
            raise KeyRefused(str(refusal)) from refusal
        except ProsperStackError as error:
            wait = error.retry_after if isinstance(error, RateLimited) else None
            raise KeyUnverified(
                f"The API key is new here and could not be checked: {error} Send the call again.",
                retry_after=wait or CHECK_RETRY_SECONDS,
            ) from error

    def _count_check(self) -> None:
        """Keep a flood of made-up keys from becoming a flood of ProsperStack's."""
        now = self._clock()
        self._checked_at = [at for at in self._checked_at if 0 <= now - at < SECOND]
        if len(self._checked_at) >= CHECKS_PER_SECOND:
            raise KeyUnverified(
                "Too many unknown API keys are being checked; send the call again.",
                retry_after=CHECK_RETRY_SECONDS,
            )
        self._checked_at.append(now)

    def _open(self, connection: Connection, key: str, hashed: str, catalog: Catalog) -> Account:
        now = self._clock()
        account = rows.of_prosperstack_key(connection, hashed)
        if account is None:
            account = new_account(key, self._vault)
            rows.add(connection, account, hashed, now)
        rows.set_catalog(connection, account.id, dump_catalog(catalog), now)
        credentials.admit_key(
            connection, account.id, InboundKey(hashed, fingerprint(key), KeyOrigin.PASS_THROUGH), now
        )
        credentials.mark_used(connection, hashed, now)
        return replace(account, catalog=dump_catalog(catalog), catalog_at=now)


#: A sender shows the same key all day. (So it is in memory in clear, as in `segment.credentials`; never on disk.)
_usual_hash: Final = lru_cache(maxsize=128)(key_hash)


def _is_noted(last_used_at: int | None, now: int) -> bool:
    """Whether a use just now need not be written down: one within the last minute was."""
    return last_used_at is not None and 0 <= now - last_used_at < MINUTE


def _retrieve(check: "asyncio.Task[Account]") -> None:
    """Look at a check's outcome even where every caller has hung up, or asyncio would warn of it."""
    if not check.cancelled():
        check.exception()
