"""The composition root: it builds the service from its settings, which nothing else reads."""

import asyncio
import os
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, Final

import httpx
import structlog
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import make_url
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from prosperstack_destination import __version__
from prosperstack_destination.accounts.accounts import Accounts
from prosperstack_destination.accounts.operators import Operators
from prosperstack_destination.accounts.password import known_password, password_of
from prosperstack_destination.accounts.rotation import use_kept_pseudonyms
from prosperstack_destination.accounts.vault import Vault, secret_beside, secret_in, subject_of
from prosperstack_destination.api.routers import ROUTERS
from prosperstack_destination.clock import Clock, system_clock
from prosperstack_destination.connector.endpoint import DataConnectorEndpoint, FlowWebhookEndpoint
from prosperstack_destination.connector.front import Front
from prosperstack_destination.connector.knowledge import Knowledge as PeopleKnowledge
from prosperstack_destination.connector.openapi import describe_connector
from prosperstack_destination.connector.tokens import Tokens
from prosperstack_destination.connector.wire import Shape
from prosperstack_destination.dashboard.live import Live
from prosperstack_destination.dashboard.rendering import compile_templates
from prosperstack_destination.dashboard.routes import dashboard_routes
from prosperstack_destination.dashboard.sessions import Sessions
from prosperstack_destination.entrances import Entrances
from prosperstack_destination.errors import Misconfigured, StoreUnavailable
from prosperstack_destination.health import health_router
from prosperstack_destination.operations.accounts import find
from prosperstack_destination.operations.counting import Counting
from prosperstack_destination.operations.desk import COUNTED, EVERYBODY, Desk
from prosperstack_destination.operations.keeping import Kept
from prosperstack_destination.operations.knowing import knowledge_of
from prosperstack_destination.operations.mending import ReplayCost, replay_cost
from prosperstack_destination.operations.replaying import Replays
from prosperstack_destination.prosperstack.budget import RateLimit
from prosperstack_destination.prosperstack.client import Guard, ProsperStack
from prosperstack_destination.segment import openapi
from prosperstack_destination.segment.answers import message
from prosperstack_destination.segment.endpoint import IdentifyEndpoint
from prosperstack_destination.segment.explain import Knowledge
from prosperstack_destination.segment.front_door import Door, FrontDoor
from prosperstack_destination.segment.reception import Reception
from prosperstack_destination.segment.tracking import KINDS, TrackingEndpoint
from prosperstack_destination.segment_workspace.connections import Workspaces
from prosperstack_destination.settings import Role, Settings
from prosperstack_destination.state import problems, recent_calls, standing
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.database import Database, backend_of
from prosperstack_destination.state.inbox import GroupCommit
from prosperstack_destination.state.intake import Taken, take_in
from prosperstack_destination.state.problems import Kind
from prosperstack_destination.state.profile import Call, Identify, Status
from prosperstack_destination.state.wakeups import Wakeups
from prosperstack_destination.sync.housekeeping import Bounds, Housekeeper
from prosperstack_destination.sync.reconciler import Reconciler
from prosperstack_destination.sync.reprojecting import Reprojector
from prosperstack_destination.watching.feed import Feed
from prosperstack_destination.watching.metrics import Metrics
from prosperstack_destination.watching.route import metrics_router
from prosperstack_destination.watching.sampling import Sample
from prosperstack_destination.watching.scope import RequestScope
from prosperstack_destination.watching.tracing import Traces, exporting
from prosperstack_destination.watching.watch import Watch

log = structlog.get_logger(__name__)

#: Connecting to ProsperStack, and each wait for bytes of it, in seconds.
HTTP_SECONDS: Final = 10.0
#: Segment's Webhooks (Actions) destination may be set to any of these.
_UNSTEPPED: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux; elsewhere the next best
_RECEIVING: Final = ["POST", "PUT", "PATCH"]


