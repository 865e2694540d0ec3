"""Which port shows what, where operators have one of their own: the other one may then be open to the world."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from prosperstack_destination.segment.answers import json_message

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
