"""Composition root: builds the parts of the service from the settings."""

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

import httpx

from prosperstack_destination.account_mapping import reads_of, refresh_catalog
from prosperstack_destination.admin.actions import ReplayJobs
from prosperstack_destination.admin.coverage_cache import CoverageCache
from prosperstack_destination.admin.services import (
    AdminServices,
    load_backlogs,
    load_problem_kinds,
    load_replay_cost,
)
from prosperstack_destination.admin.sessions import Sessions
from prosperstack_destination.auth.authenticator import Authenticator
from prosperstack_destination.auth.operators import TokenAuthenticator
from prosperstack_destination.auth.public_keys import PublicKeys
from prosperstack_destination.auth.vault import Vault, pseudonym_of_email
from prosperstack_destination.caches import SlowQueryCache
from prosperstack_destination.cancel_flow.endpoint import DataConnectorEndpoint, FlowWebhookEndpoint
from prosperstack_destination.cancel_flow.lookup import PropertyLookup, TokenCache
from prosperstack_destination.cancel_flow.payloads import ResponseFormat
from prosperstack_destination.cancel_flow.priority_writer import PriorityWriter
from prosperstack_destination.clock import Clock, monotonic_us
from prosperstack_destination.components import (
    Auth,
    CancelFlow,
    Dashboard,
    Foundation,
    Ingest,
    Observability,
    ProsperStackClients,
    Reconciliation,
    Services,
)
from prosperstack_destination.dashboard.rendering import Templates
from prosperstack_destination.dashboard.sse import LiveUpdates
from prosperstack_destination.http_client import create_http_client
from prosperstack_destination.ingest.browser_settings import BrowserSettingsEndpoint
from prosperstack_destination.ingest.endpoint import IdentifyEndpoint
from prosperstack_destination.ingest.explain import ExplainContext, load_explain_context
from prosperstack_destination.ingest.sdk_keys import SdkKeys
from prosperstack_destination.ingest.service import IngestService
from prosperstack_destination.ingest.tracking_api import TrackingEndpoint
from prosperstack_destination.observability.event_writer import EventWriter
from prosperstack_destination.observability.metrics import AccountGauges, Metrics
from prosperstack_destination.observability.telemetry import CallSampler, Telemetry
from prosperstack_destination.observability.tracing import start_otlp_export
from prosperstack_destination.reconcile.reconciler import Reconciler
from prosperstack_destination.reconcile.remap import Remapper
from prosperstack_destination.reconcile.retention_job import RetentionJob, RetentionPolicy
from prosperstack_destination.segment_api.connections import WorkspaceService
from prosperstack_destination.settings import Role, Settings
from prosperstack_destination.settings_vault import vault_from_settings
from prosperstack_destination.store import recent_calls
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.files import restrict_to_owner
from prosperstack_destination.store.group_commit import GroupCommit
from prosperstack_destination.store.merge_calls import CommitResult, ingest
from prosperstack_destination.store.models import Call, Identify
from prosperstack_destination.store.notify import PgNotifier

#: Longest transaction of a request of Segment, in seconds: a held lock is waited for a little shorter.
ANSWER_SECONDS: Final = 3.5


def build_services(
    settings: Settings,
    clock: Clock,
    transport: httpx.AsyncBaseTransport | None = None,
    segment_transport: httpx.AsyncBaseTransport | None = None,
) -> Services:
    """Build all parts, without opening the database or a connection.

    The transports replace the network to ProsperStack and to Segment's Public API, for tests. Raises
    `ConfigurationError` for settings that do not fit together.
    """
    foundation = build_foundation(settings, clock, transport, segment_transport)
    observability = build_observability(foundation)
    auth = build_auth(foundation, observability.telemetry)
    reconciliation = build_reconciliation(foundation, auth, observability.telemetry)
    notify = reconciliation.notify
    ingest = build_ingest(foundation, auth, observability.telemetry, notify)
    return Services(
        foundation=foundation,
        observability=observability,
        auth=auth,
        reconciliation=reconciliation,
        ingest=ingest,
        cancel_flow=build_cancel_flow(foundation, observability.telemetry, notify),
        admin=build_admin(foundation, auth, ingest.service, reconciliation.remapper, notify),
        dashboard=Dashboard(Sessions(foundation.database, clock), LiveUpdates(), Templates()),
    )


