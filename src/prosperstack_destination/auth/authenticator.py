"""From the key that a caller shows to the account that it opens."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Final, TypeVar

from sqlalchemy import Connection

from prosperstack_destination.account_mapping import catalog_of, dump_catalog
from prosperstack_destination.auth.api_keys import fingerprint, is_prosperstack_key, key_hash
from prosperstack_destination.auth.credential_service import new_account
from prosperstack_destination.auth.key_checks import CHECK_RETRY_SECONDS, KeyCheckLimiter
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.clock import MINUTE, SECOND, Clock
from prosperstack_destination.errors import (
    AccessDenied,
    ApiKeyForbidden,
    ConfigurationError,
    InvalidApiKey,
    KeyUnverified,
    ProsperStackAuthError,
    ProsperStackError,
    ProsperStackRateLimited,
)
from prosperstack_destination.forwarded import client_network
from prosperstack_destination.prosperstack.client import ProsperStackClient
from prosperstack_destination.prosperstack.models import Page, PropertyDefinition
from prosperstack_destination.store import accounts as rows
from prosperstack_destination.store import credentials
from prosperstack_destination.store.accounts import Account, AccountStatus
from prosperstack_destination.store.credentials import ActiveSecret, InboundKey, KeyKind, KeyOrigin
from prosperstack_destination.store.database import Database

#: How long an account's row is believed before it is read again, in microseconds.
CACHE_TTL: Final = 2 * SECOND
#: How long a refused key is remembered, so that a flood of it costs ProsperStack nothing, in microseconds.
NEGATIVE_TTL: Final = 1 * MINUTE
#: Good keys that are remembered at most, and refused ones: a flood of the latter takes no room of the former.
MAX_CACHED_KEYS: Final = 10_000

#: Those for whom a key is checked that an operator enters.
OPERATORS: Final = "operators"

T = TypeVar("T")

_UNKNOWN_KEY = "The API key is not known here: copy it anew into the destination's settings in Segment."


@dataclass(frozen=True, slots=True)
class _CachedAnswer:
    account: Account
    until: int


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A refusal as it is remembered: the exception itself would keep its traceback, with all that it refers to."""

    kind: type[AccessDenied]
    message: str
    until: int


@dataclass(frozen=True, slots=True)
class _Secrets:
    #: By the secret in clear.
    secrets: dict[str, ActiveSecret] = field(repr=False)
    until: int


