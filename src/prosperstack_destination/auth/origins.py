"""Origins of web pages, as in browsers' Origin header."""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from prosperstack_destination.errors import ConfigurationError

#: Origins per key.
MAX_ORIGINS: Final = 20
#: Longest possible origin: a scheme, a host of 253 characters, and a port.
_MAX_LENGTH: Final = 270
_HOST: Final = re.compile(r"[a-z0-9.-]+|\[[0-9a-f:.]+\]")
_DEFAULT_PORT: Final = {"http": 80, "https": 443}


def read_origins(texts: Iterable[str]) -> tuple[str, ...]:
    """Return origins in the form that browsers send, each once. Raises `ConfigurationError` for an invalid one."""
    origins = tuple(dict.fromkeys(_origin(each) for text in texts if (each := text.strip())))
    if len(origins) > MAX_ORIGINS:
        raise ConfigurationError(f"A key may have {MAX_ORIGINS} origins: issue another one for the rest.")
    return origins


def _origin(text: str) -> str:
    invalid = ConfigurationError(
        f"{text[:100]!r} is no origin: write the scheme, the host and the port if there is one, and nothing else, "
        "as in https://app.example.com. There are no wildcards."
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
