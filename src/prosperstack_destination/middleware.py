"""Which port shows what, where operators have one of their own: the other one may then be open to the world."""

import re
import time
from collections.abc import Callable, Iterable
from logging import DEBUG
from random import getrandbits  # an id tells requests apart, and is no secret
from typing import Final
from urllib.parse import quote

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prosperstack_destination.ingest.responses import json_message
from prosperstack_destination.logs import bind_request
from prosperstack_destination.observability.tracing import SpanRecorder
from prosperstack_destination.security_headers import with_security_headers
from prosperstack_destination.storable import REPLACEMENT, storable_text

#: First parts of the paths that are for operators.
ADMIN_PATHS: Final = frozenset({"dashboard", "api", "docs", "redoc", "openapi.json", "metrics"})
#: First parts of those that are for whoever watches the process, at either port.
HEALTH_PATHS: Final = frozenset({"healthz", "readyz"})


class AdminPortMiddleware:
    """A middleware: what is for operators is at ``admin_port`` alone, and everything else is not."""

    def __init__(self, app: ASGIApp, admin_port: int) -> None:
        self._app = app
        self._admin_port = admin_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or say that there is no such thing at this port."""
        if scope["type"] != "http" or self._is_served(scope):
            await self._app(scope, receive, send)
        else:
            await json_message(404, "Not Found")(scope, receive, send)

    def _is_served(self, scope: Scope) -> bool:
        first = scope["path"].lstrip("/").partition("/")[0]
        if first in HEALTH_PATHS:
            return True
        port = scope["server"][1] if scope.get("server") else None  # of the socket, whatever the request says
        return (port == self._admin_port) is (first in ADMIN_PATHS)


log = structlog.get_logger(__name__)

#: What a caller may name its request; anything else could write what it likes into the log.
_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
#: First parts of paths that the log may name. Others may be anything: a key that was pasted wrong, for one.
_LOGGED_ROUTES: Final = frozenset(
    {
        *("identify", "webhook", "v1", "data-connector", "flow-webhook"),
        *("healthz", "readyz", "metrics", "docs", "redoc", "openapi.json", "api", "dashboard"),
    }
)


class RequestContextMiddleware:
    """The outermost middleware. ``unexpected`` is the answer where an application failed before it gave one."""

    def __init__(
        self, app: ASGIApp, unexpected: Callable[[Exception], ASGIApp], traces: SpanRecorder | None = None
    ) -> None:
        self._app = app
        self._unexpected = unexpected
        self._traces = traces
        #: The module's own looks for its settings at each use, which takes as long as all else that is done here.
        self._log = log.bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back.

        A fault is logged and answered, and the connection goes on. A fault that cuts off an answer is raised: the
        server has to close the connection.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = _storable(scope)
        request_id = request_id_of(scope["headers"])
        bind_request(request_id.decode())
        status = 0
        complete = False
        begun = time.monotonic()

        async def answer(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = with_security_headers(message.get("headers", ()))
                message["headers"] = [*headers, (b"x-request-id", request_id)]
            else:
                complete = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            self._log.debug("the client left before its whole request had come")
        except Exception as error:
            if status and not complete:
                raise
            self._log.error("a request could not be answered", error=type(error).__name__, exc_info=error)
            if not status:
                await self._unexpected(error)(scope, receive, answer)
        finally:
            self._log_response(scope, status, time.monotonic() - begun)

    def _log_response(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"]
        if self._log.is_enabled_for(DEBUG):  # what is not logged is not put into words
            self._log.debug(
                "answered", method=method, route=_route(scope), status=status, ms=round(seconds * 1000, 1)
            )
        if self._traces is not None:
            named = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            self._traces.record_response(f"{method} {_route(scope)}", status, seconds, named)


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The id that the caller gave a request, if it is a good one; else one of our own."""
    for name, value in headers:
        if name == b"x-request-id" and _ID.fullmatch(value):
            return value
    return b"%016x" % getrandbits(64)


def _storable(scope: Scope) -> Scope:
    """A request whose path and query spell no U+0000: an id in them is looked for in the database as it stands."""
    path, query = scope["path"], scope.get("query_string", b"")
    if "\0" in path or b"%00" in query:
        spelled = quote(REPLACEMENT).encode()
        return {**scope, "path": storable_text(path), "query_string": query.replace(b"%00", spelled)}
    return scope


def _route(scope: Scope) -> str:
    first = scope["path"].lstrip("/").partition("/")[0]
    return f"/{first}" if first in _LOGGED_ROUTES else "other"
