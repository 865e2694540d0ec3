"""Authentication by public keys, which web pages and apps contain and which may only identify."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from prosperstack_destination.auth.api_keys import MAX_KEY_LENGTH, key_hash
from prosperstack_destination.caches import CachedRead
from prosperstack_destination.clock import MINUTE, SECOND, Clock
from prosperstack_destination.errors import ApiKeyForbidden, InvalidApiKey, InvalidInput
from prosperstack_destination.store import credentials
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.credentials import Credential, CredentialKind
from prosperstack_destination.store.database import Database

#: Time for which the keys are cached, in microseconds: a revoked one is refused this soon.
CACHE_TTL: Final = 2 * SECOND
#: Shorter time for an unknown key or origin, which may be new, in microseconds.
MISS_TTL: Final = 1 * SECOND
#: Origins per key.
MAX_ORIGINS: Final = 20
#: Longest possible origin: a scheme, a host of 253 characters, and a port.
_MAX_LENGTH: Final = 270
_HOST: Final = re.compile(r"[a-z0-9.-]+|\[[0-9a-f:.]+\]")
_DEFAULT_PORT: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class _ActiveKeys:
    by_hash: Mapping[str, Credential] = field(repr=False)
    origins: Set[str]


class PublicKeys:
    """The valid public keys, all cached: there are a handful per account.

    ``by_id`` opens an account by its id, and raises `AccessDenied` where it may not be called.
    """

    def __init__(self, database: Database, by_id: Callable[[str], Awaitable[Account]], clock: Clock) -> None:
        self._database = database
        self._by_id = by_id
        self._clock = clock
        self._keys = CachedRead(self._read, clock)
        #: Time of the latest stored use, by key hash.
        self._used_at: dict[str, int] = {}

    async def open(self, key: str, origin: str | None) -> Account:
        """Return the account that a public key opens for a page of an origin (None: not from a page).

        Raises `InvalidApiKey` for a key that is unknown or revoked, and `ApiKeyForbidden` for another origin than
        its own.
        """
        hashed = key_hash(key[:MAX_KEY_LENGTH])
        public_key = (await self._keys.get(CACHE_TTL)).by_hash.get(hashed)
        if public_key is None:
            public_key = (await self._keys.get(MISS_TTL)).by_hash.get(hashed)
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
        await self._record_use(public_key)
        return account

    async def has_origin(self, origin: str) -> bool:
        """Return whether a valid key allows an origin: a preflight request names no key."""
        if origin in (await self._keys.get(CACHE_TTL)).origins:
            return True
        return origin in (await self._keys.get(MISS_TTL)).origins

    def invalidate(self) -> None:
        """Read the keys again before the next request."""
        self._keys.invalidate()

    async def _read(self) -> _ActiveKeys:
        keys = await self._database.read(credentials.active_public_keys)
        origins = frozenset(origin for key in keys for origin in key.origins or ())
        return _ActiveKeys({key.hash: key for key in keys}, origins)

    async def _record_use(self, key: Credential) -> None:
        """Store a key's use, at most once a minute."""
        now = self._clock()
        last = self._used_at.get(key.hash, key.last_used_at)
        if last is None or not 0 <= now - last < MINUTE:
            self._used_at[key.hash] = now
            await self._database.write(credentials.mark_used, CredentialKind.KEY, [key.hash], now)


def read_origins(texts: Iterable[str]) -> tuple[str, ...]:
    """Return origins in the form that browsers send, each once. Raises `InvalidInput` for an invalid one."""
    origins = tuple(dict.fromkeys(_origin(each) for text in texts if (each := text.strip())))
    if len(origins) > MAX_ORIGINS:
        raise InvalidInput(f"A key may have {MAX_ORIGINS} origins: issue another one for the rest.")
    return origins


def _origin(text: str) -> str:
    invalid = InvalidInput(
        f"{text[:100]!r} is not an origin: write only the scheme, the host and the port if there is one, "
        "e.g. https://app.example.com. There are no wildcards."
    )
    try:
        parts = urlsplit(text.lower())
        port = parts.port
    except ValueError:
        raise invalid from None
    host = parts.netloc.rpartition("]")[0] + "]" if parts.netloc.startswith("[") else parts.netloc.partition(":")[0]
    if (
        len(text) > _MAX_LENGTH
        or parts.scheme not in _DEFAULT_PORT
        or _HOST.fullmatch(host) is None
        or parts.path not in ("", "/")
        or any(sign in text for sign in "?#@\\")
        or port == 0
    ):
        raise invalid
    return f"{parts.scheme}://{host}" + ("" if port in (None, _DEFAULT_PORT[parts.scheme]) else f":{port}")
