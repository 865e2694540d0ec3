"""Authentication by public keys: those that stand in web pages and apps, and may only identify."""

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

#: The keys are read again when they are older than this: a revoked one is refused this soon. In microseconds.
CACHE_TTL: Final = 2 * SECOND
#: For a key or an origin that is not among them they are read again this soon: it may be new. In microseconds.
MISS_TTL: Final = 1 * SECOND


@dataclass(frozen=True, slots=True)
class _Loaded:
    at: int
    by_hash: Mapping[str, PublicKey] = field(repr=False)
    origins: Set[str]


class PublicKeys:
    """The public keys that are good, all in memory: there are a handful for each account.

    ``by_id`` opens an account by its id, and raises `AccessDenied`'s kinds where it may not be called.
    """

    def __init__(self, database: Database, by_id: Callable[[str], Awaitable[Account]], clock: Clock) -> None:
        self._database = database
        self._by_id = by_id
        self._clock = clock
        self._loaded: _Loaded | None = None
        self._loading = asyncio.Lock()
        #: When the use of a key was noted last, by its hash.
        self._noted: dict[str, int] = {}

    async def open(self, key: str, origin: str | None) -> Account:
        """Return the account that a public key opens for a page of an origin (None: not from a page).

        Raises `InvalidApiKey` for a key that is unknown or revoked, `ApiKeyForbidden` for another origin than
        its own.
        """
        hashed = key_hash(key[:MAX_KEY_LENGTH])
        found = (await self._keys(CACHE_TTL)).by_hash.get(hashed)
        if found is None:
            found = (await self._keys(MISS_TTL)).by_hash.get(hashed)
        if found is None:
            raise InvalidApiKey(
                "The public key is unknown, or was revoked: `keys issue --public` makes another one."
            )
        if found.origins and origin not in found.origins:
            raise ApiKeyForbidden(
                "This public key is for the pages of other origins: `keys list` shows them, and "
                "`keys issue --public --origin` makes a key for another one."
            )
        if origin is not None and not found.origins:
            raise ApiKeyForbidden(
                "This public key is for apps, and not for web pages: `keys issue --public --origin` makes one for "
                "those."
            )
        account = await self._by_id(found.account_id)
        await self._note(hashed, found)
        return account

    async def has_origin(self, origin: str) -> bool:
        """Whether some good key is for the pages of an origin: a preflight request names no key."""
        if origin in (await self._keys(CACHE_TTL)).origins:
            return True
        return origin in (await self._keys(MISS_TTL)).origins

    def invalidate(self) -> None:
        """Read the keys again before the next answer."""
        self._loaded = None

    async def _keys(self, oldest: int) -> _Loaded:
        """The keys, no older than so many microseconds; one read serves all who wait for it."""
        async with self._loading:
            now = self._clock()
            if self._loaded is None or not 0 <= now - self._loaded.at < oldest:
                keys = await self._database.read(credentials.public_keys)
                origins = frozenset(origin for each in keys.values() for origin in each.origins)
                self._loaded = _Loaded(now, keys, origins)
            return self._loaded

    async def _note(self, hashed: str, key: PublicKey) -> None:
        """Note a key's use, once a minute."""
        now = self._clock()
        last = self._noted.get(hashed, key.last_used_at)
        if last is None or not 0 <= now - last < MINUTE:
            self._noted[hashed] = now
            await self._database.write(credentials.mark_used, hashed, now)
