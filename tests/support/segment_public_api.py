"""A stand-in for Segment's Public API: one workspace, with faults that can be switched on.

It shares no code with the client. Handed to an `httpx.ASGITransport`, or to a server on a port of its own.
"""

import asyncio
import base64
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

TOKEN = "sgp_a-workspace-token"
ALPHA = "application/vnd.segment.v1alpha+json"
PROSPERSTACK = "6116daebcc926a434fe41bb3"
WEBHOOKS = "614a3c7d791c91c41bae7599"

Handler = Callable[[Request], Awaitable[Response]]


@dataclass
class Fault:
    """What happens instead of an answer."""

    status: int = 500
    #: Segment's words; "": no error body of Segment's, but a page.
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    #: How long it takes before that; with no status it is answered well after.
    seconds: float = 0.0

    def response(self) -> Response:
        if not self.message:
            return HTMLResponse("<h1>Bad gateway</h1>", self.status, self.headers)
        body = {"errors": [{"type": "some-error", "message": self.message, "field": None}]}
        return JSONResponse(body, self.status, self.headers)


class SegmentWorkspace:
    """What the workspace has, and what was asked of it."""

    def __init__(self, sources: int = 450, others_in_catalog: int = 120) -> None:
        self.tokens = {TOKEN}
        self.id = "ws_acme"
        self.name = "Acme"
        self.sources: list[dict[str, Any]] = [_source(number) for number in range(sources)]
        self.catalog = [_entry(f"other-{number}", f"{number:024x}") for number in range(others_in_catalog)]
        self.catalog.insert(20, _entry("prosperstack", PROSPERSTACK))
        self.catalog.append(_entry("actions-webhook", WEBHOOKS, "send"))
        self.destinations: dict[str, dict[str, Any]] = {}
        #: By the destination's id.
        self.subscriptions: dict[str, list[dict[str, Any]]] = {}
        #: By operation, as in "POST /destinations" or "DELETE /destinations/{id}".
        self.faults: dict[str, Fault] = {}
        self.asked: Counter[str] = Counter()
        #: What no client should have sent.
        self.cookies: list[str] = []
        self._ids = itertools.count(1)

    def fail(self, operation: str, status: int = 500, message: str = "", **more: Any) -> None:
        """Have an operation fail from now on."""
        self.faults[operation] = Fault(status, message, **more)

    def source(self, source_id: str) -> dict[str, Any]:
        """A source, to be changed."""
        return next(each for each in self.sources if each["id"] == source_id)

    def make(self, body: dict[str, Any]) -> dict[str, Any]:
        """A new destination, as Segment shows it."""
        entry = next(each for each in self.catalog if each["id"] == body["metadataId"])
        made = {
            "id": f"{next(self._ids):024x}",
            "name": body.get("name", entry["name"]),
            "enabled": body["enabled"],
            "sourceId": body["sourceId"],
            "metadata": entry,
            "settings": dict(body["settings"]),
        }
        self.destinations[made["id"]] = made
        return made