class Authenticator:
    """The accounts, and the keys that open them.

    ``connect`` makes a ProsperStack client for a ProsperStack key.
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
        #: By the key's hash, and by the account's id.
        self._remembered: OrderedDict[str, _CachedAnswer] = OrderedDict()
        self._refusals: OrderedDict[str, _Refusal] = OrderedDict()
        self._secrets: dict[str, _Secrets] = {}
        self._checks: dict[str, asyncio.Task[Account]] = {}
        self._limiter = KeyCheckLimiter()

    async def authenticate(self, key: str, address: str) -> Account:
        """The account that an inbound key opens.

        A ProsperStack key that is new to us is checked by listing its properties, once however many callers
        show it meanwhile, and in the turn of the client at ``address``. Raises `InvalidApiKey`,
        `ApiKeyForbidden`, or
        `KeyUnverified` where ProsperStack could not be asked.
        """
        account = self.cached(key)
        hashed = _cached_hash(key)
        return account or await self._shared(hashed, partial(self._authenticate, key, hashed, address))

    def cached(self, key: str) -> Account | None:
        """The account that an inbound key opens, as far as that is known; None: it has to be looked for.

        Raises `AccessDenied`'s kinds where it is known to open none.
        """
        return self._recall(_cached_hash(key))

    async def by_id(self, account_id: str) -> Account:
        """The account with this id, for callers who authenticate otherwise. Raises `InvalidApiKey` for none."""
        account = self._recall(account_id)
        if account is not None:
            return account
        account = await self._database.read(rows.get, account_id)
        if account is None:
            raise InvalidApiKey("The URL names no account that is known here.")
        return await self._shared(account_id, partial(self._revalidate_if_stopped, account))

    async def shared_secrets(self, account: Account) -> Sequence[str]:
        """The secrets that may have signed a webhook for an account, in clear; believed as accounts are."""
        known = self._secrets.get(account.id)
        if known is None or not 0 <= known.until - self._clock() <= CACHE_TTL:
            active = await self._database.read(credentials.active_secrets, account.id)
            by_clear = {self._vault.decrypt(each.encrypted): each for each in active}
            known = self._secrets[account.id] = _Secrets(by_clear, self._clock() + CACHE_TTL)
        return list(known.secrets)

    async def touch_secret(self, account: Account, secret: str) -> None:
        """Note that one of an account's `shared_secrets` signed a webhook, once in a minute."""
        known = self._secrets.get(account.id)
        used = None if known is None else known.secrets.get(secret)
        if known is None or used is None:  # forgotten meanwhile: the next call is noted
            return
        now = self._clock()
        if not _was_used_recently(used.last_used_at, now):
            known.secrets[secret] = replace(used, last_used_at=now)
            await self._database.write(credentials.mark_secret_used, used.id, now)

    async def check_key(self, key: str) -> None:
        """Ask ProsperStack whether it takes a key, before an operator enters it. What is no key is not asked about.

        Raises `ConfigurationError` where it does not, and `KeyUnverified` where it could not be asked.
        """
        if not is_prosperstack_key(key):
            return
        try:
            await self._check_key(self._connect(key), OPERATORS)
        except AccessDenied as refusal:
            raise ConfigurationError(
                f"{refusal} Nothing was changed: copy the key again from ProsperStack."
            ) from refusal

    def prosperstack_key(self, account: Account) -> str:
        """An account's ProsperStack key in clear: to be used, never kept or logged."""
        return self._vault.decrypt(account.encrypted_key)

    def invalidate(self) -> None:
        """Believe nothing that is remembered: accounts have changed."""
        self._remembered.clear()
        self._refusals.clear()
        self._secrets.clear()

    async def sync_from_settings(self, api_key: str | None, segment_keys: Sequence[str]) -> None:
        """Open the operator's account as the settings name it; keys no longer in the settings are revoked.

        ProsperStack is not asked: the service has to start while it is away. Safe to repeat.
        """
        keys = [InboundKey(key_hash(key), fingerprint(key), KeyOrigin.SETTINGS) for key in segment_keys]
        await self._database.write(self._configure, api_key, keys)
        self.invalidate()

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

    async def _shared(self, name: str, find: Callable[[], Awaitable[Account]]) -> Account:
        """Find an account once for all who ask for it meanwhile; who hangs up does not stop that."""
        task = self._checks.get(name)
        if task is None:
            task = self._checks[name] = asyncio.create_task(self._learn(name, find))
            task.add_done_callback(lambda _: self._checks.pop(name, None))
            task.add_done_callback(_retrieve_result)
        return await asyncio.shield(task)

    async def _learn(self, name: str, find: Callable[[], Awaitable[Account]]) -> Account:
        """Find an account, and remember what came of it."""
        try:
            account = await find()
        except AccessDenied as error:
            _keep(self._refusals, name, _Refusal(type(error), str(error), self._clock() + NEGATIVE_TTL))
            raise
        self._refusals.pop(name, None)
        _keep(self._remembered, name, _CachedAnswer(account, self._clock() + CACHE_TTL))
        return account

    def _recall(self, name: str) -> Account | None:
        remembered = self._remembered.get(name)
        if remembered is not None and self._is_fresh(remembered.until):
            return remembered.account
        refusal = self._refusals.get(name)
        if refusal is not None and self._is_fresh(refusal.until):
            raise refusal.kind(refusal.message)
        return None

    def _is_fresh(self, until: int) -> bool:
        """Whether what is remembered until then still counts; not where the clock was set back, either."""
        return 0 <= until - self._clock() <= NEGATIVE_TTL

    async def _authenticate(self, key: str, hashed: str, address: str) -> Account:
        known = await self._database.read(credentials.of_inbound_key, hashed)
        if known is not None:
            account, inbound = known
            if inbound.revoked_at is not None:
                raise InvalidApiKey("The API key was revoked: set another one in Segment.")
            if inbound.kind is KeyKind.PUBLIC:
                raise ApiKeyForbidden(
                    "This key is public: it only identifies, from web pages and apps, under /v1/. Use a secret one "
                    "here: `keys issue` makes it."
                )
            if inbound.origin is KeyOrigin.PASS_THROUGH and not self._allow_pass_through:
                raise InvalidApiKey(_UNKNOWN_KEY)
            now = self._clock()
            if not _was_used_recently(inbound.last_used_at, now):
                await self._database.write(credentials.mark_used, hashed, now)
            return await self._revalidate_if_stopped(account)
        if not self._allow_pass_through or not is_prosperstack_key(key):
            raise InvalidApiKey(_UNKNOWN_KEY)
        properties = await self._check_key(self._connect(key), client_network(address))
        return await self._database.write(self._open_account, key, hashed, properties)

    async def _revalidate_if_stopped(self, account: Account) -> Account:
        """The account; whether a stopped one works again is asked as often as refusals are forgotten."""
        if account.status not in rows.STOPPED_STATUSES:
            return account
        await self._check_key(self._connect(self.prosperstack_key(account)), account.id)
        await self._database.write(rows.set_status, account.id, AccountStatus.ACTIVE)
        return replace(account, status=AccountStatus.ACTIVE, status_reason=None, status_until=None)

    async def _check_key(self, prosperstack: ProsperStackClient, group: str) -> Page[PropertyDefinition]:
        """The first page of a key's properties: whether it works, and what there is to map to.

        It is one request. Where there are more pages the reconciler lists them within the account's budget.
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
                f"The API key is new here and could not be checked: {error} Send the call again.",
                retry_after=wait or CHECK_RETRY_SECONDS,
            ) from error

    def _open_account(
        self, connection: Connection, key: str, hashed: str, properties: Page[PropertyDefinition]
    ) -> Account:
        now = self._clock()
        account = rows.of_prosperstack_key(connection, hashed)
        if account is None:
            account = new_account(key, self._vault)
            rows.add(connection, account, hashed, now)
        catalog = dump_catalog(catalog_of(properties.data))
        rows.set_catalog(connection, account.id, catalog, now)
        if properties.next_cursor:
            rows.expire_catalog(connection, account.id)
        credentials.admit_key(
            connection, account.id, InboundKey(hashed, fingerprint(key), KeyOrigin.PASS_THROUGH), now
        )
        credentials.mark_used(connection, hashed, now)
        return replace(account, catalog=catalog, catalog_at=None if properties.next_cursor else now)


#: A sender shows the same key all day. (So it is in memory in clear, as in `ingest.basic_auth`; never on disk.)
_cached_hash: Final = lru_cache(maxsize=128)(key_hash)


def _keep(memory: OrderedDict[str, T], name: str, value: T) -> None:
    memory[name] = value
    memory.move_to_end(name)
    while len(memory) > MAX_CACHED_KEYS:
        memory.popitem(last=False)


def _was_used_recently(last_used_at: int | None, now: int) -> bool:
    """Whether a use just now need not be written down: one within the last minute was."""
    return last_used_at is not None and 0 <= now - last_used_at < MINUTE


def _retrieve_result(check: "asyncio.Task[Account]") -> None:
    """Look at a check's outcome even where every caller has hung up, or asyncio would warn of it."""
    if not check.cancelled():
        check.exception()