def build_foundation(
    settings: Settings,
    clock: Clock,
    transport: httpx.AsyncBaseTransport | None,
    segment_transport: httpx.AsyncBaseTransport | None,
) -> Foundation:
    """Build the database, the vault and the HTTP clients, and make the data folder private."""
    http, segment_http = create_http_client(transport), create_http_client(segment_transport)
    restrict_to_owner(settings.data_dir)
    database = Database(settings.effective_database_url)
    limited = database.answering_within(ANSWER_SECONDS)
    return Foundation(settings, database, limited, vault_from_settings(settings), clock, http, segment_http)


def build_observability(foundation: Foundation) -> Observability:
    """Build metrics, the event writer, telemetry and the export to OpenTelemetry."""
    settings, vault, clock = foundation.settings, foundation.vault, foundation.clock
    metrics = Metrics()
    append = partial(recent_calls.append, pseudonym=vault.pseudonym, max_calls=settings.recent_calls)
    events = EventWriter(foundation.database, metrics.events_left_out.inc, clock, append)
    endpoint = settings.otel_exporter_otlp_endpoint
    export = None if endpoint is None else start_otlp_export(endpoint, metrics)
    traces = None if export is None else export.traces
    sampler = CallSampler(monotonic_us) if settings.recent_calls else None
    telemetry = Telemetry(metrics, events, partial(pseudonym_of_email, vault), clock, traces, sampler)
    gauges = AccountGauges(metrics, foundation.database, clock)
    return Observability(metrics, events, telemetry, gauges, export)


def build_auth(foundation: Foundation, telemetry: Telemetry) -> Auth:
    """Build the authenticators and the factory of ProsperStack clients."""
    settings, database, clock = foundation.settings, foundation.ingest_database, foundation.clock
    clients = ProsperStackClients(foundation.http, settings.prosperstack_base_url, telemetry)
    accounts = Authenticator(
        database,
        foundation.vault,
        clients.for_key,
        clock,
        allow_pass_through=settings.allow_pass_through,
    )
    public_keys = PublicKeys(database, accounts.by_id, clock)
    return Auth(accounts, public_keys, TokenAuthenticator(foundation.database, clock), clients)


def build_reconciliation(foundation: Foundation, auth: Auth, telemetry: Telemetry) -> Reconciliation:
    """Build the reconciler, the remapper, the retention job and the notifier of other replicas."""
    settings, database, clock = foundation.settings, foundation.database, foundation.clock
    replica = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(4)}"
    reconciler = build_reconciler(foundation, auth, telemetry, replica)
    on_change = None if settings.role is Role.RECEIVE else reconciler.wake
    notifier = PgNotifier(database, settings.effective_database_url, replica, on_change)
    notify = partial(_notify_changed, settings.role, reconciler, notifier)

    def is_first() -> bool:
        return reconciler.lease_manager.is_first

    remapper = Remapper(database, notify, clock=clock, ticks=monotonic_us, is_ours=is_first)
    policy = RetentionPolicy(
        settings.retention_days, settings.audit_days, settings.audit_rows, calls=settings.recent_calls
    )
    retention = RetentionJob(database, policy, is_first, clock)
    return Reconciliation(settings.role, reconciler, remapper, retention, notifier, notify)


def build_reconciler(foundation: Foundation, auth: Auth, telemetry: Telemetry, replica: str) -> Reconciler:
    """Build the reconciler; ``replica`` is the name of this process in leases."""
    return Reconciler(
        foundation.database,
        partial(auth.clients.for_account, auth.accounts),
        replica=replica,
        reserve=foundation.settings.rate_limit_reserve,
        bulk_share=foundation.settings.bulk_share,
        clock=foundation.clock,
        ticks=monotonic_us,
        observer=telemetry,
    )


