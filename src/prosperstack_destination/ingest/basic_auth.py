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

#: A longer header is looked at each time: what is kept is bounded in memory.
_KEPT_LENGTH: Final = 400


def basic_key(authorization: bytes | None) -> str:
    """Return the API key that an ``Authorization`` header carries as the user name of basic authentication.

    Raises `InvalidApiKey` that says what is wrong with the header.
    """
    if authorization is None:
        raise InvalidApiKey(f"The API key is missing. {_HOW}")
    return (_kept if len(authorization) <= _KEPT_LENGTH else _key)(authorization)


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
        raise InvalidApiKey("The API key is longer than any key is: check what was copied.")
    return key


#: A sender shows the same key all day. What is refused is not kept.
_kept: Final = lru_cache(maxsize=128)(_key)