def segment_public_api(workspace: SegmentWorkspace) -> Starlette:
    """The stand-in for a workspace."""

    def route(method: str, path: str, handler: Handler) -> Route:
        operation = f"{method} {path.replace('{destination_id}', '{id}')}"

        async def answered(request: Request) -> Response:
            workspace.asked[operation] += 1
            workspace.cookies += [request.headers["cookie"]] if "cookie" in request.headers else []
            fault = workspace.faults.get(operation)
            if fault is not None:
                await asyncio.sleep(fault.seconds)
                if fault.status:
                    return fault.response()
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if scheme != "Bearer" or token not in workspace.tokens:
                return _error(401, "unauthorized", "The token is invalid")
            response = await handler(request)
            response.set_cookie("session", token)
            return response

        return Route(path, answered, methods=[method])

    async def whose(_: Request) -> Response:
        return _data({"workspace": {"id": workspace.id, "slug": workspace.name.lower(), "name": workspace.name}})

    async def sources(request: Request) -> Response:
        return _page(request, "sources", workspace.sources)

    async def catalog(request: Request) -> Response:
        return _page(request, "destinationsCatalog", workspace.catalog)

    async def destinations(request: Request) -> Response:
        return _page(request, "destinations", [_masked(each) for each in workspace.destinations.values()])

    async def create(request: Request) -> Response:
        body = await request.json()
        if body.keys() != {"sourceId", "metadataId", "name", "enabled", "settings"}:
            return _error(422, "validation-failure", f"unexpected fields: {sorted(body)}")
        if body["sourceId"] not in {each["id"] for each in workspace.sources}:
            return _error(404, "not-found", "there is no such source")
        return _data({"destination": _masked(workspace.make(body))})

    async def change(request: Request) -> Response:
        made = workspace.destinations.get(request.path_params["destination_id"])
        if made is None:
            return _error(404, "not-found", "there is no such destination")
        made.update(await request.json())
        return _data({"destination": _masked(made)})

    async def delete(request: Request) -> Response:
        made = workspace.destinations.pop(request.path_params["destination_id"], None)
        if made is None:
            return _error(404, "not-found", "there is no such destination")
        workspace.subscriptions.pop(made["id"], None)
        return _data({"status": "SUCCESS"})

    async def subscribe(request: Request) -> Response:
        if request.headers["Content-Type"] != ALPHA:
            return _error(404, "not-found", "there is no such operation in this version")
        made = workspace.destinations.get(request.path_params["destination_id"])
        if made is None:
            return _error(404, "not-found", "there is no such destination")
        body = await request.json()
        actions = {action["id"] for action in made["metadata"]["actions"]}
        if body["actionId"] not in actions or not {"name", "trigger", "enabled"} <= body.keys():
            return _error(422, "validation-failure", "the subscription is malformed")
        workspace.subscriptions.setdefault(made["id"], []).append(body)
        return _data({"destinationSubscription": {"id": "sub_1", "destinationId": made["id"], **body}})

    return Starlette(
        routes=[
            route("GET", "/", whose),
            route("GET", "/sources", sources),
            route("GET", "/catalog/destinations", catalog),
            route("GET", "/destinations", destinations),
            route("POST", "/destinations", create),
            route("PATCH", "/destinations/{destination_id}", change),
            route("DELETE", "/destinations/{destination_id}", delete),
            route("POST", "/destinations/{destination_id}/subscriptions", subscribe),
        ]
    )


def _source(number: int) -> dict[str, Any]:
    return {
        "id": f"src_{number:04}",
        "slug": f"source-{number}",
        "name": f"Source {number}" if number else None,
        "enabled": number % 10 != 9,
        "workspaceId": "ws_acme",
        "writeKeys": ["a-write-key-that-is-nobodys-business"],
        "labels": [],
    }


def _entry(slug: str, metadata_id: str, *actions: str) -> dict[str, Any]:
    made = [{"id": f"act_{each}", "slug": each, "name": each.title(), "fields": []} for each in actions]
    return {"id": metadata_id, "slug": slug, "name": slug.title(), "options": [], "actions": made}


def _masked(destination: dict[str, Any]) -> dict[str, Any]:
    """As Segment shows settings that are secret."""
    hidden = {key: f"••••••{value[-4:]}" for key, value in destination["settings"].items()}
    return {**destination, "settings": hidden}


def _page(request: Request, name: str, items: list[dict[str, Any]]) -> Response:
    count = request.query_params.get("pagination.count", "")
    if not (count.isdigit() and 1 <= int(count) <= 200):
        return _error(422, "validation-failure", "pagination.count must be between 1 and 200")
    begin = int(base64.b64decode(request.query_params.get("pagination.cursor", "MA==")))
    end = begin + int(count)
    following = base64.b64encode(str(end).encode()).decode() if end < len(items) else None
    pagination = {"current": "…", "next": following, "previous": None, "totalEntries": len(items)}
    return _data({name: items[begin:end], "pagination": pagination})


def _data(data: dict[str, Any]) -> Response:
    return Response(json.dumps({"data": data}), media_type="application/json")


def _error(status: int, kind: str, message: str) -> Response:
    return JSONResponse({"errors": [{"type": kind, "message": message}]}, status)
