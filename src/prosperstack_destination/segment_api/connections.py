"""Connecting sources of a Segment workspace to an account, and letting them go again.

What is made in two places is made in an order that leaves nothing half-made: the credential here, the destination
in Segment, the connection here. Where a step fails those before it are taken back.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from typing import Final

import httpx
from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.auth import credential_service
from prosperstack_destination.auth.api_keys import fingerprint, key_hash
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.clock import MINUTE, Clock
from prosperstack_destination.errors import AlreadyConnected, ConfigurationError, NotFoundError
from prosperstack_destination.segment_api.client import PublicApiClient, WorkspaceCredentials
from prosperstack_destination.segment_api.destination_specs import SPECS, webhook_url
from prosperstack_destination.segment_api.models import Destination, Source, Workspace
from prosperstack_destination.segment_api.provisioning import (
    create_destination,
    delete_destination,
    plan_destination,
)
from prosperstack_destination.store import audit_log, credentials, sources
from prosperstack_destination.store import segment_connections as rows
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import SourceKind
from prosperstack_destination.store.segment_connections import KeptToken, Kind, Region, SegmentConnection

#: How long a token is believed to be of the same workspace, in microseconds: Segment tells it five times a minute.
WORKSPACE_TTL: Final = 10 * MINUTE
#: Workspaces that are remembered at most.
MAX_CACHED_WORKSPACES: Final = 100
#: The longest name that is taken over from Segment, in characters.
MAX_NAME: Final = 200


@dataclass(frozen=True, slots=True)
class FoundSource:
    """A source of a workspace, as it is offered for choice."""

    id: str
    #: What people know it by: anything that can be typed.
    name: str
    slug: str
    #: Whether Segment takes in its calls.
    enabled: bool
    #: The account's connection with it, if there is one.
    connection_id: str | None
    #: Whether it has a destination of ProsperStack's in Segment that was not made from this account.
    has_another: bool


@dataclass(frozen=True, slots=True)
class WorkspaceSnapshot:
    """A workspace, and what can be connected."""

    workspace: Workspace
    region: Region
    #: By their names.
    sources: tuple[FoundSource, ...]


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection, and whether calls come by it."""

    connection: SegmentConnection
    #: The last call of its source since it was connected, in microseconds since the epoch; None: none came yet.
    last_call_at: int | None


@dataclass(frozen=True, slots=True)
class _Credential:
    """What was issued for a connection."""

    #: What it is revoked by: a key's fingerprint, or a secret's id.
    name: str
    clear: str


