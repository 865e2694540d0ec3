"""Connections: connects sources of a Segment workspace to an account, and disconnects them.

Connecting issues a credential here, creates the destination in Segment, and stores the connection here, in this
order. If a step fails, the earlier steps are undone.
"""

import secrets
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from typing import Final

import httpx
from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.auth.api_keys import key_hash
from prosperstack_destination.auth.credentials import Issued, issue_key, issue_secret, revoke
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.caches import TtlCache
from prosperstack_destination.clock import MINUTE, Clock
from prosperstack_destination.errors import AlreadyConnected, InvalidInput, NotFoundError
from prosperstack_destination.segment_api.client import PublicApiClient, WorkspaceCredentials
from prosperstack_destination.segment_api.destination_specs import SPECS, webhook_url
from prosperstack_destination.segment_api.models import Destination, Source, Workspace
from prosperstack_destination.segment_api.provisioning import (
    create_destination,
    delete_destination,
    plan_destination,
)
from prosperstack_destination.store import activity, credentials, sources
from prosperstack_destination.store import segment_connections as rows
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.credentials import CredentialKind
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import SourceKind
from prosperstack_destination.store.segment_connections import (
    ConnectionKind,
    Region,
    SegmentConnection,
    StoredToken,
)

#: Time to live of a cached workspace, in microseconds. Segment allows five such requests a minute.
WORKSPACE_TTL: Final = 10 * MINUTE
#: Size of the cache of workspaces.
MAX_CACHED_WORKSPACES: Final = 100
#: Longest name that is stored, in characters.
MAX_NAME: Final = 200
#: Kind of the credential that is issued for a connection.
_CREDENTIAL_KINDS: Final = {
    ConnectionKind.DESTINATION: CredentialKind.KEY,
    ConnectionKind.WEBHOOK: CredentialKind.SECRET,
}


@dataclass(frozen=True, slots=True)
class FoundSource:
    """Source of a workspace that can be connected."""

    id: str
    #: Name in Segment; any text.
    name: str
    slug: str
    #: True if the source is enabled in Segment.
    enabled: bool
    #: Id of the account's connection with the source; None without one.
    connection_id: str | None
    #: True if the source has a ProsperStack destination in Segment that this account did not create.
    has_another: bool


@dataclass(frozen=True, slots=True)
class WorkspaceSnapshot:
    """Workspace with its sources."""

    workspace: Workspace
    region: Region
    #: Sources, sorted by name.
    sources: tuple[FoundSource, ...]


@dataclass(frozen=True, slots=True)
class Connected:
    """Connection with the time of its last call."""

    connection: SegmentConnection
    #: Last call of the source since it was connected, in microseconds since the epoch; None without one.
    last_call_at: int | None


