"""Direct routing for the endpoints that receive most requests.

An application's middleware and router cost as much time as parsing a call. `HotRouter` calls these endpoints
directly; all other requests go to the application.
"""

from collections.abc import Awaitable, Collection, Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from prosperstack_destination.http_responses import json_message


@dataclass(frozen=True, slots=True)
class HotRoute:
    """Endpoint and its methods."""

    endpoint: ASGIApp
    methods: Collection[str]
    #: Name in ``path_params`` of the second part of a path with two parts: a secret or an ID.
    parameter: str = "token"


class HotRouter:
    """Middleware that answers some paths itself, and passes all others on.

    ``routes`` are by path, ``parameter_routes`` by the first part of a path with two parts. Slashes at the end of a
    path are ignored: the endpoint's scope has the path without them.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: Mapping[str, HotRoute],
        parameter_routes: Mapping[str, HotRoute] | None = None,
    ) -> None:
        self._app = app
        self._routes = routes
        self._parameter_routes = parameter_routes or {}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Return the awaitable of the endpoint or of the application.

        This is not a coroutine itself: one more coroutine around a request would cost time at each of its steps.
        """
        route = (self._routes.get(scope["path"]) or self._find(scope)) if scope["type"] == "http" else None
        if route is None:
            return self._app(scope, receive, send)
        if scope["method"] in route.methods:
            return route.endpoint(scope, receive, send)
        allowed = ", ".join(sorted(route.methods))
        return json_message(405, f"Only {allowed} is answered here.", {"Allow": allowed})(scope, receive, send)

    def _find(self, scope: Scope) -> HotRoute | None:
        path = scope["path"].rstrip("/")
        route = self._routes.get(path)
        if route is None:
            first, _, second = path.lstrip("/").partition("/")
            route = self._parameter_routes.get(first)
            if route is None or not second or "/" in second:
                return None
            scope["path_params"] = {route.parameter: second}
        scope["path"] = path
        return route