class WorkspaceService:
    """Segment workspaces, and an account's sources in them.

    Whoever calls hands in the `WorkspaceCredentials` of a workspace, or None: then the token that is kept for
    the account is
    used. Raises `ConfigurationError` where none is kept, the kinds of `SegmentApiError`, and `SegmentUnavailable`.

    ``on_keys`` is told when keys or secrets are others than before.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        http: httpx.AsyncClient,
        clock: Clock,
        on_keys: Callable[[], None],
    ) -> None:
        self._database = database
        self._vault = vault
        self._http = http
        self._clock = clock
        self._on_keys = on_keys
        self._known: OrderedDict[tuple[Region, str], tuple[Workspace, int]] = OrderedDict()

    async def look(self, account: Account, access: WorkspaceCredentials | None = None) -> WorkspaceSnapshot:
        """The workspace that a token is of, and its sources; nothing is changed."""
        access = access or await self._kept_access(account)
        api = PublicApiClient(self._http, access)
        workspace = await self._workspace(api, access)
        found = await api.sources()
        destinations = await api.destinations()
        connections = await self._database.read(rows.of_account, account.id)
        return WorkspaceSnapshot(workspace, access.region, _offered(found, destinations, connections))

    async def connect(
        self,
        account: Account,
        source_id: str,
        kind: Kind,
        *,
        actor: str,
        access: WorkspaceCredentials | None = None,
        public_url: str = "",
        keep_token: bool = False,
    ) -> SegmentConnection:
        """Have a source send to an account: issue a credential, and make the destination in Segment.

        ``public_url`` is where Segment reaches this service, for a webhook. Raises `AlreadyConnected`,
        `NotFoundError`
        for no such source, and `ConfigurationError` for a URL that is not reached from the internet. Whatever
        is raised,
        nothing is left behind, here or there, or the text says what.
        """
        url = webhook_url(public_url, account.id) if kind is Kind.WEBHOOK else ""
        access = access or await self._kept_access(account)
        known = await self._database.read(rows.of_source, account.id, source_id)
        if known is not None:
            raise AlreadyConnected(known.source_name, known.id)
        api = PublicApiClient(self._http, access)
        workspace = await self._workspace(api, access)
        source = await _source(api, workspace, source_id)
        plan = await plan_destination(api, kind)
        async with AsyncExitStack() as taken_back:  # what was done until then, unless all of it is
            credential = await self._database.write(self._issue, account, kind, source.title[:MAX_NAME], actor)
            taken_back.callback(self._on_keys)
            taken_back.push_async_callback(
                self._database.write, self._revoke, account, kind, credential.name, actor
            )
            self._on_keys()  # Segment may send as soon as it knows them
            destination_id = await create_destination(api, plan, source.id, credential.clear, url)
            taken_back.push_async_callback(delete_destination, api, plan, destination_id)
            connection = SegmentConnection(
                id=f"conn_{secrets.token_hex(6)}",
                account_id=account.id,
                region=access.region,
                workspace_id=workspace.id,
                workspace_name=workspace.name[:MAX_NAME],
                source_id=source.id,
                source_name=source.title[:MAX_NAME],
                destination_id=destination_id,
                kind=kind,
                credential=credential.name,
                created_at=self._clock(),
            )
            kept = self._encrypted(access, workspace) if keep_token else None
            await self._database.write(self._store, connection, kept, actor)
            taken_back.pop_all()
        return connection

    async def connections(self, account: Account) -> list[Connected]:
        """What is connected to an account, the newest first, each with its last call. Segment is not asked."""
        return await self._database.read(_with_last_calls, account.id)

    async def disconnect(
        self,
        account: Account,
        connection_id: str,
        *,
        actor: str,
        access: WorkspaceCredentials | None = None,
        here_only: bool = False,
    ) -> bool:
        """Let a source go: delete its destination in Segment, refuse its credential, forget the connection.

        ``here_only``: Segment is not asked, for when it cannot be, or there is no token any more; what its
        destination still sends is refused. False: Segment has no such destination any more, or was not asked.
        Raises `NotFoundError` for no such connection, and `ConfigurationError` for a token of another workspace.
        """
        connection = await self._database.read(rows.get, account.id, connection_id)
        if connection is None:
            raise NotFoundError(f"The account has no connection {connection_id[:MAX_NAME]!r}.")
        deleted = False
        if not here_only:
            # Whatever region comes with the token, the connection knows where its workspace is.
            access = replace(access or await self._kept_access(account), region=connection.region)
            api = PublicApiClient(self._http, access)
            workspace = await self._workspace(api, access)
            if workspace.id != connection.workspace_id:
                raise ConfigurationError(
                    f"The token is of the workspace {workspace.name!r}, and the source was connected in "
                    f"{connection.workspace_name!r}: use a token of that one, or forget the connection here alone."
                )
            deleted = await api.delete_destination(connection.destination_id)
        await self._database.write(self._forget, account, connection, actor)
        self._on_keys()
        return deleted

    async def kept_token(self, account: Account) -> KeptToken | None:
        """What is known of the token that is kept for an account; None: none is."""
        return await self._database.read(rows.kept_token, account.id)

    async def keep_token(self, account: Account, access: WorkspaceCredentials, *, actor: str) -> KeptToken:
        """Keep a token for an account, encrypted, once Segment has taken it; instead of the one that is kept."""
        api = PublicApiClient(self._http, access)
        token = self._encrypted(access, await self._workspace(api, access))
        await self._database.write(self._keep, account.id, token, actor)
        return token

    async def forget_token(self, account: Account, *, actor: str) -> bool:
        """Keep no token for an account any more; False: none was kept."""
        return await self._database.write(self._forget_token, account.id, actor)

    async def _kept_access(self, account: Account) -> WorkspaceCredentials:
        token = await self.kept_token(account)
        if token is None:
            raise ConfigurationError(
                "No token of a Segment workspace is kept for this account: paste one (in Segment: Settings → "
                "Workspace settings → Access Management → Tokens)."
            )
        return WorkspaceCredentials(self._vault.decrypt(token.encrypted), token.region)

    async def _workspace(self, api: PublicApiClient, access: WorkspaceCredentials) -> Workspace:
        """The workspace of a token, remembered for a while. A revoked token is found out by the next request."""
        known = self._known.get(_remembered_by(access))
        if known is not None and 0 <= known[1] - self._clock() <= WORKSPACE_TTL:
            return known[0]
        return self._remember(access, await api.workspace())

    def _remember(self, access: WorkspaceCredentials, workspace: Workspace) -> Workspace:
        self._known[_remembered_by(access)] = workspace, self._clock() + WORKSPACE_TTL
        self._known.move_to_end(_remembered_by(access))
        while len(self._known) > MAX_CACHED_WORKSPACES:
            self._known.popitem(last=False)
        return workspace

    def _encrypted(self, access: WorkspaceCredentials, workspace: Workspace) -> KeptToken:
        encrypted = self._vault.encrypt(access.token.strip())
        return KeptToken(access.region, encrypted, workspace.name[:MAX_NAME], self._clock())

    def _issue(self, connection: Connection, account: Account, kind: Kind, name: str, actor: str) -> _Credential:
        now = self._clock()
        if kind is Kind.DESTINATION:
            key = credential_service.issue_key(connection, account, name, actor, now)
            return _Credential(fingerprint(key), key)
        secret_id = credential_service.new_secret_id()
        secret = credential_service.issue_secret(
            connection, account, name, self._vault, actor, now, secret_id=secret_id
        )
        return _Credential(secret_id, secret)

    def _revoke(self, connection: Connection, account: Account, kind: Kind, credential: str, actor: str) -> None:
        """Refuse a credential; somebody may have done so by hand before."""
        revoke = credential_service.revoke_key if kind is Kind.DESTINATION else credential_service.revoke_secret
        with suppress(NotFoundError):
            revoke(connection, account, credential, actor, self._clock())

    def _store(
        self, connection: Connection, connected: SegmentConnection, kept: KeptToken | None, actor: str
    ) -> None:
        known = rows.add(connection, connected)
        if known is not None:  # somebody else was quicker
            raise AlreadyConnected(known.source_name, known.id)
        self._record(connection, connected.account_id, actor, "connect source", _details(connected))
        if kept is not None:
            self._keep(connection, connected.account_id, kept, actor)

    def _forget(self, connection: Connection, account: Account, connected: SegmentConnection, actor: str) -> None:
        if rows.remove(connection, account.id, connected.id):
            self._revoke(connection, account, connected.kind, connected.credential, actor)
            self._record(connection, account.id, actor, "disconnect source", _details(connected))

    def _keep(self, connection: Connection, account_id: str, token: KeptToken, actor: str) -> None:
        rows.keep_token(connection, account_id, token)
        details: dict[str, JsonValue] = {"workspace": token.workspace_name, "region": token.region.value}
        self._record(connection, account_id, actor, "keep Segment token", details)

    def _forget_token(self, connection: Connection, account_id: str, actor: str) -> bool:
        forgotten = rows.forget_token(connection, account_id)
        if forgotten:
            self._record(connection, account_id, actor, "forget Segment token", {})
        return forgotten

    def _record(
        self, connection: Connection, account_id: str, actor: str, action: str, details: dict[str, JsonValue]
    ) -> None:
        audit_log.record(connection, account_id, self._clock(), actor=actor, action=action, details=details)


def _with_last_calls(connection: Connection, account_id: str) -> list[Connected]:
    """A unit of work: an account's connections with their last calls."""
    by_source = {
        each.key: each.last_at
        for each in sources.of_account(connection, account_id)
        if each.kind is SourceKind.SOURCE
    }
    by_credential = {each.fingerprint: each.last_used_at for each in credentials.keys_of(connection, account_id)}
    by_credential |= {each.id: each.last_used_at for each in credentials.secrets_of(connection, account_id)}
    return [
        Connected(each, _since(each.created_at, by_source.get(each.source_id), by_credential.get(each.credential)))
        for each in rows.of_account(connection, account_id)
    ]