def create_app(
    settings: Settings,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    segment_transport: httpx.AsyncBaseTransport | None = None,
    clock: Clock = system_clock,
) -> FastAPI:
    """Build the service. Its resources are opened and closed by the application's lifespan.

    ``transport`` carries the requests to ProsperStack, ``segment_transport`` those to Segment's Public API; by
    default the network does. Raises `Misconfigured` where the settings make no service.
    """
    service = _Service(settings, _client(transport), _client(segment_transport), clock)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = _Application(
        around=partial(_entry, service, settings),
        title="ProsperStack Destination",
        version=__version__,
        summary="A Segment destination: traits become, and stay, subscribers' custom properties.",
        lifespan=lifespan,
        # `watching.tracing` traces; FastAPI would put whole paths, with the tokens in them, into its spans.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
        routes=[
            *dashboard_routes(service.desk, service.sessions, service.live),
            Route("/webhook/{account_id}", _receiver(service, service.identify), methods=_RECEIVING),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _broken},
    )
    app.state.desk = service.desk
    app.state.sessions = service.sessions
    app.state.live = service.live
    for router in ROUTERS:
        app.include_router(router)
    app.include_router(health_router(service.database, service.reconciler_is_alive))
    app.include_router(metrics_router(service.metrics, service.database, clock, _revealed(settings.metrics_token)))
    _document(app)
    return app


class _Application(FastAPI):
    """FastAPI within what is nearer to the door: ``around`` puts that around its own middlewares.

    Those cost as much as understanding a call does, and what is called all day needs nothing of them.
    """

    def __init__(self, *, around: Callable[[ASGIApp], ASGIApp], **settings: Any) -> None:
        self._around = around
        super().__init__(**settings)

    def build_middleware_stack(self) -> ASGIApp:
        """What is between the server and the routes."""
        return self._around(super().build_middleware_stack())


def _entry(service: "_Service", settings: Settings, app: ASGIApp) -> ASGIApp:
    """The way of every request, from its end to its beginning."""
    entry: ASGIApp = FrontDoor(app, *_doors(service))
    if settings.admin_port is not None:
        entry = Entrances(entry, settings.admin_port)
    return RequestScope(entry, _unexpected, service.traces)


