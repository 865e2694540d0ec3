"""Parts of the service, as the composition root builds them and the lifecycle starts and stops them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import httpx

from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.admin.sessions import Sessions
from prosperstack_destination.auth.authenticator import Authenticator
from prosperstack_destination.auth.operators import TokenAuthenticator
from prosperstack_destination.auth.public_keys import PublicKeys
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.cancel_flow.endpoint import DataConnectorEndpoint, FlowWebhookEndpoint
from prosperstack_destination.cancel_flow.lookup import PropertyLookup, TokenCache
from prosperstack_destination.cancel_flow.priority_writer import PriorityWriter
from prosperstack_destination.clock import Clock
from prosperstack_destination.dashboard.rendering import Templates
from prosperstack_destination.dashboard.sse import LiveUpdates
from prosperstack_destination.ingest.browser_settings import BrowserSettingsEndpoint
from prosperstack_destination.ingest.endpoint import IdentifyEndpoint
from prosperstack_destination.ingest.service import IngestService
from prosperstack_destination.ingest.tracking_api import TrackingEndpoint
from prosperstack_destination.observability.event_writer import EventWriter
from prosperstack_destination.observability.metrics import AccountGauges, Metrics
from prosperstack_destination.observability.telemetry import Telemetry
from prosperstack_destination.observability.tracing import SpanRecorder
from prosperstack_destination.prosperstack.budget import RateLimit
from prosperstack_destination.prosperstack.client import Guard, ProsperStackClient
from prosperstack_destination.reconcile.reconciler import Reconciler
from prosperstack_destination.reconcile.remap import Remapper
from prosperstack_destination.reconcile.retention_job import RetentionJob
from prosperstack_destination.settings import Role, Settings
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.group_commit import GroupCommit
from prosperstack_destination.store.notify import PgNotifier

if TYPE_CHECKING:  # its packages are optional
    from prosperstack_destination.observability.otlp import OtlpExport


class ProsperStackClients:
    """Factory of ProsperStack clients, which share one HTTP client and report their requests."""

    def __init__(self, http: httpx.AsyncClient, base_url: str, telemetry: Telemetry) -> None:
        self._http = http
        self._base_url = base_url
        self._telemetry = telemetry

    def for_key(self, key: str) -> ProsperStackClient:
        """Return a client for a key without an account."""
        on_request = partial(self._telemetry.request_sent, "")
        return ProsperStackClient(self._http, self._base_url, key, on_request=on_request)

    def for_account(
        self,
        accounts: Authenticator,
        account: Account,
        on_answer: Callable[[RateLimit | None], None],
        guard: Guard,
    ) -> ProsperStackClient:
        """Return a client for an account. ``on_answer`` receives the rate limit of each response."""

        def report(rate_limit: RateLimit | None) -> None:
            on_answer(rate_limit)
            if rate_limit is not None:
                self._telemetry.budget(account, rate_limit.limit, rate_limit.remaining, rate_limit.reset_seconds)

        on_request = partial(self._telemetry.request_sent, account.id)
        key = accounts.prosperstack_key(account)
        return ProsperStackClient(self._http, self._base_url, key, report, guard, on_request)


@dataclass(frozen=True, slots=True)
class Foundation:
    """Parts that most other parts need. The database is closed until `running`."""

    settings: Settings
    database: Database
    #: Time limit for requests of Segment, which gives up after 5 s.
    ingest_database: Database
    vault: Vault
    clock: Clock
    #: Clients for ProsperStack and for Segment's Public API.
    http: httpx.AsyncClient
    segment_http: httpx.AsyncClient


@dataclass(frozen=True, slots=True)
class Observability:
    """Metrics, the activity feed, the export to OpenTelemetry, and the component that feeds them."""

    metrics: Metrics
    events: EventWriter
    telemetry: Telemetry
    accounts: AccountGauges
    #: None: nothing is exported.
    export: "OtlpExport | None"

    @property
    def traces(self) -> SpanRecorder | None:
        return None if self.export is None else self.export.traces


@dataclass(frozen=True, slots=True)
class Auth:
    """Authenticators of accounts and operators, and ProsperStack clients with an account's key."""

    accounts: Authenticator
    public_keys: PublicKeys
    operators: TokenAuthenticator
    clients: ProsperStackClients

    def invalidate(self) -> None:
        """Drop cached credentials, after an operator issued or revoked one."""
        self.accounts.invalidate()
        self.public_keys.invalidate()
        self.operators.invalidate()


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Delivery to ProsperStack, remapping, retention, and their notifications between replicas."""

    role: Role
    reconciler: Reconciler
    remapper: Remapper
    retention: RetentionJob
    notifier: PgNotifier
    #: Wakes the reconcilers of this process and of other replicas for accounts with changed profiles.
    notify: Callable[[Iterable[str]], None]

    def is_alive(self) -> bool:
        """Return whether the reconciler runs; True in a process that only receives calls."""
        return self.role is Role.RECEIVE or self.reconciler.is_alive()


@dataclass(frozen=True, slots=True)
class Ingest:
    """Group commit, the ingest service, and the endpoints for Segment."""

    calls: GroupCommit
    service: IngestService
    identify: IdentifyEndpoint
    tracking: TrackingEndpoint
    sdk_settings: BrowserSettingsEndpoint


@dataclass(frozen=True, slots=True)
class CancelFlow:
    """Endpoints for ProsperStack's cancel flows, and their caches."""

    tokens: TokenCache
    properties: PropertyLookup
    writer: PriorityWriter
    data_connector: DataConnectorEndpoint
    flow_webhook: FlowWebhookEndpoint


@dataclass(frozen=True, slots=True)
class Dashboard:
    """State of the dashboard: sessions, live updates and templates."""

    sessions: Sessions
    live: LiveUpdates
    templates: Templates


@dataclass(frozen=True, slots=True)
class Services:
    """All parts of the service. `running` starts and stops them."""

    foundation: Foundation
    observability: Observability
    auth: Auth
    reconciliation: Reconciliation
    ingest: Ingest
    cancel_flow: CancelFlow
    admin: AdminServices
    dashboard: Dashboard
