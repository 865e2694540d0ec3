"""Authentication of SDKs by write key: a secret one, or a public one with fewer permissions."""

from dataclasses import dataclass

from prosperstack_destination.auth.api_keys import is_public_key
from prosperstack_destination.auth.authenticator import Authenticator
from prosperstack_destination.auth.public_keys import PublicKeys
from prosperstack_destination.errors import ApiKeyForbidden
from prosperstack_destination.logs import bind_account
from prosperstack_destination.store.accounts import Account


@dataclass(frozen=True, slots=True)
class OpenedAccount:
    """Account that a write key opens, and whether the key is public."""

    account: Account
    is_public: bool


class SdkKeys:
    """Authenticator for write keys of both kinds."""

    def __init__(self, authenticator: Authenticator, public_keys: PublicKeys) -> None:
        self._authenticator = authenticator
        self._public_keys = public_keys

    async def open(self, key: str, origin: str | None, address: str) -> OpenedAccount:
        """Return the account of a key. ``origin`` is the web page's, if any; ``address`` the client's.

        Raises an `AccessDenied` or a `TemporaryError`.
        """
        if is_public_key(key):
            return OpenedAccount(await self.open_public(key, origin), is_public=True)
        account = await self._authenticator.authenticate(key, address)
        bind_account(account.fingerprint)
        return OpenedAccount(account, is_public=False)

    async def open_public(self, key: str, origin: str | None) -> Account:
        """Return the account of a public key. Raises `ApiKeyForbidden` for any other text, without a look-up."""
        if not is_public_key(key):
            raise ApiKeyForbidden(
                "Only a public key may be in a URL, where logs keep it: `keys issue --public` issues one. If this "
                "is a secret key, replace it by a new one."
            )
        account = await self._public_keys.open(key, origin)
        bind_account(account.fingerprint)
        return account

    async def has_origin(self, origin: str | None) -> bool:
        """Return whether a public key permits the pages of an origin."""
        return origin is not None and await self._public_keys.has_origin(origin)
