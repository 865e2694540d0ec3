"""ASGI middleware: request context and log lines, the admin port, and the time limit of bodies."""

import asyncio
import re
import time
from collections.abc import Callable, Iterable
from logging import DEBUG
from random import getrandbits  # a request ID tells requests apart; it is not a secret
from typing import Final
from urllib.parse import quote

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prosperstack_destination.http_responses import json_message, with_security_headers
from prosperstack_destination.logs import bind_request
from prosperstack_destination.observability.tracing import SpanRecorder, trace_fields
from prosperstack_destination.storable_text import REPLACEMENT, storable_text

log = structlog.get_logger(__name__)

#: First parts of the operators' paths.
ADMIN_PATHS: Final = frozenset({"dashboard", "api", "docs", "redoc", "openapi.json", "metrics"})
#: First parts of the health checks' paths, which both ports serve.
HEALTH_PATHS: Final = frozenset({"healthz", "readyz"})
#: Time limit for a whole body, in seconds.
BODY_SECONDS: Final = 10.0

#: Pattern of a caller's request ID. Any other text could forge log lines.
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
#: First parts of paths that the log names. Other paths may hold anything: a key pasted into the URL, for one.
_LOGGED_ROUTES: Final = frozenset(
    {
        *("identify", "webhook", "v1", "data-connector", "flow-webhook"),
        *("healthz", "readyz", "metrics", "docs", "redoc", "openapi.json", "api", "dashboard"),
    }
)


class RequestContextMiddleware:
    """Outermost middleware: request ID, security headers, log line and trace span of each request.

    ``unexpected`` makes the response where the application fails before it starts one.
    """

    def __init__(
        self, app: ASGIApp, unexpected: Callable[[Exception], ASGIApp], traces: SpanRecorder | None = None
    ) -> None:
        self._app = app
        self._unexpected = unexpected
        self._traces = traces
        #: A bound logger. The module's lazy logger resolves its configuration at each use, which costs more time
        #: than the rest of this middleware.
        self._log = log.bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, and its response back.

        An unexpected error is logged and answered, and the connection stays open. An error that cuts off a response
        is raised: the server has to close the connection.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = _storable(scope)
        request_id = request_id_of(scope["headers"])
        span = None if self._traces is None else self._traces.start_response(_name(scope), scope["headers"])
        bind_request(request_id.decode(), {} if span is None else trace_fields(span))
        status = 0
        complete = False
        started_at = time.monotonic()

        async def send_with_headers(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = with_security_headers(message.get("headers", ()))
                message["headers"] = [*headers, (b"x-request-id", request_id)]
            else:
                complete = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            self._log.debug("client disconnected before its whole request was received")
        except Exception as error:
            if status and not complete:
                raise
            self._log.error("request failed", error=type(error).__name__, exc_info=error)
            if not status:
                await self._unexpected(error)(scope, receive, send_with_headers)
        finally:
            self._log_response(scope, status, time.monotonic() - started_at)
            if self._traces is not None and span is not None:
                self._traces.end_response(span, status)

    def _log_response(self, scope: Scope, status: int, seconds: float) -> None:
        if self._log.is_enabled_for(DEBUG):  # formats nothing that is not logged
            self._log.debug(
                "answered", method=scope["method"], route=_route(scope), status=status, ms=round(seconds * 1000, 1)
            )


class AdminPortMiddleware:
    """Middleware that serves admin paths only on ``admin_port``, and all other paths only on other ports.

    The public port may then be open to the internet.
    """

    def __init__(self, app: ASGIApp, admin_port: int) -> None:
        self._app = app
        self._admin_port = admin_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 404 where this port does not serve its path."""
        if scope["type"] != "http" or self._is_served(scope):
            await self._app(scope, receive, send)
        else:
            await json_message(404, "Not Found")(scope, receive, send)

    def _is_served(self, scope: Scope) -> bool:
        first = scope["path"].lstrip("/").partition("/")[0]
        if first in HEALTH_PATHS:
            return True
        port = scope["server"][1] if scope.get("server") else None  # the socket's port, not the Host header's
        return (port == self._admin_port) is (first in ADMIN_PATHS)


class BodyDeadline:
    """Middleware with a time limit for bodies: reading one raises `HTTPException` 408 after ``seconds``.

    The time counts from the beginning of the request. FastAPI and Starlette have no such limit.
    """

    def __init__(self, app: ASGIApp, seconds: float = BODY_SECONDS) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with a ``receive`` that has a deadline."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        deadline = asyncio.get_running_loop().time() + self._seconds
        complete = False

        async def receive_in_time() -> Message:
            nonlocal complete
            if complete:  # the next message is the disconnect, which has no deadline
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"The body did not come within {self._seconds:g} seconds.") from None
            complete = not message.get("more_body", False)
            return message

        await self._app(scope, receive_in_time, send)


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the caller's request ID where it is well formed; otherwise a new random one."""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value
    return b"%016x" % getrandbits(64)


def _storable(scope: Scope) -> Scope:
    """Replace U+0000 in a request's path and query: database queries use IDs from them unchanged."""
    path, query = scope["path"], scope.get("query_string", b"")
    if "\0" in path or b"%00" in query:
        replacement = quote(REPLACEMENT).encode()
        return {**scope, "path": storable_text(path), "query_string": query.replace(b"%00", replacement)}
    return scope


def _name(scope: Scope) -> str:
    return f"{scope['method']} {_route(scope)}"


def _route(scope: Scope) -> str:
    first = scope["path"].lstrip("/").partition("/")[0]
    return f"/{first}" if first in _LOGGED_ROUTES else "other"