def _since(connected_at: int, *times: int | None) -> int | None:
    """The first of the times that is not before the connection: the source may have sent by another one."""
    return next((each for each in times if each is not None and each >= connected_at), None)


def _offered(
    found: Iterable[Source], destinations: Iterable[Destination], connections: Iterable[SegmentConnection]
) -> tuple[FoundSource, ...]:
    """Sources for choice, by their names."""
    connected = {each.source_id: each for each in connections}
    ours = {each.destination_id for each in connected.values()}
    made = [each for each in destinations if each.id not in ours and SPECS[Kind.DESTINATION].is_one(each)]
    others = {each.source_id for each in made}
    offered = [
        FoundSource(
            each.id,
            each.title,
            each.slug,
            each.enabled,
            connected[each.id].id if each.id in connected else None,
            each.id in others,
        )
        for each in found
    ]
    return tuple(sorted(offered, key=lambda each: (each.name.casefold(), each.id)))


async def _source(api: PublicApiClient, workspace: Workspace, source_id: str) -> Source:
    """A source of a workspace's. Raises `NotFoundError`."""
    for each in await api.sources():
        if each.id == source_id:
            return each
    raise NotFoundError(f"The workspace {workspace.name!r} has no source {source_id[:MAX_NAME]!r} for this token.")


def _details(connected: SegmentConnection) -> dict[str, JsonValue]:
    return {
        "workspace": connected.workspace_name,
        "source": connected.source_id,
        "name": connected.source_name,
        "kind": connected.kind.value,
        "credential": connected.credential,
    }


def _remembered_by(access: WorkspaceCredentials) -> tuple[Region, str]:
    return access.region, key_hash(access.token)
