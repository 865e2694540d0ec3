"""The write keys of SDKs: those that are secret, and public ones, which may do less."""

from dataclasses import dataclass
from typing import Protocol

from prosperstack_destination.auth.api_keys import is_public_key
from prosperstack_destination.ingest.endpoint import Authenticator
from prosperstack_destination.logs import bind_account
from prosperstack_destination.store.accounts import Account


class PublicAuthenticator(Protocol):
    """Opens accounts by public keys: see `auth.public_keys`."""

    async def open(self, key: str, origin: str | None) -> Account:
        """Return the account of a public key; raises `InvalidApiKey` or `ApiKeyForbidden`."""

    async def has_origin(self, origin: str) -> bool:
        """Whether some public key is for the pages of an origin."""


@dataclass(frozen=True, slots=True)
class OpenedAccount:
    """An account, and whether the key that opened it is public."""

    account: Account
    is_public: bool


class SdkKeys:
    """Opens accounts by write keys of either kind."""

    def __init__(self, authenticator: Authenticator, public_keys: PublicAuthenticator) -> None:
        self._authenticator = authenticator
        self._public_keys = public_keys

    async def open(self, key: str, origin: str | None, address: str) -> OpenedAccount:
        """Return the account that a key opens, for a page of an origin (None: no page) at a client's address.

        Raises `AccessDenied`'s kinds, or `TemporaryError`'s.
        """
        if is_public_key(key):
            opened = OpenedAccount(await self._public_keys.open(key, origin), is_public=True)
        else:
            opened = OpenedAccount(await self._authenticator.authenticate(key, address), is_public=False)
        bind_account(opened.account.fingerprint)
        return opened

    async def has_origin(self, origin: str | None) -> bool:
        """Whether some public key is for the pages of an origin."""
        return origin is not None and await self._public_keys.has_origin(origin)
