"""HTTP client of ProsperStack and Segment's Public API: creation, bounded bodies, validated items, retry times."""

import asyncio
import base64
import math
import re
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final, TypeVar

import httpx
from pydantic import BaseModel, JsonValue, ValidationError

from prosperstack_destination import __version__
from prosperstack_destination.storable_text import storable_json

#: Time limit for a connect, and for each wait for bytes, in seconds.
HTTP_TIMEOUT_SECONDS: Final = 10.0
#: Most open connections, and the time for which an unused one stays open, in seconds: less than servers keep it.
MAX_CONNECTIONS: Final = 512
KEEPALIVE_SECONDS: Final = 4.0
#: The largest response body, in bytes. A page of 100 subscribers has far less.
MAX_RESPONSE_BYTES: Final = 8 * 1024 * 1024
#: The longest ID or cursor, in bytes of UTF-8.
ID_BYTES: Final = 1024
#: The most items of a page, and of an item's list of properties.
MAX_ITEMS: Final = 1_000
#: Bodies above this size, in bytes, are searched for unstorable characters in a thread.
_LARGE: Final = 64 * 1024
#: Items validated before the event loop has its turn.
_ITEMS_AT_ONCE: Final = 10
#: Number of seconds, with decimals or without.
_SECONDS: Final = re.compile(r"[0-9]+(\.[0-9]*)?", re.ASCII)

Item = TypeVar("Item", bound=BaseModel)


class UnreadableBody(Exception):
    """Response body that is too large or compressed. ``str()`` of it continues the words "The answer"."""


class InvalidItem(Exception):
    """Invalid item of a page: its ``number``, from 0, and the ``cause``."""

    def __init__(self, number: int, cause: ValidationError) -> None:
        super().__init__(str(number))
        self.number = number
        self.cause = cause


def create_http_client(transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    """Return a client that all accounts share. It keeps no cookies, which would leak from one account to another.

    ``transport`` replaces the network, for tests; None: the network. Its connections are aiohttp's: httpx's own
    take four times the processor time, and more the more of them there are. Only where the environment names a
    proxy they are httpx's, which reads it.
    """
    network = transport is None
    if network and not urllib.request.getproxies().keys() & {"http", "https", "all"}:
        transport = _aiohttp_transport()
    return httpx.AsyncClient(
        transport=transport,
        verify=_certificates() if network else True,
        timeout=HTTP_TIMEOUT_SECONDS,
        limits=httpx.Limits(
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_CONNECTIONS,
            keepalive_expiry=KEEPALIVE_SECONDS,
        ),
        headers={
            "User-Agent": f"prosperstack-destination/{__version__}",
            "Accept-Encoding": "identity",  # see `read_body`
        },
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        trust_env=network,
    )


def _aiohttp_transport() -> httpx.AsyncBaseTransport:
    """Return a transport over aiohttp, whose import takes a tenth of a second that most commands need not spend."""
    from prosperstack_destination.aiohttp_transport import AiohttpConnections

    return AiohttpConnections(_certificates(), MAX_CONNECTIONS, KEEPALIVE_SECONDS)


def basic_auth(user: str, password: str = "") -> str:
    """Return the Authorization header of Basic authentication."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@cache
def _certificates() -> ssl.SSLContext:
    """Return the trusted certificates. Reading them takes most of a client's start, so it happens once."""
    return httpx.create_ssl_context()


async def read_body(response: httpx.Response) -> bytes:
    """Return the body of a response, with storable text in its JSON (see `storable_json`).

    Raises `UnreadableBody` for more than `MAX_RESPONSE_BYTES`, and for a compressed body: a few KB may inflate to
    GB within one call. Requests ask for ``identity``: see `create_http_client`.
    """
    if response.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        raise UnreadableBody("is compressed, although the request did not accept that (Accept-Encoding: identity)")
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES:
            raise UnreadableBody(f"has more than {MAX_RESPONSE_BYTES // 1024**2} MB")
    if len(body) <= _LARGE:
        return storable_json(bytes(body))
    return await asyncio.to_thread(storable_json, bytes(body))


async def validate_items(model: type[Item], items: Sequence[JsonValue]) -> AsyncIterator[Item]:
    """Yield the validated items of a page; give way to other tasks every few items. Raises `InvalidItem`."""
    for number, item in enumerate(items):
        if number % _ITEMS_AT_ONCE == 0:
            await asyncio.sleep(0)
        try:
            yield model.model_validate(item)
        except ValidationError as error:
            raise InvalidItem(number, error) from error


def short_id(text: str) -> str:
    """Return an ID or cursor of at most `ID_BYTES`; raise `ValueError` for a longer one (a pydantic validator)."""
    if len(text.encode(errors="replace")) > ID_BYTES:
        raise ValueError(f"it has more than {ID_BYTES} bytes")
    return text


def limit_items(value: object) -> object:
    """Return a value; raise `ValueError` for a list of more than `MAX_ITEMS` (a pydantic "before" validator)."""
    if isinstance(value, list) and len(value) > MAX_ITEMS:
        raise ValueError(f"there are more than {MAX_ITEMS:,}")
    return value


def read_retry_after(headers: Mapping[str, str], longest: float, name: str = "Retry-After") -> float | None:
    """Return the seconds in a header, at most ``longest``; None without a valid value.

    A date counts from the response's own ``Date``, which is independent of clock differences, or else from now. A
    date in the past is 0.
    """
    text = headers.get(name, "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), longest)
    until = _timestamp(text)
    if until is None:
        return None
    since = _timestamp(headers.get("Date", ""))
    return min(max(until - (time.time() if since is None else since), 0.0), longest)


def retry_after_header(seconds: float) -> str:
    """Return the value of a header: whole seconds, rounded up so that a retry is never early; at least 1."""
    return str(max(1, math.ceil(seconds)))


def _timestamp(date: str) -> float | None:
    """Return an HTTP date in seconds since the epoch; None for any other text."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None
