"""Requests to others: the client that they go through."""

import ssl
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx

from prosperstack_destination import __version__

#: Connecting to somebody, and each wait for bytes of theirs, in seconds.
HTTP_TIMEOUT_SECONDS: Final = 10.0


def create_http_client(transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    """A client that many accounts share: it keeps no cookies, which would tell one what belongs to another."""
    return httpx.AsyncClient(
        transport=transport,
        verify=_certificates() if transport is None else True,
        timeout=HTTP_TIMEOUT_SECONDS,
        headers={
            "User-Agent": f"prosperstack-destination/{__version__}",
            "Accept-Encoding": "identity",  # see `response_body.read_body`
        },
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        trust_env=transport is None,
    )


@cache
def _certificates() -> ssl.SSLContext:
    """Whom to trust on the network: read once, since that takes as long as everything else about a client."""
    return httpx.create_ssl_context()
