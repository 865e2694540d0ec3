"""What the server runs: the service behind its routes, and the way that every request takes to them."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import httpx
import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prosperstack_destination import __version__, logs
from prosperstack_destination.api.routers import ROUTERS
from prosperstack_destination.api_docs.page import docs_routes
from prosperstack_destination.body_deadline import BodyDeadline
from prosperstack_destination.bootstrap import Services
from prosperstack_destination.cancel_flow.openapi import describe_connector
from prosperstack_destination.clock import Clock, system_clock
from prosperstack_destination.dashboard.routes import dashboard_routes
from prosperstack_destination.errors import DestinationError
from prosperstack_destination.health import create_health_router
from prosperstack_destination.http_client import create_http_client
from prosperstack_destination.ingest import openapi
from prosperstack_destination.ingest.hot_router import HotRoute, HotRouter
from prosperstack_destination.ingest.responses import json_message
from prosperstack_destination.ingest.tracking_api import KINDS, METHODS, METRICS, SHORT_KINDS
from prosperstack_destination.middleware import AdminPortMiddleware, RequestContextMiddleware
from prosperstack_destination.observability.metrics_route import metrics_router
from prosperstack_destination.settings import Role, Settings, read_settings, reveal
from prosperstack_destination.tracebacks import traceback_without_values

log = structlog.get_logger(__name__)

#: Segment's Webhooks (Actions) destination may be set to any of these.
_RECEIVING: Final = ["POST", "PUT", "PATCH"]
_SETTINGS: Final = ["GET", "HEAD", "OPTIONS"]


def create_app(
    settings: Settings,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    segment_transport: httpx.AsyncBaseTransport | None = None,
    clock: Clock = system_clock,
) -> FastAPI:
    """Build the service. Its resources are opened and closed by the application's lifespan.

    ``transport`` carries the requests to ProsperStack, ``segment_transport`` those to Segment's Public API; by
    default the network does. Raises `ConfigurationError` where the settings make no service.
    """
    service = Services(settings, create_http_client(transport), create_http_client(segment_transport), clock)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = _App(
        outer_middleware=partial(_wrap_in_middleware, service, settings),
        title="ProsperStack Destination",
        version=__version__,
        summary="A Segment destination: traits become, and stay, subscribers' custom properties.",
        lifespan=lifespan,
        # `api_docs` shows it: FastAPI's own pages load scripts from another host.
        docs_url=None,
        redoc_url=None,
        # `observability.tracing` traces; FastAPI would put whole paths, with the tokens in them, into its spans.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
        routes=[
            *dashboard_routes(
                service.admin, service.sessions, service.live, service.templates, settings.trusted_proxies
            ),
            Route("/v1/projects/{key}/settings", _ingest_or_503(service, service.sdk_settings), methods=_SETTINGS),
            *docs_routes(),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _handle_exception},
    )
    app.state.services = service.admin
    app.state.sessions = service.sessions
    app.state.live = service.live
    app.include_router(create_health_router(service.database, service.inbox.failure, service.reconciler_is_alive))
    for router in ROUTERS:
        app.include_router(router)
    app.include_router(metrics_router(service.metrics, service.database, clock, reveal(settings.metrics_token)))
    _install_openapi(app)
    return app


def from_environment() -> FastAPI:
    """Build the service from the environment, as ``serve`` does: the factory for any other ASGI server.

    Sets up logging for the process. Raises `ConfigurationError` as `create_app` does.
    """
    settings = read_settings()
    logs.configure(settings.log_format, settings.log_level)
    return create_app(settings)


class _App(FastAPI):
    """FastAPI within what is nearer to the door: ``around`` puts that around all of it.

    What it does for each request costs more than understanding a call does, and what is called all day needs
    nothing of that.
    """

    def __init__(self, *, outer_middleware: Callable[[ASGIApp], ASGIApp], **settings: Any) -> None:
        super().__init__(**settings)
        self._entry = outer_middleware(super().__call__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or go through the lifespan."""
        await self._entry(scope, receive, _report_startup_error(send) if scope["type"] == "lifespan" else send)


def _report_startup_error(send: Send) -> Send:
    """Report a start that a setting or a signal ends in a sentence; any other fault without people's values."""

    async def send_with_reason(message: Message) -> None:
        error = sys.exc_info()[1]  # of which Starlette tells just now
        if message["type"] == "lifespan.startup.failed" and isinstance(error, DestinationError):
            message = {**message, "message": f"The service cannot start. {error}"}
        elif message["type"] == "lifespan.startup.failed" and isinstance(error, asyncio.CancelledError):
            message = {**message, "message": "The service was stopped before it had started."}
        elif message["type"] == "lifespan.startup.failed" and error is not None:
            text = f"The service cannot start, by a fault of its own.\n{traceback_without_values(error)}"
            message = {**message, "message": text}
        await send(message)

    return send_with_reason


def _wrap_in_middleware(service: Services, settings: Settings, app: ASGIApp) -> ASGIApp:
    """The way of every request, from its end to its beginning."""
    entry: ASGIApp = HotRouter(BodyDeadline(app), *_hot_routes(service))
    if settings.admin_port is not None:
        entry = AdminPortMiddleware(entry, settings.admin_port)
    return RequestContextMiddleware(entry, _internal_error, service.traces)


def _hot_routes(service: Services) -> tuple[dict[str, HotRoute], dict[str, HotRoute]]:
    """The doors by their path, and those of which the second part of the path is a token or an id."""
    tracking = HotRoute(_ingest_or_503(service, service.tracking), METHODS)
    receiving = {"/identify": HotRoute(_ingest_or_503(service, service.identify), _RECEIVING)}
    named = {
        "webhook": HotRoute(_ingest_or_503(service, service.identify), _RECEIVING, "account_id"),
        "data-connector": HotRoute(service.data_connector, ["POST"]),
        "flow-webhook": HotRoute(service.flow_webhook, ["POST"]),
    }
    return receiving | {f"/v1/{kind}": tracking for kind in (*KINDS, *SHORT_KINDS, METRICS)}, named


def _ingest_or_503(service: Services, endpoint: ASGIApp) -> ASGIApp:
    return endpoint if service.role is not Role.RECONCILE else _ingest_disabled


async def _ingest_disabled(scope: Scope, receive: Receive, send: Send) -> None:
    """A call that came to a process which takes none: whoever sends it again may reach another one."""
    text = "This process takes no calls (ROLE=reconcile): have them sent to one that does."
    await json_message(503, text, {"Retry-After": "5"})(scope, receive, send)


async def _http_error(_: Request, error: Exception) -> Response:
    """What Starlette answers by itself (404, 405), in the form that Segment shows."""
    assert isinstance(error, HTTPException)  # noqa: S101 -- it is registered for nothing else
    return json_message(error.status_code, error.detail, error.headers)


async def _handle_exception(_: Request, error: Exception) -> Response:
    return _internal_error(error)


def _internal_error(_: Exception) -> Response:
    """Answer a request that a bug of this service broke off; `RequestContextMiddleware` logs the bug."""
    return json_message(500, "An internal error, which is logged; it is safe to send the call again.")


def _install_openapi(app: FastAPI) -> None:
    """Have the OpenAPI document describe the endpoints that are no FastAPI routes as well."""
    generate = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = describe_connector(openapi.describe(generate()))
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign] # FastAPI's documented way to extend it