def _client(transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    """A client that many accounts share: it keeps no cookies, which would tell one what belongs to another."""
    return httpx.AsyncClient(
        transport=transport,
        verify=_certificates() if transport is None else True,
        timeout=HTTP_SECONDS,
        headers={"User-Agent": f"prosperstack-destination/{__version__}"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        trust_env=transport is None,
    )


@cache
def _certificates() -> ssl.SSLContext:
    """Whom to trust on the network: read once, since that takes as long as everything else about a client."""
    return httpx.create_ssl_context()


def _doors(service: "_Service") -> tuple[dict[str, Door], dict[str, Door]]:
    """The doors by their path, and those of which the second part of the path is a token."""
    tracking = Door(_receiver(service, service.tracking), ["POST"])
    receiving = {"/identify": Door(_receiver(service, service.identify), _RECEIVING)}
    cancelling = {
        "data-connector": Door(service.data_connector, ["POST"]),
        "flow-webhook": Door(service.flow_webhook, ["POST"]),
    }
    return receiving | {f"/v1/{kind}": tracking for kind in KINDS}, cancelling


def _receiver(service: "_Service", endpoint: ASGIApp) -> ASGIApp:
    return endpoint if service.role is not Role.RECONCILE else _receives_not


async def _receives_not(scope: Scope, receive: Receive, send: Send) -> None:
    """A call that came to a process which takes none: whoever sends it again may reach another one."""
    text = "This process takes no calls (ROLE=reconcile): have them sent to one that does."
    await message(503, text, {"Retry-After": "5"})(scope, receive, send)


class _Service:
    """The parts, put together."""

    def __init__(
        self, settings: Settings, http: httpx.AsyncClient, segment_http: httpx.AsyncClient, clock: Clock
    ) -> None:
        self._settings = settings
        self._http = http
        self._segment_http = segment_http
        self.database = Database(settings.effective_database_url)
        self.role = settings.role
        replica = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(4)}"
        self._vault = vault_of(settings)
        self.metrics = Metrics()
        keep_calls = partial(recent_calls.append, pseudonym=self._vault.pseudonym, most=settings.recent_calls)
        self._feed = Feed(self.database, self.metrics.events_left_out.inc, clock, keep_calls)
        self.traces, self._end_traces = _tracing(settings)
        sample = Sample(_monotonic) if settings.recent_calls else None
        self._watch = watch = Watch(self.metrics, self._feed, self._subject, clock, self.traces, sample)
        self.accounts = Accounts(
            self.database,
            self._vault,
            self._connect,
            clock,
            allow_pass_through=settings.allow_pass_through,
        )
        self.reconciler = Reconciler(
            self.database,
            self._connect_account,
            replica=replica,
            reserve=settings.rate_limit_reserve,
            bulk_share=settings.bulk_share,
            clock=clock,
            ticks=_monotonic,
            observer=watch,
        )
        self.reprojector = Reprojector(
            self.database,
            self._changed,
            clock=clock,
            ticks=_monotonic,
            is_ours=lambda: self.reconciler.holdings.is_first,
        )
        self.inbox = GroupCommit(self._commit, self._changed)
        scanning = asyncio.Lock()
        self.desk = Desk(
            self.database,
            Operators(self.database, clock),
            clock,
            Workspaces(self.database, self._vault, segment_http, clock, self.accounts.forget),
            reserve=settings.rate_limit_reserve,
            vault=self._vault,
            on_change=self.reprojector.begun,
            wake=self._changed,
            on_keys=self.accounts.forget,
            reception=Reception(self.inbox, clock, watch),
            apart=settings.admin_port is not None,
            scanning=scanning,
            counting=Counting(self.database, clock, scanning),
            backlogs=Kept(self._backlogs, _monotonic),
            problem_kinds=Kept(self._problem_kinds, _monotonic),
            replay_costs=Kept(self._replay_cost, _monotonic),
            replays=Replays(self.database, clock, self._changed),
        )
        self.sessions = Sessions(self.database, clock)
        self.live = Live()
        bounds = Bounds(
            settings.retention_days, settings.audit_days, settings.audit_rows, calls=settings.recent_calls
        )
        self._housekeeper = Housekeeper(self.database, bounds, lambda: self.reconciler.holdings.is_first, clock)
        hear = None if self.role is Role.RECEIVE else self.reconciler.wake
        self._wakeups = Wakeups(self.database, settings.effective_database_url, replica, hear)
        self.tracking = TrackingEndpoint(self.accounts, self.inbox, clock, watch)
        self.identify = IdentifyEndpoint(
            self.accounts,
            self.inbox,
            _Library(self.database),
            clock,
            array_bytes=settings.max_array_bytes,
            observer=watch,
        )
        self._front = Front(self.database, self._changed, clock)
        self._tokens = Tokens(self.database, clock)
        known = PeopleKnowledge(self.database, clock)
        shape = Shape(settings.data_connector_shape)
        self.data_connector = DataConnectorEndpoint(self._tokens, known, self._front, watch.cancel_flow, shape)
        self.flow_webhook = FlowWebhookEndpoint(self._tokens, known, self._front, watch.cancel_flow)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open everything; at the end commit what is accepted, finish what is in flight, close."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(asyncio.to_thread, self._end_traces)
            stack.push_async_callback(self._http.aclose)
            stack.push_async_callback(self._segment_http.aclose)
            stack.push_async_callback(self.database.close)
            await self.database.open()
            await self.database.read(use_kept_pseudonyms, self._vault)
            given = _revealed(self._settings.admin_password)
            password = await self.database.read(known_password, self._vault, given)
            if password is None:
                password = await self.database.write(password_of, self._vault, given)
            self.sessions.use(password)
            await self.accounts.configure(
                _revealed(self._settings.prosperstack_api_key),
                [key.get_secret_value() for key in self._settings.segment_keys],
            )
            stack.push_async_callback(_broken_off, asyncio.create_task(self._look_ahead()))
            self._feed.start()
            stack.push_async_callback(self._feed.close)
            desk = self.desk
            for each in (desk.counting, desk.backlogs, desk.problem_kinds, desk.replay_costs, desk.replays):
                stack.push_async_callback(each.close)
            if self.role is not Role.RECEIVE:
                self.reconciler.start()
                stack.push_async_callback(self.reconciler.stop)
                self.reprojector.start()
                stack.push_async_callback(self.reprojector.stop)
                self._housekeeper.start()
                stack.push_async_callback(self._housekeeper.stop)
            self._wakeups.start()
            stack.push_async_callback(self._wakeups.stop)
            self.inbox.start()
            stack.push_async_callback(self.inbox.close)
            stack.push_async_callback(self._tokens.close)
            self._front.start()
            stack.push_async_callback(self._front.close)
            log.info("started", version=__version__, role=self.role)
            yield
            self.live.close()
            log.info("stopping")

    def _changed(self, account_ids: Iterable[str]) -> None:
        if self.role is not Role.RECEIVE:
            self.reconciler.wake(account_ids)
        self._wakeups.tell(account_ids)

    async def _backlogs(self, _: str) -> Mapping[str, Mapping[Status, int]]:
        return await self.database.read(standing.backlogs, self.desk.clock())

    async def _problem_kinds(self, account_id: str) -> list[Kind]:
        return await self.database.read(problems.kinds, account_id, COUNTED)

    async def _replay_cost(self, account_id: str) -> ReplayCost:
        account = await self.database.read(find, account_id)
        return await self.database.read(replay_cost, account, self.desk.reserve)

    async def _look_ahead(self) -> None:
        """Have what the dashboard's first page takes long for at hand."""
        await compile_templates()
        with suppress(StoreUnavailable):  # whoever looks has it counted
            await self.desk.backlogs.whole(EVERYBODY)

    def reconciler_is_alive(self) -> bool:
        """Whether it runs; where another process is to run it, that is none of our business."""
        return self.role is Role.RECEIVE or self.reconciler.is_alive()

    async def _commit(self, calls: Sequence[Call]) -> Taken:
        begun = time.monotonic()
        taken = await take_in(self.database, calls, self._vault.pseudonym)
        self._watch.committed(calls, taken, time.monotonic() - begun)
        return taken

    def _subject(self, email: str) -> str:
        return subject_of(self._vault, email)

    def _connect(self, key: str) -> ProsperStack:
        """A client for a key that is new here: nobody's account yet."""
        return ProsperStack(
            self._http, self._settings.prosperstack_base_url, key, on_request=partial(self._watch.asked, "")
        )

    def _connect_account(
        self, account: Account, on_answer: Callable[[RateLimit | None], None], guard: Guard
    ) -> ProsperStack:
        def told(rate_limit: RateLimit | None) -> None:
            on_answer(rate_limit)
            if rate_limit is not None:
                self._watch.budget(account, rate_limit.limit, rate_limit.remaining, rate_limit.reset_seconds)

        key = self.accounts.prosperstack_key(account)
        asked = partial(self._watch.asked, account.id)
        return ProsperStack(self._http, self._settings.prosperstack_base_url, key, told, guard, asked)


@dataclass(frozen=True, slots=True)
class _Library:
    """What explanations rest on, from the database."""

    database: Database

    async def knowledge(self, account: Account, call: Identify) -> Knowledge:
        return await self.database.read(knowledge_of, account, call)


async def _broken_off(task: asyncio.Task[None]) -> None:
    """End a task that is of no more use."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _tracing(settings: Settings) -> tuple[Traces | None, Callable[[], None]]:
    if settings.otel_exporter_otlp_endpoint is None:
        return None, lambda: None
    return exporting(settings.otel_exporter_otlp_endpoint)


def vault_of(settings: Settings) -> Vault:
    """The vault; with SQLite and no SECRET_KEY its secret is made once, beside the database."""
    former = [key.get_secret_value() for key in settings.former_secret_keys]
    if settings.secret_key is not None:
        return Vault(settings.secret_key.get_secret_value(), former)
    if settings.secret_key_file is not None:
        return Vault(secret_in(settings.secret_key_file), former)
    url = settings.effective_database_url
    file = make_url(url).database if backend_of(url) == "sqlite" else None
    if not file:
        raise Misconfigured(
            "SECRET_KEY is not set: it encrypts ProsperStack keys, and every replica needs the same one. "
            "Set it to a long random text, for instance what `openssl rand -base64 32` prints, or set "
            "SECRET_KEY_FILE to a file that all of them share."
        )
    return Vault(secret_beside(Path(file).parent), former)


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _monotonic() -> int:
    """A clock that is never set, and goes on while the machine sleeps."""
    return time.clock_gettime_ns(_UNSTEPPED) // 1000


async def _http_error(_: Request, error: Exception) -> Response:
    """What Starlette answers by itself (404, 405), in the form that Segment shows."""
    assert isinstance(error, HTTPException)  # noqa: S101 -- it is registered for nothing else
    return message(error.status_code, error.detail, error.headers)


async def _broken(_: Request, error: Exception) -> Response:
    return _unexpected(error)


def _unexpected(error: Exception) -> Response:
    """A bug of ours: logged by the server with its traceback, told to Segment as something to send again."""
    log.error("a request could not be answered", error=type(error).__name__)
    return message(500, "An internal error, which is logged; it is safe to send the call again.")


def _document(app: FastAPI) -> None:
    """Have the OpenAPI document describe the endpoints that are no FastAPI routes as well."""
    generate = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = describe_connector(openapi.describe(generate()))
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign] # FastAPI's documented way to extend it
