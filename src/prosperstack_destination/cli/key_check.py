"""Asking ProsperStack whether it takes a key, before an account gets it."""

import asyncio

from prosperstack_destination.accounts.keys import is_prosperstack_key
from prosperstack_destination.cli.connected import prosperstack_base_url
from prosperstack_destination.errors import CredentialsRefused, Misconfigured, ProsperStackError, RateLimited
from prosperstack_destination.outbound import http_client
from prosperstack_destination.prosperstack.client import ProsperStack
from prosperstack_destination.settings import Settings


def check_key(settings: Settings, key: str) -> None:
    """Raise `Misconfigured` where ProsperStack refuses a key, or cannot be asked. Other text is not asked about."""
    if is_prosperstack_key(key):
        asyncio.run(_check(prosperstack_base_url(settings), key))


async def _check(base_url: str, key: str) -> None:
    async with http_client(None) as http:
        try:
            await ProsperStack(http, base_url, key).list_properties()
        except RateLimited:
            return  # which only a good key is told
        except CredentialsRefused as refusal:
            raise Misconfigured(f"{refusal} Nothing was changed: copy the key again from ProsperStack.") from None
        except ProsperStackError as error:
            raise Misconfigured(
                f"The key could not be checked at {base_url}: {error} Nothing was changed. Try again, or use "
                "--unchecked where ProsperStack cannot be reached from here."
            ) from None
