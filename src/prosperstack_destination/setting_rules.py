"""Rules for the values of settings, and for mistyped names. A refusal is a `ValueError` with a sentence."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from typing import Final
from urllib.parse import urlsplit

#: How alike two names are, from 0 to 1, so that one is taken for the other mistyped; shorter names are anything's.
ALIKE: Final = 0.82
SHORTEST_NAME: Final = 8
#: Names of other programs that resemble ours: the command ``send`` and OpenTelemetry's libraries read these.
_OF_OTHERS: Final = ("SEGMENT_KEY",)
_PREFIXES_OF_OTHERS: Final = ("OTEL_",)
_QUOTES: Final = "\"'"


def find_mistyped_names(names: Iterable[str], known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each name that is no setting and resembles one, with that one."""
    for name in sorted({name.upper() for name in names} - set(known)):
        if len(name) < SHORTEST_NAME or name in _OF_OTHERS or name.startswith(_PREFIXES_OF_OTHERS):
            continue
        likeness, nearest = max((SequenceMatcher(None, name, each).ratio(), each) for each in known)
        if likeness >= ALIKE and name[0] == nearest[0]:
            yield name, nearest


def trim_values(values: Mapping[str, object], verbatim: Collection[str]) -> dict[str, object]:
    """Return settings without spaces around their values, and without those that are blank then.

    Secrets that may be any text are ``verbatim``: they are left out only where they are blank.
    """
    texts = {name: value.strip() for name, value in values.items() if isinstance(value, str)}
    return {
        name: value if name in verbatim else texts.get(name, value)
        for name, value in values.items()
        if texts.get(name, value) != ""
    }


def reject_quotes(value: object) -> object:
    """Refuse a text in quotation marks, which Docker's --env-file leaves around values."""
    if isinstance(value, str) and value and value[0] in _QUOTES and value[-1] in _QUOTES:
        raise ValueError("remove the quotation marks around it")
    return value


def http_url(value: str) -> str:
    """Return an http or https URL without a slash at its end."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("write a whole URL, which begins with https:// or http://")
    if not parts.hostname or " " in value or _port(parts.netloc) is None:
        raise ValueError("its host or port is not valid, as in https://api.example.com:8443/v1")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("write a URL without a user, a query (?) or a fragment (#)")
    return value.rstrip("/")


def listen_host(value: str) -> str:
    """Return an address to listen on: an IP address or a host name, and nothing else."""
    if value.startswith("["):
        raise ValueError("write an IPv6 address without brackets, as in ::1")
    if "/" in value or " " in value:
        raise ValueError("write an address alone, as in 0.0.0.0")
    if value.count(":") == 1:
        raise ValueError("write an address without a port, which PORT or ADMIN_PORT sets")
    return value


def _port(netloc: str) -> int | None:
    try:
        return urlsplit(f"//{netloc}").port or 0
    except ValueError:
        return None
