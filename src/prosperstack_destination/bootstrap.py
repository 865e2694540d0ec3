"""The composition root: the parts of the service, put together from its settings; how they start and stop."""

import asyncio
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import httpx
import structlog

from prosperstack_destination import __version__
from prosperstack_destination.account_mapping import reads_of, refresh_catalog
from prosperstack_destination.admin.accounts import find
from prosperstack_destination.admin.actions import ReplayCost, replay_cost
from prosperstack_destination.admin.cache import SlowQueryCache
from prosperstack_destination.admin.coverage_cache import CoverageCache
from prosperstack_destination.admin.replay_jobs import ReplayJobs
from prosperstack_destination.admin.services import ALL_ACCOUNTS, MAX_COUNTED, AdminServices
from prosperstack_destination.auth.authenticator import Authenticator
from prosperstack_destination.auth.key_rotation import load_pseudonym_key
from prosperstack_destination.auth.operator_tokens import TokenAuthenticator
from prosperstack_destination.auth.password import load_or_create_password, load_password
from prosperstack_destination.auth.public_keys import PublicKeys
from prosperstack_destination.auth.vault import pseudonym_of_email
from prosperstack_destination.cancel_flow.endpoint import DataConnectorEndpoint, FlowWebhookEndpoint
from prosperstack_destination.cancel_flow.lookup import PropertyLookup as PeopleKnowledge
from prosperstack_destination.cancel_flow.lookup import TokenCache
from prosperstack_destination.cancel_flow.payloads import ResponseFormat
from prosperstack_destination.cancel_flow.priority_writer import PriorityWriter
from prosperstack_destination.clock import Clock
from prosperstack_destination.dashboard.rendering import Templates
from prosperstack_destination.dashboard.sessions import Sessions
from prosperstack_destination.dashboard.sse import LiveUpdates
from prosperstack_destination.errors import StoreUnavailable
from prosperstack_destination.ingest.browser_settings import BrowserSettingsEndpoint
from prosperstack_destination.ingest.endpoint import IdentifyEndpoint
from prosperstack_destination.ingest.explain import ExplainContext, load_explain_context
from prosperstack_destination.ingest.sdk_keys import SdkKeys
from prosperstack_destination.ingest.service import IngestService
from prosperstack_destination.ingest.tracking_api import TrackingEndpoint
from prosperstack_destination.observability.call_sampler import CallSampler
from prosperstack_destination.observability.event_writer import EventWriter
from prosperstack_destination.observability.metrics import Metrics
from prosperstack_destination.observability.telemetry import Telemetry
from prosperstack_destination.observability.tracing import SpanRecorder, start_otlp_export
from prosperstack_destination.prosperstack.budget import RateLimit
from prosperstack_destination.prosperstack.client import Guard, ProsperStackClient
from prosperstack_destination.reconcile.reconciler import Reconciler
from prosperstack_destination.reconcile.remap import Remapper
from prosperstack_destination.reconcile.retention_job import RetentionJob, RetentionPolicy
from prosperstack_destination.segment_api.connections import WorkspaceService
from prosperstack_destination.settings import Role, Settings, reveal
from prosperstack_destination.store import account_stats, problems, recent_calls
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.group_commit import GroupCommit
from prosperstack_destination.store.merge_calls import CommitResult, ingest
from prosperstack_destination.store.models import Call, Identify, Status
from prosperstack_destination.store.notify import PgNotifier
from prosperstack_destination.store.private_files import close_to_others
from prosperstack_destination.store.problems import ProblemKind
from prosperstack_destination.vault import vault_from_settings

log = structlog.get_logger(__name__)

_UNSTEPPED: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux; elsewhere the next best


