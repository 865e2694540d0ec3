"""ASGI application: routes, middleware, lifespan and error handlers."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import Any, Final

import httpx
import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prosperstack_destination import __version__, logs
from prosperstack_destination.api import ROUTERS
from prosperstack_destination.api_docs.page import docs_routes
from prosperstack_destination.bootstrap import build_services
from prosperstack_destination.cancel_flow.endpoint import describe_connector
from prosperstack_destination.clock import Clock, system_clock
from prosperstack_destination.components import CancelFlow, Ingest, Services
from prosperstack_destination.dashboard.routes import dashboard_routes
from prosperstack_destination.errors import DestinationError
from prosperstack_destination.health import create_health_router
from prosperstack_destination.http_responses import json_message
from prosperstack_destination.ingest import openapi
from prosperstack_destination.ingest.hot_router import HotRoute, HotRouter
from prosperstack_destination.ingest.tracking_api import KINDS, METHODS, METRICS, SHORT_KINDS
from prosperstack_destination.lifecycle import running
from prosperstack_destination.logs import traceback_without_values
from prosperstack_destination.middleware import AdminPortMiddleware, BodyDeadline, RequestContextMiddleware
from prosperstack_destination.observability.metrics import metrics_router
from prosperstack_destination.settings import Role, Settings, read_settings, reveal

log = structlog.get_logger(__name__)

#: Methods that Segment's Webhooks (Actions) destination may use.
_IDENTIFY_METHODS: Final = ["POST", "PUT", "PATCH"]
_SDK_SETTINGS_METHODS: Final = ["GET", "HEAD", "OPTIONS"]


def create_app(
    settings: Settings,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    segment_transport: httpx.AsyncBaseTransport | None = None,
    clock: Clock = system_clock,
) -> FastAPI:
    """Return the application. Its lifespan starts and stops the service.

    ``transport`` replaces the network to ProsperStack, ``segment_transport`` that to Segment's Public API. Raises
    `ConfigurationError` for settings that do not fit together.
    """
    services = build_services(settings, clock, transport, segment_transport)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with running(services):
            yield

    app = _App(
        outer_middleware=partial(_wrap_in_middleware, services),
        title="ProsperStack Destination",
        version=__version__,
        summary="A Segment destination: traits become, and stay, subscribers' custom properties.",
        lifespan=lifespan,
        # FastAPI would serialize the document for each request; see `_install_openapi`.
        openapi_url=None,
        # `api_docs` serves the documentation: FastAPI's own pages load scripts from another host.
        docs_url=None,
        redoc_url=None,
        # `observability.tracing` makes the spans: FastAPI's would hold whole paths, with the tokens in them.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
        routes=_plain_routes(services),
        exception_handlers={HTTPException: _http_error, Exception: _handle_exception},
    )
    app.state.services = services.admin
    app.state.sessions = services.dashboard.sessions
    app.state.live = services.dashboard.live
    _include_routers(app, services)
    _install_openapi(app)
    return app


def from_environment() -> FastAPI:
    """Return the application for the environment's settings: the factory for any ASGI server.

    Sets up logging for the process. Raises `ConfigurationError` as `create_app` does.
    """
    settings = read_settings()
    logs.configure(settings.log_format, settings.log_level)
    return create_app(settings)


class _App(FastAPI):
    """FastAPI application inside ``outer_middleware``.

    FastAPI's own work for each request costs more time than parsing a call. The outer middleware answers the most
    frequent requests before FastAPI sees them.
    """

    def __init__(self, *, outer_middleware: Callable[[ASGIApp], ASGIApp], **settings: Any) -> None:
        super().__init__(**settings)
        self._entry = outer_middleware(super().__call__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or run the lifespan."""
        await self._entry(scope, receive, _report_startup_error(send) if scope["type"] == "lifespan" else send)


def _plain_routes(services: Services) -> list[BaseRoute]:
    """Return the routes that are not FastAPI routes: the dashboard, the documentation, the settings of SDKs."""
    dashboard, settings = services.dashboard, services.foundation.settings
    sdk_settings = _ingest_or_503(settings.role, services.ingest.sdk_settings)
    return [
        *dashboard_routes(
            services.admin, dashboard.sessions, dashboard.live, dashboard.templates, settings.trusted_proxies
        ),
        Route("/v1/projects/{key}/settings", sdk_settings, methods=_SDK_SETTINGS_METHODS),
        *docs_routes(),
    ]


