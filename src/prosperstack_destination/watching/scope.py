"""Around every request: an id that its log lines carry, one line about it, and headers that keep browsers safe."""

import os
import re
import time
from typing import Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prosperstack_destination.watching.tracing import Traces

log = structlog.get_logger(__name__)

#: What a caller may name its request; anything else could write what it likes into the log.
_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
#: First parts of paths that the log may name. Others may be anything: a key that was pasted wrong, for one.
_KNOWN: Final = frozenset(
    {
        *("identify", "webhook", "v1", "data-connector", "flow-webhook"),
        *("healthz", "readyz", "metrics", "docs", "redoc", "openapi.json", "api", "dashboard"),
    }
)
_NOTHING_LOADED: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
#: What an answer says if it does not say otherwise itself.
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
)


class RequestScope:
    """The outermost middleware."""

    def __init__(self, app: ASGIApp, traces: Traces | None = None) -> None:
        self._app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _named(scope) or os.urandom(8).hex()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status = 0
        begun = time.monotonic()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_missing(message, request_id)]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            seconds = time.monotonic() - begun
            route = _route(scope)
            log.debug("answered", method=scope["method"], route=route, status=status, ms=round(seconds * 1000, 1))
            if self._traces is not None:
                named = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
                self._traces.answered(f"{scope['method']} {route}", status, seconds, named)


def _named(scope: Scope) -> str | None:
    """The id that the caller gave the request, if it is a good one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ID.fullmatch(value):
            named: str = value.decode()
            return named
    return None


def _missing(message: Message, request_id: str) -> list[tuple[bytes, bytes]]:
    """The headers that an answer has not set itself."""
    there = dict(message.get("headers", ()))
    headers = [(name, value) for name, value in _HEADERS if name not in there]
    if b"text/html" not in there.get(b"content-type", b"") and _NOTHING_LOADED[0] not in there:
        headers.append(_NOTHING_LOADED)
    headers.append((b"x-request-id", request_id.encode()))
    return headers


def _route(scope: Scope) -> str:
    first = scope["path"].lstrip("/").partition("/")[0]
    return f"/{first}" if first in _KNOWN else "other"
