"""Authentication of callers: the account that an inbound key opens."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.account_mapping import catalog_of, dump_catalog
from prosperstack_destination.auth.api_keys import is_prosperstack_key, key_hash
from prosperstack_destination.auth.credentials import inbound_key, new_account
from prosperstack_destination.auth.key_checks import CHECK_RETRY_SECONDS, KeyCheckLimiter
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.caches import TtlCache
from prosperstack_destination.clock import MINUTE, SECOND, Clock
from prosperstack_destination.errors import (
    AccessDenied,
    ApiKeyForbidden,
    InvalidApiKey,
    InvalidInput,
    KeyUnverified,
    ProsperStackAuthError,
    ProsperStackError,
    ProsperStackRateLimited,
)
from prosperstack_destination.prosperstack.client import ProsperStackClient
from prosperstack_destination.prosperstack.models import Page, PropertyDefinition
from prosperstack_destination.proxy_headers import client_network
from prosperstack_destination.store import accounts as rows
from prosperstack_destination.store import credentials
from prosperstack_destination.store.accounts import Account, AccountStatus
from prosperstack_destination.store.credentials import Credential, CredentialKind, KeyKind, KeyOrigin
from prosperstack_destination.store.database import Database

#: Time for which an account's row is cached, in microseconds.
CACHE_TTL: Final = 2 * SECOND
#: Time for which a refused key is cached, so that a flood of it costs ProsperStack nothing, in microseconds.
NEGATIVE_TTL: Final = 1 * MINUTE
#: Cached valid keys, and cached refused keys: a flood of the latter takes no room of the former.
MAX_CACHED_KEYS: Final = 10_000

#: Group of the checks of keys that operators enter.
OPERATORS: Final = "operators"

_UNKNOWN_KEY = "The API key is not known here: copy it again into the destination's settings in Segment."


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A cached refusal. The exception itself would keep its traceback, with all that it refers to."""

    kind: type[AccessDenied]
    message: str