class WorkspaceService:
    """Service for Segment workspaces and an account's connections with their sources.

    ``credentials=None`` uses the token that is kept for the account. Methods raise `InvalidInput` if none is
    kept, `SegmentApiError` and `SegmentUnavailable`. ``on_keys`` is called after keys or secrets change.
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
        self._cache: TtlCache[tuple[Region, str], Workspace] = TtlCache(WORKSPACE_TTL, MAX_CACHED_WORKSPACES, clock)

    async def load_snapshot(
        self, account: Account, credentials: WorkspaceCredentials | None = None
    ) -> WorkspaceSnapshot:
        """Return the token's workspace and its sources. Changes nothing."""
        credentials = credentials or await self._kept_credentials(account)
        api = PublicApiClient(self._http, credentials)
        workspace = await self._workspace(api, credentials)
        found = await api.sources()
        destinations = await api.destinations()
        connections = await self._database.read(rows.of_account, account.id)
        return WorkspaceSnapshot(workspace, credentials.region, _with_connections(found, destinations, connections))

    async def connect(
        self,
        account: Account,
        source_id: str,
        kind: ConnectionKind,
        *,
        actor: str,
        credentials: WorkspaceCredentials | None = None,
        public_url: str = "",
        keep_token: bool = False,
    ) -> SegmentConnection:
        """Connect a source: issue a credential, and create the destination in Segment.

        A webhook needs ``public_url``, under which Segment reaches this service. Raises `AlreadyConnected`,
        `NotFoundError` for an unknown source, and `InvalidInput` for a URL that the internet does not reach.
        After an error nothing is left here or in Segment, or the text of the error says what is left.
        """
        url = webhook_url(public_url, account.id) if kind is ConnectionKind.WEBHOOK else ""
        credentials = credentials or await self._kept_credentials(account)
        existing = await self._database.read(rows.of_source, account.id, source_id)
        if existing is not None:
            raise AlreadyConnected(existing.source_name, existing.id)
        api = PublicApiClient(self._http, credentials)
        workspace = await self._workspace(api, credentials)
        source = await _source(api, workspace, source_id)
        plan = await plan_destination(api, kind)
        async with AsyncExitStack() as undo:  # runs unless all steps succeed
            credential = await self._database.write(self._issue, account, kind, source.title[:MAX_NAME], actor)
            undo.callback(self._on_keys)
            undo.push_async_callback(self._database.write, self._revoke, account, kind, credential.id, actor)
            self._on_keys()  # Segment may send as soon as the destination exists
            destination_id = await create_destination(api, plan, source.id, credential.text, url)
            undo.push_async_callback(delete_destination, api, plan, destination_id)
            connection = SegmentConnection(
                id=f"conn_{secrets.token_hex(6)}",
                account_id=account.id,
                region=credentials.region,
                workspace_id=workspace.id,
                workspace_name=workspace.name[:MAX_NAME],
                source_id=source.id,
                source_name=source.title[:MAX_NAME],
                destination_id=destination_id,
                kind=kind,
                credential=credential.id,
                created_at=self._clock(),
            )
            kept = self._encrypted(credentials, workspace) if keep_token else None
            await self._database.write(self._store, connection, kept, actor)
            undo.pop_all()
        return connection

    async def connections(self, account: Account) -> list[Connected]:
        """Return an account's connections, newest first, each with its last call. Sends no request to Segment."""
        return await self._database.read(_with_last_calls, account.id)

    async def disconnect(
        self,
        account: Account,
        connection_id: str,
        *,
        actor: str,
        credentials: WorkspaceCredentials | None = None,
        here_only: bool = False,
    ) -> bool:
        """Disconnect a source: delete its destination in Segment, revoke its credential, delete the connection.

        ``here_only`` sends no request to Segment, for when Segment is unavailable or the token is lost; calls of
        the destination are refused from then on. Returns whether Segment deleted the destination; False if it had
        none or got no request. Raises `NotFoundError` for an unknown connection, and `InvalidInput` for a
        token of another workspace.
        """
        connection = await self._database.read(rows.get, account.id, connection_id)
        if connection is None:
            raise NotFoundError(f"The account has no connection {connection_id[:MAX_NAME]!r}.")
        deleted = False
        if not here_only:
            # The connection's region counts, not the one that came with the token.
            credentials = replace(credentials or await self._kept_credentials(account), region=connection.region)
            api = PublicApiClient(self._http, credentials)
            workspace = await self._workspace(api, credentials)
            if workspace.id != connection.workspace_id:
                raise InvalidInput(
                    f"The token belongs to the workspace {workspace.name!r}, but the source was connected in "
                    f"{connection.workspace_name!r}: use its token, or disconnect the source here only."
                )
            deleted = await api.delete_destination(connection.destination_id)
        await self._database.write(self._forget, account, connection, actor)
        self._on_keys()
        return deleted

    async def kept_token(self, account: Account) -> StoredToken | None:
        """Return the token that is kept for an account, encrypted; None without one."""
        return await self._database.read(rows.stored_token, account.id)

    async def keep_token(self, account: Account, credentials: WorkspaceCredentials, *, actor: str) -> StoredToken:
        """Check a token with Segment and keep it, encrypted, in place of the account's earlier one."""
        api = PublicApiClient(self._http, credentials)
        token = self._encrypted(credentials, await self._workspace(api, credentials))
        await self._database.write(self._keep, account.id, token, actor)
        return token

    async def forget_token(self, account: Account, *, actor: str) -> bool:
        """Delete the token that is kept for an account; return False if none was kept."""
        return await self._database.write(self._forget_token, account.id, actor)

    async def _kept_credentials(self, account: Account) -> WorkspaceCredentials:
        token = await self.kept_token(account)
        if token is None:
            raise InvalidInput(
                "No token of a Segment workspace is kept for this account: paste one (in Segment: Settings → "
                "Workspace settings → Access Management → Tokens)."
            )
        return WorkspaceCredentials(self._vault.decrypt(token.encrypted), token.region)

    async def _workspace(self, api: PublicApiClient, credentials: WorkspaceCredentials) -> Workspace:
        """Return the workspace of a token, cached for `WORKSPACE_TTL`. A revoked token fails later."""
        key = _cache_key(credentials)
        return self._cache.get(key) or self._cache.put(key, await api.workspace())

    def _encrypted(self, credentials: WorkspaceCredentials, workspace: Workspace) -> StoredToken:
        encrypted = self._vault.encrypt(credentials.token.strip())
        return StoredToken(credentials.region, encrypted, workspace.name[:MAX_NAME], self._clock())

    def _issue(
        self, connection: Connection, account: Account, kind: ConnectionKind, name: str, actor: str
    ) -> Issued:
        if kind is ConnectionKind.DESTINATION:
            return issue_key(connection, account, name, actor, self._clock())
        return issue_secret(connection, account, name, self._vault, actor, self._clock())

    def _revoke(
        self, connection: Connection, account: Account, kind: ConnectionKind, credential: str, actor: str
    ) -> None:
        """Revoke a credential, unless an operator already has."""
        with suppress(NotFoundError):
            revoke(connection, _CREDENTIAL_KINDS[kind], account, credential, actor, self._clock())

    def _store(
        self, connection: Connection, connected: SegmentConnection, token: StoredToken | None, actor: str
    ) -> None:
        existing = rows.add(connection, connected)
        if existing is not None:  # another operator was faster
            raise AlreadyConnected(existing.source_name, existing.id)
        self._record(connection, connected.account_id, actor, "connect source", _details(connected))
        if token is not None:
            self._keep(connection, connected.account_id, token, actor)

    def _forget(self, connection: Connection, account: Account, connected: SegmentConnection, actor: str) -> None:
        if rows.remove(connection, account.id, connected.id):
            self._revoke(connection, account, connected.kind, connected.credential, actor)
            self._record(connection, account.id, actor, "disconnect source", _details(connected))

    def _keep(self, connection: Connection, account_id: str, token: StoredToken, actor: str) -> None:
        rows.store_token(connection, account_id, token)
        details: dict[str, JsonValue] = {"workspace": token.workspace_name, "region": token.region.value}
        self._record(connection, account_id, actor, "keep Segment token", details)

    def _forget_token(self, connection: Connection, account_id: str, actor: str) -> bool:
        forgotten = rows.delete_token(connection, account_id)
        if forgotten:
            self._record(connection, account_id, actor, "forget Segment token", {})
        return forgotten

    def _record(
        self, connection: Connection, account_id: str, actor: str, action: str, details: dict[str, JsonValue]
    ) -> None:
        activity.record_action(connection, account_id, self._clock(), actor=actor, action=action, details=details)