class Services:
    """The parts, put together. Nothing is opened before `running`."""

    def __init__(
        self, settings: Settings, http: httpx.AsyncClient, segment_http: httpx.AsyncClient, clock: Clock
    ) -> None:
        self._settings = settings
        self._http = http
        self._segment_http = segment_http
        close_to_others(settings.data_dir)
        self.database = Database(settings.effective_database_url)
        self.role = settings.role
        replica = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(4)}"
        self._vault = vault_from_settings(settings)
        self.metrics = Metrics()
        keep_calls = partial(recent_calls.append, pseudonym=self._vault.pseudonym, most=settings.recent_calls)
        self._feed = EventWriter(self.database, self.metrics.events_left_out.inc, clock, keep_calls)
        self.traces, self._end_traces = _tracing(settings)
        sample = CallSampler(monotonic_us) if settings.recent_calls else None
        self._watch = watch = Telemetry(self.metrics, self._feed, self._subject, clock, self.traces, sample)
        self.accounts = Authenticator(
            self.database,
            self._vault,
            self._client_for_key,
            clock,
            allow_pass_through=settings.allow_pass_through,
        )
        self.public_keys = PublicKeys(self.database, self.accounts.by_id, clock)
        self.reconciler = Reconciler(
            self.database,
            self._client_for_account,
            replica=replica,
            reserve=settings.rate_limit_reserve,
            bulk_share=settings.bulk_share,
            clock=clock,
            ticks=monotonic_us,
            observer=watch,
        )
        self.reprojector = Remapper(
            self.database,
            self._notify_changed,
            clock=clock,
            ticks=monotonic_us,
            is_ours=lambda: self.reconciler.lease_manager.is_first,
        )
        self.inbox = GroupCommit(self._commit, self._notify_changed)
        self.reception = IngestService(self.inbox, clock, watch)
        scanning = asyncio.Lock()
        self.admin = AdminServices(
            self.database,
            TokenAuthenticator(self.database, clock),
            clock,
            WorkspaceService(self.database, self._vault, segment_http, clock, self.accounts.invalidate),
            reserve=settings.rate_limit_reserve,
            vault=self._vault,
            on_change=self.reprojector.wake,
            wake=self._notify_changed,
            invalidate_credentials=self._forget_keys,
            check_key=self.accounts.check_key,
            refresh_catalog=self._refresh_catalog,
            ingest=self.reception,
            has_admin_port=settings.admin_port is not None,
            scan_lock=scanning,
            coverage=CoverageCache(self.database, clock, scanning),
            backlogs=SlowQueryCache(self._backlogs, monotonic_us),
            problem_kinds=SlowQueryCache(self._problem_kinds, monotonic_us),
            replay_costs=SlowQueryCache(self._replay_cost, monotonic_us),
            replays=ReplayJobs(self.database, clock, self._notify_changed),
        )
        self.sessions = Sessions(self.database, clock)
        self.live = LiveUpdates()
        self.templates = Templates()
        bounds = RetentionPolicy(
            settings.retention_days, settings.audit_days, settings.audit_rows, calls=settings.recent_calls
        )
        self._housekeeper = RetentionJob(
            self.database, bounds, lambda: self.reconciler.lease_manager.is_first, clock
        )
        hear = None if self.role is Role.RECEIVE else self.reconciler.wake
        self._wakeups = PgNotifier(self.database, settings.effective_database_url, replica, hear)
        sdk_keys = SdkKeys(self.accounts, self.public_keys)
        self.sdk_settings = BrowserSettingsEndpoint(sdk_keys, trusted_proxies=settings.trusted_proxies)
        self.tracking = TrackingEndpoint(
            sdk_keys, self.reception, clock, trusted_proxies=settings.trusted_proxies, observer=watch
        )
        self.identify = IdentifyEndpoint(
            self.accounts,
            self.reception,
            _Library(self.database),
            clock,
            array_bytes=settings.max_array_bytes,
            trusted_proxies=settings.trusted_proxies,
            observer=watch,
        )
        self._front = PriorityWriter(self.database, self._notify_changed, clock)
        self._tokens = TokenCache(self.database, clock)
        self._people = PeopleKnowledge(self.database, clock)
        shape, tell = ResponseFormat(settings.data_connector_shape), watch.cancel_flow
        self.data_connector = DataConnectorEndpoint(self._tokens, self._people, self._front, tell, shape)
        self.flow_webhook = FlowWebhookEndpoint(self._tokens, self._people, self._front, tell)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open everything; at the end commit what is accepted, finish what is in flight, close."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(asyncio.to_thread, self._end_traces)
            stack.push_async_callback(self._http.aclose)
            stack.push_async_callback(self._segment_http.aclose)
            stack.push_async_callback(self.database.close)
            await self.database.open()
            await self.database.read(load_pseudonym_key, self._vault)
            given = reveal(self._settings.admin_password)
            password = await self.database.read(load_password, self._vault, given)
            if password is None:
                password = await self.database.write(load_or_create_password, self._vault, given)
            self.sessions.use(password)
            await self.accounts.sync_from_settings(
                reveal(self._settings.prosperstack_api_key),
                [key.get_secret_value() for key in self._settings.segment_keys],
            )
            stack.push_async_callback(_cancel, asyncio.create_task(self._warm_caches()))
            stack.push_async_callback(self.templates.close)
            self._feed.start()
            stack.push_async_callback(self._feed.close)
            admin = self.admin
            for each in (admin.coverage, admin.backlogs, admin.problem_kinds, admin.replay_costs, admin.replays):
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
            stack.push_async_callback(self._people.close)
            self._front.start()
            stack.push_async_callback(self._front.close)
            log.info("started", version=__version__, role=self.role)
            yield
            self.live.close()
            log.info("stopping")

    def _forget_keys(self) -> None:
        """Have keys read again before the next answer: some were issued or revoked."""
        self.accounts.invalidate()
        self.public_keys.invalidate()

    def _notify_changed(self, account_ids: Iterable[str]) -> None:
        if self.role is not Role.RECEIVE:
            self.reconciler.wake(account_ids)
        self._wakeups.notify(account_ids)

    async def _backlogs(self, _: str) -> Mapping[str, Mapping[Status, int]]:
        return await self.database.read(account_stats.backlogs, self.admin.clock())

    async def _problem_kinds(self, account_id: str) -> list[ProblemKind]:
        return await self.database.read(problems.kinds, account_id, MAX_COUNTED)

    async def _replay_cost(self, account_id: str) -> ReplayCost:
        account = await self.database.read(find, account_id)
        return await self.database.read(replay_cost, account, self.admin.reserve)

    async def _warm_caches(self) -> None:
        """Have what the dashboard's first page takes long for at hand."""
        with suppress(StoreUnavailable):  # whoever looks has it counted
            await self.admin.backlogs.get_or_wait(ALL_ACCOUNTS)

    async def _refresh_catalog(self, account: Account) -> Account:
        client = self._client_for_key(self.accounts.prosperstack_key(account))
        return await refresh_catalog(self.database, account, client, self.admin.clock())

    def reconciler_is_alive(self) -> bool:
        """Whether it runs; where another process is to run it, that is none of our business."""
        return self.role is Role.RECEIVE or self.reconciler.is_alive()

    async def _commit(self, calls: Sequence[Call]) -> CommitResult:
        begun = time.monotonic()
        taken = await ingest(self.database, calls, self._vault.pseudonym, reads_of)
        self._watch.committed(calls, taken, time.monotonic() - begun)
        return taken

    def _subject(self, email: str) -> str:
        return pseudonym_of_email(self._vault, email)

    def _client_for_key(self, key: str) -> ProsperStackClient:
        """A client for a key that is new here: nobody's account yet."""
        return ProsperStackClient(
            self._http, self._settings.prosperstack_base_url, key, on_request=partial(self._watch.request_sent, "")
        )

    def _client_for_account(
        self, account: Account, on_answer: Callable[[RateLimit | None], None], guard: Guard
    ) -> ProsperStackClient:
        def told(rate_limit: RateLimit | None) -> None:
            on_answer(rate_limit)
            if rate_limit is not None:
                self._watch.budget(account, rate_limit.limit, rate_limit.remaining, rate_limit.reset_seconds)

        key = self.accounts.prosperstack_key(account)
        asked = partial(self._watch.request_sent, account.id)
        return ProsperStackClient(self._http, self._settings.prosperstack_base_url, key, told, guard, asked)


@dataclass(frozen=True, slots=True)
class _Library:
    """What explanations rest on, from the database."""

    database: Database

    async def knowledge(self, account: Account, call: Identify) -> ExplainContext:
        return await self.database.read(load_explain_context, account, call)


async def _cancel(task: asyncio.Task[None]) -> None:
    """End a task that is of no more use."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _tracing(settings: Settings) -> tuple[SpanRecorder | None, Callable[[], None]]:
    if settings.otel_exporter_otlp_endpoint is None:
        return None, lambda: None
    return start_otlp_export(settings.otel_exporter_otlp_endpoint)


def monotonic_us() -> int:
    """A clock that is never set, and goes on while the machine sleeps."""
    return time.clock_gettime_ns(_UNSTEPPED) // 1000