def build_ingest(
    foundation: Foundation, auth: Auth, telemetry: Telemetry, notify: Callable[[Iterable[str]], None]
) -> Ingest:
    """Build group commit, the ingest service and the endpoints for Segment."""
    settings, database, clock = foundation.settings, foundation.ingest_database, foundation.clock
    calls = GroupCommit(partial(_commit, database, foundation.vault, telemetry), notify)
    service = IngestService(calls, clock, telemetry)
    sdk_keys = SdkKeys(auth.accounts, auth.public_keys)
    identify = IdentifyEndpoint(
        auth.accounts,
        service,
        partial(_load_explain_context, database),
        clock,
        array_bytes=settings.max_array_bytes,
        trusted_proxies=settings.trusted_proxies,
        observer=telemetry,
    )
    tracking = TrackingEndpoint(
        sdk_keys, service, clock, trusted_proxies=settings.trusted_proxies, observer=telemetry
    )
    sdk_settings = BrowserSettingsEndpoint(sdk_keys)
    return Ingest(calls, service, identify, tracking, sdk_settings)


def build_cancel_flow(
    foundation: Foundation, telemetry: Telemetry, notify: Callable[[Iterable[str]], None]
) -> CancelFlow:
    """Build the data connector, the flow webhook and their caches."""
    database, clock = foundation.database, foundation.clock
    tokens, properties = TokenCache(database, clock), PropertyLookup(database, clock)
    writer = PriorityWriter(database, notify, clock)
    response_format = ResponseFormat(foundation.settings.data_connector_shape)
    data_connector = DataConnectorEndpoint(tokens, properties, writer, telemetry.cancel_flow, response_format)
    flow_webhook = FlowWebhookEndpoint(tokens, properties, writer, telemetry.cancel_flow)
    return CancelFlow(tokens, properties, writer, data_connector, flow_webhook)


def build_admin(
    foundation: Foundation,
    auth: Auth,
    ingest: IngestService,
    remapper: Remapper,
    notify: Callable[[Iterable[str]], None],
) -> AdminServices:
    """Build what the API and the dashboard work with."""
    settings, database, clock = foundation.settings, foundation.database, foundation.clock
    segment = WorkspaceService(database, foundation.vault, foundation.segment_http, clock, auth.accounts.invalidate)
    scan_lock = asyncio.Lock()

    def mapping_changed() -> None:
        auth.accounts.invalidate()  # the next calls are read by the new mapping
        remapper.wake()

    replay_cost_of = partial(load_replay_cost, database, settings.rate_limit_reserve)
    return AdminServices(
        database=database,
        operators=auth.operators,
        clock=clock,
        workspaces=segment,
        reserve=settings.rate_limit_reserve,
        vault=foundation.vault,
        on_change=mapping_changed,
        wake=notify,
        invalidate_credentials=auth.invalidate,
        check_key=auth.accounts.check_key,
        refresh_catalog=partial(_refresh_catalog, foundation, auth),
        ingest=ingest,
        has_admin_port=settings.admin_port is not None,
        scan_lock=scan_lock,
        coverage=CoverageCache(database, clock, scan_lock),
        backlogs=SlowQueryCache(partial(load_backlogs, database, clock), monotonic_us),
        problem_kinds=SlowQueryCache(partial(load_problem_kinds, database), monotonic_us),
        replay_costs=SlowQueryCache(replay_cost_of, monotonic_us),
        replays=ReplayJobs(database, clock, notify),
    )


def _notify_changed(role: Role, reconciler: Reconciler, notifier: PgNotifier, account_ids: Iterable[str]) -> None:
    """Wake this process's reconciler, and notify those of other replicas, about accounts with changed profiles."""
    if role is not Role.RECEIVE:
        reconciler.wake(account_ids)
    notifier.notify(account_ids)


async def _commit(database: Database, vault: Vault, telemetry: Telemetry, calls: Sequence[Call]) -> CommitResult:
    started_at = time.monotonic()
    result = await ingest(database, calls, vault.pseudonym, reads_of)
    telemetry.committed(calls, result, time.monotonic() - started_at)
    return result


async def _load_explain_context(database: Database, account: Account, call: Identify) -> ExplainContext:
    return await database.read(load_explain_context, account, call)


async def _refresh_catalog(foundation: Foundation, auth: Auth, account: Account) -> Account:
    client = auth.clients.for_key(auth.accounts.prosperstack_key(account))
    return await refresh_catalog(foundation.database, account, client, foundation.clock())
