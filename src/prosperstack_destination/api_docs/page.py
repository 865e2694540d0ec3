"""Routes of the API documentation, with the dashboard's Content-Security-Policy and no resources of other hosts."""

from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from prosperstack_destination.dashboard.routing import html
from prosperstack_destination.dashboard.static_files import Assets

PREFIX: Final = "/docs/static"
_FOLDER: Final = Path(__file__).parent / "static"
#: The policy allows no inline scripts and styles.
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API of ProsperStack Destination</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{style}">
</head>
<body>
<div id="docs"></div>
<noscript>This page needs JavaScript. The <a href="/openapi.json">OpenAPI document</a> does not.</noscript>
<script src="{bundle}"></script>
<script src="{script}"></script>
</body>
</html>
"""


def docs_routes() -> list[BaseRoute]:
    """Return the routes of ``/docs``, its files, and ``/redoc``, which redirects there."""
    assets = Assets(_FOLDER, PREFIX)
    page = _PAGE.format(
        style=assets.url("swagger-ui.css"), bundle=assets.url("swagger-ui-bundle.js"), script=assets.url("docs.js")
    )

    async def show(_: Request) -> Response:
        return html(page)

    async def redirect(_: Request) -> Response:
        return RedirectResponse("/docs", 308)

    return [
        Route("/docs", show, methods=["GET"], include_in_schema=False),
        Route(f"{PREFIX}/{{name}}", assets.serve, methods=["GET"], include_in_schema=False),
        Route("/redoc", redirect, methods=["GET"], include_in_schema=False),
    ]