def _with_last_calls(connection: Connection, account_id: str) -> list[Connected]:
    """Return an account's connections with their last calls, in one transaction."""
    by_source = {
        each.key: each.last_at
        for each in sources.of_account(connection, account_id)
        if each.kind is SourceKind.SOURCE
    }
    by_credential = {
        each.id: each.last_used_at
        for kind in _CREDENTIAL_KINDS.values()
        for each in credentials.of_kind(connection, kind, account_id)
    }
    return [
        Connected(each, _since(each.created_at, by_source.get(each.source_id), by_credential.get(each.credential)))
        for each in rows.of_account(connection, account_id)
    ]


def _since(connected_at: int, *times: int | None) -> int | None:
    """Return the first time that is not before the connection; earlier calls came by another connection."""
    return next((each for each in times if each is not None and each >= connected_at), None)


def _with_connections(
    found: Iterable[Source], destinations: Iterable[Destination], connections: Iterable[SegmentConnection]
) -> tuple[FoundSource, ...]:
    """Return sources with their connections, sorted by name."""
    connected = {connection.source_id: connection for connection in connections}
    own_ids = {connection.destination_id for connection in connected.values()}
    spec = SPECS[ConnectionKind.DESTINATION]
    others = {each.source_id for each in destinations if each.id not in own_ids and spec.matches(each)}
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
    """Return a source of a workspace. Raises `NotFoundError`."""
    for source in await api.sources():
        if source.id == source_id:
            return source
    raise NotFoundError(f"The workspace {workspace.name!r} has no source {source_id[:MAX_NAME]!r} for this token.")


def _details(connected: SegmentConnection) -> dict[str, JsonValue]:
    return {
        "workspace": connected.workspace_name,
        "source": connected.source_id,
        "name": connected.source_name,
        "kind": connected.kind.value,
        "credential": connected.credential,
    }


def _cache_key(credentials: WorkspaceCredentials) -> tuple[Region, str]:
    return credentials.region, key_hash(credentials.token)