class Authenticator:
    """Opens accounts by inbound keys.

    ``connect`` creates a ProsperStack client for a ProsperStack key.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        connect: Callable[[str], ProsperStackClient],
        clock: Clock,
        *,
        allow_pass_through: bool,
    ) -> None:
        self._database = database
        self._vault = vault
        self._connect = connect
        self._clock = clock
        self._allow_pass_through = allow_pass_through
        #: Accounts by the hash of a key, and by id.
        self._cached: TtlCache[str, Account] = TtlCache(CACHE_TTL, MAX_CACHED_KEYS, clock)
        self._refusals: TtlCache[str, _Refusal] = TtlCache(NEGATIVE_TTL, MAX_CACHED_KEYS, clock)
        #: Active secrets by their clear text, by account ID.
        self._secrets: TtlCache[str, dict[str, Credential]] = TtlCache(CACHE_TTL, MAX_CACHED_KEYS, clock)
        self._checks: dict[str, asyncio.Task[Account]] = {}
        self._limiter = KeyCheckLimiter()

    async def authenticate(self, key: str, address: str) -> Account:
        """Return the account that an inbound key opens.

        An unknown ProsperStack key is checked by listing its properties: once for all callers that send it
        meanwhile, and within the limit of the client's network at ``address``. Raises `InvalidApiKey`,
        `ApiKeyForbidden`, or `KeyUnverified` where ProsperStack could not be asked.
        """
        account = self.cached(key)
        hashed = _cached_hash(key)
        return account or await self._find_once(hashed, partial(self._authenticate, key, hashed, address))

    def cached(self, key: str) -> Account | None:
        """Return the account that an inbound key opens if it is cached; None: not cached.

        Raises a cached `AccessDenied`.
        """
        return self._lookup(_cached_hash(key))

    async def by_id(self, account_id: str) -> Account:
        """Return the account with this id, for callers that authenticate otherwise.

        Raises `InvalidApiKey` for an unknown id.
        """
        account = self._lookup(account_id)
        if account is not None:
            return account
        account = await self._database.read(rows.get, account_id)
        if account is None:
            raise InvalidApiKey("The URL names no account that is known here.")
        return await self._find_once(account_id, partial(self._revalidate_if_stopped, account))

    async def shared_secrets(self, account: Account) -> Sequence[str]:
        """Return the secrets that may have signed a webhook for an account, in clear; cached as accounts are."""
        cached = self._secrets.get(account.id)
        if cached is None:
            active = await self._database.read(credentials.active, CredentialKind.SECRET, account.id)
            cached = self._secrets.put(account.id, {self._vault.decrypt(each.encrypted): each for each in active})
        return list(cached)

    async def touch_secret(self, account: Account, secret: str) -> None:
        """Store that one of an account's `shared_secrets` signed a webhook, at most once a minute."""
        cached = self._secrets.get(account.id) or {}
        active = cached.get(secret)
        if active is None:  # invalidated meanwhile: the next call stores the use
            return
        now = self._clock()
        if not _was_used_recently(active.last_used_at, now):
            cached[secret] = replace(active, last_used_at=now)
            await self._database.write(credentials.mark_used, CredentialKind.SECRET, [active.hash], now)

    async def check_key(self, key: str) -> None:
        """Check with ProsperStack that a key works, before an operator's entry is stored.

        Texts without the form of a key are not checked. Raises `InvalidInput` where the key does not work,
        and `KeyUnverified` where ProsperStack could not be asked.
        """
        if not is_prosperstack_key(key):
            return
        try:
            await self._check_key(self._connect(key), OPERATORS)
        except AccessDenied as refusal:
            raise InvalidInput(f"{refusal} Nothing was changed: copy the key again from ProsperStack.") from refusal

    def prosperstack_key(self, account: Account) -> str:
        """Return an account's ProsperStack key in clear: use it, never keep or log it."""
        return self._vault.decrypt(account.encrypted_key)

    def invalidate(self) -> None:
        """Clear the caches, because accounts changed."""
        self._cached.clear()
        self._refusals.clear()
        self._secrets.clear()

    async def sync_from_settings(self, api_key: str | None, segment_keys: Sequence[str]) -> None:
        """Open the account that the settings name, and revoke keys that the settings no longer name.

        ProsperStack is not asked: the service has to start while it is unavailable. Safe to repeat.
        """
        await self._database.write(self._configure, api_key, segment_keys)
        self.invalidate()

    def _configure(self, connection: Connection, api_key: str | None, segment_keys: Sequence[str]) -> None:
        now = self._clock()
        if api_key is not None:
            account = rows.find_by_key_hash(connection, key_hash(api_key))
            if account is None:
                account = new_account(api_key, self._vault)
                rows.add(connection, account, key_hash(api_key), now)
            for key in segment_keys:
                credentials.accept(connection, inbound_key(account.id, key, KeyOrigin.SETTINGS, now))
        credentials.revoke_settings_keys(connection, map(key_hash, segment_keys), now)

    async def _find_once(self, name: str, find: Callable[[], Awaitable[Account]]) -> Account:
        """Find an account once for all concurrent callers; a caller that hangs up does not stop it."""
        task = self._checks.get(name)
        if task is None:
            task = self._checks[name] = asyncio.create_task(self._find_and_cache(name, find))
            task.add_done_callback(lambda _: self._checks.pop(name, None))
            task.add_done_callback(_retrieve_result)
        return await asyncio.shield(task)

    async def _find_and_cache(self, name: str, find: Callable[[], Awaitable[Account]]) -> Account:
        """Find an account, and cache the result."""
        try:
            account = await find()
        except AccessDenied as error:
            self._refusals.put(name, _Refusal(type(error), str(error)))
            raise
        self._refusals.remove(name)
        return self._cached.put(name, account)

    def _lookup(self, name: str) -> Account | None:
        account = self._cached.get(name)
        if account is not None:
            return account
        refusal = self._refusals.get(name)
        if refusal is not None:
            raise refusal.kind(refusal.message)
        return None

    async def _authenticate(self, key: str, hashed: str, address: str) -> Account:
        row = await self._database.read(credentials.find_key, hashed)
        if row is not None:
            account, inbound = row
            if inbound.revoked_at is not None:
                raise InvalidApiKey("The API key was revoked: set another one in Segment.")
            if inbound.key_kind is KeyKind.PUBLIC:
                raise ApiKeyForbidden(
                    "This is a public key: it may only send Identify calls, under /v1/. Use a secret key here; "
                    "create one with `keys issue`."
                )
            if inbound.origin is KeyOrigin.PASS_THROUGH and not self._allow_pass_through:
                raise InvalidApiKey(_UNKNOWN_KEY)
            now = self._clock()
            if not _was_used_recently(inbound.last_used_at, now):
                await self._database.write(credentials.mark_used, CredentialKind.KEY, [hashed], now)
            return await self._revalidate_if_stopped(account)
        if not self._allow_pass_through or not is_prosperstack_key(key):
            raise InvalidApiKey(_UNKNOWN_KEY)
        properties = await self._check_key(self._connect(key), client_network(address))
        return await self._database.write(self._open_account, key, hashed, properties)

    async def _revalidate_if_stopped(self, account: Account) -> Account:
        """Return the account. A stopped one is checked with ProsperStack first, as often as refusals expire."""
        if account.status not in rows.STOPPED_STATUSES:
            return account
        await self._check_key(self._connect(self.prosperstack_key(account)), account.id)
        await self._database.write(rows.set_status, account.id, AccountStatus.ACTIVE)
        return replace(account, status=AccountStatus.ACTIVE, status_reason=None, status_until=None)

    async def _check_key(self, prosperstack: ProsperStackClient, group: str) -> Page[PropertyDefinition]:
        """Return the first page of a key's properties, which shows that the key works.

        It is one request. The reconciler lists further pages within the account's budget.
        """
        await self._limiter.turn(group)
        try:
            return await prosperstack.list_properties()
        except ProsperStackAuthError as refusal:
            if refusal.status_code == 403:
                raise ApiKeyForbidden(str(refusal)) from refusal
            raise InvalidApiKey(str(refusal)) from refusal
        except ProsperStackError as error:
            wait = error.retry_after if isinstance(error, ProsperStackRateLimited) else None
            raise KeyUnverified(
                f"The API key has not been verified yet: {error} Send the call again.",
                retry_after=wait or CHECK_RETRY_SECONDS,
            ) from error

    def _open_account(
        self, connection: Connection, key: str, hashed: str, properties: Page[PropertyDefinition]
    ) -> Account:
        now = self._clock()
        account = rows.find_by_key_hash(connection, hashed)
        if account is None:
            account = new_account(key, self._vault)
            rows.add(connection, account, hashed, now)
        catalog = dump_catalog(catalog_of(properties.data))
        rows.set_catalog(connection, account.id, catalog, now)
        if properties.next_cursor:
            rows.expire_catalog(connection, account.id)
        credentials.accept(connection, inbound_key(account.id, key, KeyOrigin.PASS_THROUGH, now))
        credentials.mark_used(connection, CredentialKind.KEY, [hashed], now)
        return replace(account, catalog=catalog, catalog_at=None if properties.next_cursor else now)


#: Hashes of recent keys: senders repeat the same key. (So keys are in memory in clear, as in
#: `ingest.basic_auth`; never on disk.)
_cached_hash: Final = lru_cache(maxsize=128)(key_hash)


def _was_used_recently(last_used_at: int | None, now: int) -> bool:
    """Return whether a use was stored within the last minute, so that this one need not be."""
    return last_used_at is not None and 0 <= now - last_used_at < MINUTE


def _retrieve_result(check: "asyncio.Task[Account]") -> None:
    """Retrieve a check's result even where every caller has hung up, so that asyncio does not warn."""
    if not check.cancelled():
        check.exception()
