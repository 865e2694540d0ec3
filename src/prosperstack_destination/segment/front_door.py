"""The short way to the endpoints that are called all day.

The way through an application's middlewares and its router costs as much as understanding a call does. Who asks for
one of these paths is taken there at once; everybody else goes the long way.
"""

from collections.abc import Awaitable, Collection, Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from prosperstack_destination.segment.answers import message


@dataclass(frozen=True, slots=True)
class Door:
    """An endpoint, and the methods that it takes."""

    endpoint: ASGIApp
    methods: Collection[str]


class FrontDoor:
    """A middleware that answers for some paths, and passes all others on.

    ``doors`` are by their path. In ``named`` they are by the first part of a path that has two; their endpoint
    finds the second one, which is a secret or an id, under ``parameter`` in the scope's ``path_params``.
    """

    def __init__(
        self,
        app: ASGIApp,
        doors: Mapping[str, Door],
        named: Mapping[str, Door] | None = None,
        parameter: str = "token",
    ) -> None:
        self._app = app
        self._doors = doors
        self._named = named or {}
        self._parameter = parameter

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer, or pass on: to be awaited. One more coroutine around all of it would cost every step of it."""
        door = self._door(scope) if scope["type"] == "http" else None
        if door is None:
            return self._app(scope, receive, send)
        if scope["method"] in door.methods:
            return door.endpoint(scope, receive, send)
        allowed = ", ".join(sorted(door.methods))
        return message(405, f"Only {allowed} is answered here.", {"Allow": allowed})(scope, receive, send)

    def _door(self, scope: Scope) -> Door | None:
        path: str = scope["path"]
        door = self._doors.get(path)
        if door is not None:
            return door
        first, _, second = path.lstrip("/").removesuffix("/").partition("/")
        door = self._named.get(first)
        if door is not None and second and "/" not in second:
            scope["path_params"] = {self._parameter: second}
            return door
        return None
