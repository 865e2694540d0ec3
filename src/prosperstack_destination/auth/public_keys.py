"""Authentication by public keys, which web pages and apps contain and which may only identify."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Final

from prosperstack_destination.auth.api_keys import MAX_KEY_LENGTH, key_hash
from prosperstack_destination.clock import MINUTE, SECOND, Clock
from prosperstack_destination.errors import ApiKeyForbidden, InvalidApiKey
from prosperstack_destination.store import credentials
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.credentials import PublicKey
from prosperstack_destination.store.database import Database

#: Time for which the keys are cached, in microseconds: a revoked one is refused this soon.
CACHE_TTL: Final = 2 * SECOND
#: Shorter time for an unknown key or origin, which may be new, in microseconds.
MISS_TTL: Final = 1 * SECOND


@dataclass(frozen=True, slots=True)
class _Loaded:
    at: int
    by_hash: Mapping[str, PublicKey] = field(repr=False)
    origins: Set[str]


class PublicKeys:
    """The valid public keys, all cached: there are a handful per account.

    ``by_id`` opens an account by its id, and raises `AccessDenied` where it may not be called.
    """

    def __init__(self, database: Database, by_id: Callable[[str], Awaitable[Account]], clock: Clock) -> None:
        self._database = database
        self._by_id = by_id
        self._clock = clock
        self._loaded: _Loaded | None = None
        self._loading = asyncio.Lock()
        #: Time of the latest stored use, by key hash.
        self._used_at: dict[str, int] = {}

    async def open(self, key: str, origin: str | None) -> Account:
        """Return the account that a public key opens for a page of an origin (None: not from a page).

        Raises `InvalidApiKey` for a key that is unknown or revoked, and `ApiKeyForbidden` for another origin than
        its own.
        """
        hashed = key_hash(key[:MAX_KEY_LENGTH])
        public_key = (await self._keys(CACHE_TTL)).by_hash.get(hashed)
        if public_key is None:
            public_key = (await self._keys(MISS_TTL)).by_hash.get(hashed)
        if public_key is None:
            raise InvalidApiKey("The public key is unknown or revoked. `keys issue --public` issues another one.")
        if public_key.origins and origin not in public_key.origins:
            raise ApiKeyForbidden(
                "This public key is for the pages of other origins: `keys list` shows them, and "
                "`keys issue --public --origin` issues a key for another one."
            )
        if origin is not None and not public_key.origins:
            raise ApiKeyForbidden(
                "This public key is for apps, and not for web pages: `keys issue --public --origin` makes one for "
                "those."
            )
        account = await self._by_id(public_key.account_id)
        await self._record_use(hashed, public_key)
        return account

    async def has_origin(self, origin: str) -> bool:
        """Return whether a valid key allows an origin: a preflight request names no key."""
        if origin in (await self._keys(CACHE_TTL)).origins:
            return True
        return origin in (await self._keys(MISS_TTL)).origins

    def invalidate(self) -> None:
        """Read the keys again before the next request."""
        self._loaded = None

    async def _keys(self, max_age: int) -> _Loaded:
        """Return the keys, no older than so many microseconds; concurrent callers share one read."""
        async with self._loading:
            now = self._clock()
            if self._loaded is None or not 0 <= now - self._loaded.at < max_age:
                keys = await self._database.read(credentials.public_keys)
                origins = frozenset(origin for key in keys.values() for origin in key.origins)
                self._loaded = _Loaded(now, keys, origins)
            return self._loaded

    async def _record_use(self, hashed: str, key: PublicKey) -> None:
        """Store a key's use, at most once a minute."""
        now = self._clock()
        last = self._used_at.get(hashed, key.last_used_at)
        if last is None or not 0 <= now - last < MINUTE:
            self._used_at[hashed] = now
            await self._database.write(credentials.mark_used, hashed, now)
