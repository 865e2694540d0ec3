"""Tests that the API covers the dashboard."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.routing import Route

from prosperstack_destination.app import create_app
from support.service import settings

ACCOUNT: Final = "/api/accounts/{account_id}"

#: Each form of the dashboard, below ``/dashboard`` or ``/dashboard/a/{account_id}``, and the routes of the API that
#: do what it does, below ``/api/accounts/{account_id}`` where they do not say otherwise.
DONE_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "/accounts": ("POST /api/accounts",),
    "/tokens": ("POST /api/tokens",),
    "/tokens/revoke": ("DELETE /api/tokens/{token}",),
    "/a/{account_id}/calls/test": ("POST /calls/test",),
    # Without a draft that a browser sends along: the mapping is proposed as a whole.
    "/a/{account_id}/mapping/edit": ("GET /mapping", "POST /mapping/check"),
    "/a/{account_id}/mapping/map": ("GET /mapping", "GET /coverage", "POST /mapping/check"),
    "/a/{account_id}/mapping/suggested": ("GET /problems", "POST /mapping/check"),
    "/a/{account_id}/mapping/calls": ("GET /mapping", "POST /mapping/check"),
    "/a/{account_id}/mapping/options": ("GET /mapping", "POST /mapping/preview"),
    "/a/{account_id}/mapping/preview": ("POST /mapping/try",),
    "/a/{account_id}/mapping/review": ("GET /mapping", "POST /mapping/check"),
    "/a/{account_id}/mapping/figures": ("POST /mapping/preview",),
    "/a/{account_id}/mapping/apply": ("PUT /mapping",),
    "/a/{account_id}/mapping/rollback": ("POST /mapping/rollback",),
    "/a/{account_id}/people/{profile_id}/erase": ("DELETE /profiles/{profile_id}",),
    "/a/{account_id}/people/{profile_id}/overwrite": ("POST /replay",),
    "/a/{account_id}/people/{profile_id}/retry": ("POST /profiles/{profile_id}/retry",),
    "/a/{account_id}/people/{profile_id}/sync": ("POST /profiles/{profile_id}/sync",),
    "/a/{account_id}/problems/replay": ("POST /replay",),
    "/a/{account_id}/problems/retry": ("POST /problems/retry",),
    "/a/{account_id}/problems/retry-all": ("POST /problems/retry",),
    "/a/{account_id}/retry": ("POST /retry",),
    "/a/{account_id}/segment/by-hand/{method}": ("POST /keys", "POST /secrets"),
    "/a/{account_id}/segment/connect": ("POST /segment/workspace", "PUT /segment/token"),
    "/a/{account_id}/segment/connections/{connection_id}": (
        "POST /segment/connections/{connection_id}/disconnect",
    ),
    "/a/{account_id}/segment/forget-token": ("DELETE /segment/token",),
    "/a/{account_id}/segment/sources": ("POST /segment/connections",),
    "/a/{account_id}/settings/choices": ("PATCH ",),
    "/a/{account_id}/settings/issue": ("POST /keys", "POST /secrets", "POST /connectors"),
    "/a/{account_id}/settings/prosperstack-key": ("PUT /key",),
    "/a/{account_id}/settings/remove": ("DELETE ",),
    "/a/{account_id}/settings/revoke": (
        *("DELETE /keys/{key}", "DELETE /secrets/{secret}", "DELETE /connectors/{connector}"),
    ),
}
#: A token needs no session, and a mapping is proposed to the API as a whole: only the dashboard keeps drafts.
OF_THE_DASHBOARD: Final = {"/login", "/logout", "/a/{account_id}/mapping/discard"}

#: Each page that shows something, and where the API tells it.
TOLD_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "/accounts": ("GET /api/accounts", "GET /api/tokens"),
    "/a/{account_id}/overview": ("GET /overview", "GET /history"),
    "/a/{account_id}/segment": ("GET /segment/connections", "GET /sources"),
    "/a/{account_id}/segment/connections/{connection_id}": ("GET /segment/connections",),
    "/a/{account_id}/segment/connect": ("GET /segment/token",),
    "/a/{account_id}/segment/sources": ("POST /segment/workspace",),
    "/a/{account_id}/segment/by-hand/{method}": ("GET /keys", "GET /secrets"),
    "/a/{account_id}/mapping": ("GET /coverage", "GET /mapping/progress"),
    "/a/{account_id}/mapping/edit": ("GET /mapping",),
    "/a/{account_id}/mapping/calls": ("GET /mapping", "GET /coverage"),
    "/a/{account_id}/mapping/export": ("GET /mapping",),
    "/a/{account_id}/mapping/review": ("GET /mapping", "POST /mapping/check"),
    "/a/{account_id}/mapping/history": ("GET /mapping/history",),
    "/a/{account_id}/mapping/history/{version:int}": ("GET /mapping",),
    "/a/{account_id}/calls": ("GET /calls",),
    "/a/{account_id}/calls/{call_id:int}": ("GET /calls/{call_id}",),
    "/a/{account_id}/people": ("GET /profiles",),
    "/a/{account_id}/people/{profile_id}": ("GET /profiles/{profile_id}",),
    "/a/{account_id}/people/{profile_id}/traits/{digest}": ("GET /profiles/{profile_id}",),
    "/a/{account_id}/problems": ("GET /problems", "GET /failures"),
    "/a/{account_id}/problems/replay": ("GET /replay",),
    "/a/{account_id}/settings": (
        "GET ",
        "GET /keys",
        "GET /secrets",
        "GET /connectors",
        "GET /sources",
        "GET /audit",
    ),
}
#: What shows no more than another page does: the start, files, parts of pages.
OF_OTHERS: Final = {"", "/login", "/static/{name}", "/{rest:path}", "/a/{account_id}/mapping/coverage"}


def pages(app: FastAPI, method: str) -> set[str]:
    """The routes of the dashboard that take a method, but for those that send parts of pages."""
    found = (route for route in app.routes if isinstance(route, Route) and method in (route.methods or ()))
    paths = {route.path.removeprefix("/dashboard") for route in found if route.path.startswith("/dashboard")}
    return {path for path in paths if not path.endswith("/live")}


def routes(app: FastAPI) -> Iterator[str]:
    """The routes of the API."""
    for path, methods in app.openapi()["paths"].items():
        yield from (f"{method.upper()} {path}" for method in methods)


def whole(route: str) -> str:
    """A route of the tables above, with the beginning of its path."""
    method, _, path = route.partition(" ")
    return route if path.startswith("/api") else f"{method} {ACCOUNT}{path}"


def test_every_form_has_an_api_route(tmp_path: Path) -> None:
    """Every form of the dashboard has a route of the API."""
    app = create_app(settings(tmp_path))
    named = {whole(each) for done_by in DONE_BY.values() for each in done_by}

    assert pages(app, "POST") == DONE_BY.keys() | OF_THE_DASHBOARD
    assert named - set(routes(app)) == set()


def test_every_page_has_an_api_route(tmp_path: Path) -> None:
    """Every page of the dashboard has a route of the API."""
    app = create_app(settings(tmp_path))
    named = {whole(each) for told_by in TOLD_BY.values() for each in told_by}

    assert pages(app, "GET") == TOLD_BY.keys() | OF_OTHERS
    assert named - set(routes(app)) == set()
