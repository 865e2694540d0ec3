"""API key in the Authorization header of a request (HTTP basic authentication)."""

import base64
import binascii
from functools import lru_cache
from typing import Final

from prosperstack_destination.auth.api_keys import MAX_KEY_LENGTH
from prosperstack_destination.errors import InvalidApiKey

_HOW = (
    "Send it as the user name of HTTP basic authentication, with an empty password: "
    'Authorization: Basic base64("<API key>:").'
)

#: Longest header that is cached, in bytes: it bounds the cache's memory.
_MAX_CACHED_LENGTH: Final = 400


def basic_key(authorization: bytes | None) -> str:
    """Return the API key that an ``Authorization`` header carries as the user name of basic authentication.

    Raises `InvalidApiKey` that says what is wrong with the header.
    """
    if authorization is None:
        raise InvalidApiKey(f"The API key is missing. {_HOW}")
    return (_cached_key if len(authorization) <= _MAX_CACHED_LENGTH else _key)(authorization)


def _key(authorization: bytes) -> str:
    scheme, _, encoded = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        raise InvalidApiKey(f"The Authorization header is not of the kind Basic. {_HOW}")
    try:
        user, _, _password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidApiKey(f"The Authorization header is not valid base64. {_HOW}") from None
    key = user.strip()
    if not key:
        raise InvalidApiKey(f"The API key is empty. {_HOW}")
    if len(key) > MAX_KEY_LENGTH:
        raise InvalidApiKey(
            f"The API key is too long (at most {MAX_KEY_LENGTH} characters). Check that you copied only the key."
        )
    return key


#: Cache of parsed headers: senders repeat the same key. Failures are not cached.
_cached_key: Final = lru_cache(maxsize=128)(_key)
