"""Which port shows what, where operators have one of their own: the other one may then be open to the world."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from prosperstack_destination.segment.answers import message

#: First parts of the paths that are for operators.
OPERATORS: Final = frozenset({"dashboard", "api", "docs", "redoc", "openapi.json", "metrics"})
#: First parts of those that are for whoever watches the process, at either port.
ANYBODYS: Final = frozenset({"healthz", "readyz"})


class Entrances:
    """A middleware: what is for operators is at ``admin_port`` alone, and everything else is not."""

    def __init__(self, app: ASGIApp, admin_port: int) -> None:
        self._app = app
        self._admin_port = admin_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or say that there is no such thing at this port."""
        if scope["type"] != "http" or self._is_right(scope):
            await self._app(scope, receive, send)
        else:
            await message(404, "Not Found")(scope, receive, send)

    def _is_right(self, scope: Scope) -> bool:
        first = scope["path"].lstrip("/").partition("/")[0]
        if first in ANYBODYS:
            return True
        port = scope["server"][1] if scope.get("server") else None  # of the socket, whatever the request says
        return (port == self._admin_port) is (first in OPERATORS)
