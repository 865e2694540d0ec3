"""The short way to the endpoints that are called all day.

The way through an application's middlewares and its router costs as much as understanding a call does. Who asks for
one of these paths is taken there at once; everybody else goes the long way.
"""

from collections.abc import Awaitable, Collection, Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from prosperstack_destination.ingest.responses import json_message


@dataclass(frozen=True, slots=True)
class HotRoute:
    """An endpoint, and the methods that it takes."""

    endpoint: ASGIApp
    methods: Collection[str]
    #: Of a path of two parts: the name of the second one, which is a secret or an id, in ``path_params``.
    parameter: str = "token"


class HotRouter:
    """A middleware that answers for some paths, and passes all others on.

    ``doors`` are by their path, ``named`` by the first part of a path that has two. A slash at the end of a path
    changes nothing: the endpoint's scope has the path without it.
    """

    def __init__(
        self, app: ASGIApp, routes: Mapping[str, HotRoute], parameter_routes: Mapping[str, HotRoute] | None = None
    ) -> None:
        self._app = app
        self._doors = routes
        self._named = parameter_routes or {}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer, or pass on: to be awaited. One more coroutine around all of it would cost every step of it."""
        door = (self._doors.get(scope["path"]) or self._find(scope)) if scope["type"] == "http" else None
        if door is None:
            return self._app(scope, receive, send)
        if scope["method"] in door.methods:
            return door.endpoint(scope, receive, send)
        allowed = ", ".join(sorted(door.methods))
        return json_message(405, f"Only {allowed} is answered here.", {"Allow": allowed})(scope, receive, send)

    def _find(self, scope: Scope) -> HotRoute | None:
        path = scope["path"].rstrip("/")
        door = self._doors.get(path)
        if door is None:
            first, _, second = path.lstrip("/").partition("/")
            door = self._named.get(first)
            if door is None or not second or "/" in second:
                return None
            scope["path_params"] = {door.parameter: second}
        scope["path"] = path
        return door
