"""Connections of the HTTP client by aiohttp, with the errors of httpx."""

import ssl

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport


class AiohttpConnections(AiohttpTransport):
    """httpx transport over one pool of aiohttp connections, without cookies and without proxies."""

    def __init__(self, certificates: ssl.SSLContext, max_connections: int, keepalive_seconds: float) -> None:
        super().__init__(verify=certificates, client=self._open)
        self._certificates = certificates
        self._max_connections = max_connections
        self._keepalive_seconds = keepalive_seconds

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Raises `httpx.TransportError` for whatever goes wrong before the response's body."""
        try:
            return await super().handle_async_request(request)
        except httpx.ConnectTimeout as error:  # the base class calls every failure of a connection so
            if isinstance(error.__cause__, TimeoutError):
                raise
            refused = isinstance(error.__cause__, aiohttp.ClientConnectorError)
            kind = httpx.ConnectError if refused else httpx.RemoteProtocolError
            raise kind(str(error)) from error.__cause__
        except (aiohttp.ClientError, ValueError) as error:  # no HTTP, or headers without end
            raise httpx.RemoteProtocolError(str(error)) from error

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            ssl=self._certificates, limit=self._max_connections, keepalive_timeout=self._keepalive_seconds
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