def _include_routers(app: FastAPI, services: Services) -> None:
    """Add the FastAPI routers: health checks, the API and the metrics."""
    foundation, reconciliation = services.foundation, services.reconciliation
    app.include_router(
        create_health_router(foundation.database, services.ingest.calls.failure, reconciliation.is_alive)
    )
    for router in ROUTERS:
        app.include_router(router)
    token = reveal(foundation.settings.metrics_token)
    app.include_router(metrics_router(services.observability.metrics, services.observability.accounts, token))


def _report_startup_error(send: Send) -> Send:
    """Report a startup error of a setting or a signal in one sentence, and any other without personal data."""

    async def send_with_reason(message: Message) -> None:
        error = sys.exc_info()[1]  # the error that Starlette is about to report
        if message["type"] == "lifespan.startup.failed" and isinstance(error, DestinationError):
            message = {**message, "message": f"The service cannot start. {error}"}
        elif message["type"] == "lifespan.startup.failed" and isinstance(error, asyncio.CancelledError):
            message = {**message, "message": "The service was stopped before it had started."}
        elif message["type"] == "lifespan.startup.failed" and error is not None:
            text = f"The service cannot start because of an internal error.\n{traceback_without_values(error)}"
            message = {**message, "message": text}
        await send(message)

    return send_with_reason


def _wrap_in_middleware(services: Services, app: ASGIApp) -> ASGIApp:
    """Return the application inside the middleware. The last one added is the first that a request meets."""
    settings = services.foundation.settings
    routes = _hot_routes(settings.role, services.ingest)
    entry: ASGIApp = HotRouter(
        BodyDeadline(app), routes, _parameter_routes(settings.role, services.ingest, services.cancel_flow)
    )
    if settings.admin_port is not None:
        entry = AdminPortMiddleware(entry, settings.admin_port)
    return RequestContextMiddleware(entry, _internal_error, services.observability.traces)


def _hot_routes(role: Role, ingest: Ingest) -> dict[str, HotRoute]:
    """Return the endpoints for calls, by path."""
    tracking = HotRoute(_ingest_or_503(role, ingest.tracking), METHODS)
    identify = HotRoute(_ingest_or_503(role, ingest.identify), _IDENTIFY_METHODS)
    return {"/identify": identify} | {f"/v1/{kind}": tracking for kind in (*KINDS, *SHORT_KINDS, METRICS)}


def _parameter_routes(role: Role, ingest: Ingest, cancel_flow: CancelFlow) -> dict[str, HotRoute]:
    """Return the endpoints whose path has a second part, a token or an ID, by its first part."""
    return {
        "webhook": HotRoute(_ingest_or_503(role, ingest.identify), _IDENTIFY_METHODS, "account_id"),
        "data-connector": HotRoute(cancel_flow.data_connector, ["POST"]),
        "flow-webhook": HotRoute(cancel_flow.flow_webhook, ["POST"]),
    }


def _ingest_or_503(role: Role, endpoint: ASGIApp) -> ASGIApp:
    return endpoint if role is not Role.RECONCILE else _ingest_disabled


async def _ingest_disabled(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 503 to a call in a process that receives none. A retry may reach another process."""
    text = "This process receives no calls (ROLE=reconcile): send them to a process that does."
    await json_message(503, text, {"Retry-After": "5"})(scope, receive, send)


async def _http_error(_: Request, error: Exception) -> Response:
    """Return Starlette's own errors (404, 405) as JSON with a message, which Segment shows."""
    assert isinstance(error, HTTPException)  # noqa: S101 -- registered for this class only
    return json_message(error.status_code, error.detail, error.headers)


async def _handle_exception(_: Request, error: Exception) -> Response:
    return _internal_error(error)


def _internal_error(_: Exception) -> Response:
    """Return the response of a request that failed unexpectedly; `RequestContextMiddleware` logs the error."""
    return json_message(500, "An internal error, which is logged; it is safe to send the call again.")


def _install_openapi(app: FastAPI) -> None:
    """Add the endpoints that are not FastAPI routes to the OpenAPI document, and serve it from memory."""
    generate = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = describe_connector(openapi.describe(generate()))
        return app.openapi_schema

    @cache
    def content() -> bytes:
        return bytes(JSONResponse(document()).body)

    async def show(_: Request) -> Response:
        return Response(content(), media_type="application/json")

    app.openapi = document  # type: ignore[method-assign] # FastAPI's documented way to extend it
    app.router.routes.append(Route("/openapi.json", show, include_in_schema=False))
