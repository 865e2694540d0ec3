"""Connections with Segment sources: list a workspace's sources, connect and disconnect them."""

from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import AliasPath, Field, SecretStr

from prosperstack_destination.api.models import RequestBody, ResponseBody, Timestamp, to_datetime
from prosperstack_destination.api.route import AccountDep, ApiRoute, ErrorResponse, Operator, Services
from prosperstack_destination.background import while_connected
from prosperstack_destination.segment_api.client import MAX_TOKEN, WorkspaceCredentials
from prosperstack_destination.store.segment_connections import ConnectionKind, Region, SegmentConnection

router = APIRouter(prefix="/api/accounts/{account_id}/segment", tags=["segment"], route_class=ApiRoute)

_UNPROCESSABLE: Final[dict[int | str, dict[str, Any]]] = {
    422: {
        "model": ErrorResponse,
        "description": "Segment refuses the request, or a field is missing; the message says what to do.",
    },
}


class TokenRequest(RequestBody):
    """Access to a Segment workspace."""

    token: SecretStr | None = Field(
        None, max_length=MAX_TOKEN, description="Token of the workspace; null: the one stored for the account."
    )
    region: Region = Field(
        Region.US, description="Segment's region of the workspace; ignored for the stored token."
    )

    def access(self) -> WorkspaceCredentials | None:
        """Return the workspace's credentials; None: the stored ones."""
        return None if self.token is None else WorkspaceCredentials(self.token.get_secret_value(), self.region)


class ConnectRequest(TokenRequest):
    """A source to connect."""

    source_id: str = Field(max_length=200)
    kind: ConnectionKind = Field(
        description="ProsperStack's own destination, or a webhook if you host this service."
    )
    public_url: str | None = Field(
        None,
        max_length=2_000,
        description="Of a webhook: URL at which Segment reaches this service; null: the URL of this request.",
    )
    keep_token: bool = Field(False, description="Store the token, encrypted, after Segment accepts it.")


class DisconnectRequest(TokenRequest):
    """Options of a disconnection."""

    here_only: bool = Field(
        False,
        description="Leave the destination in Segment, as if Segment cannot be reached; its calls are refused.",
    )


class KeepTokenRequest(RequestBody):
    """A token to store."""

    token: SecretStr = Field(max_length=MAX_TOKEN)
    region: Region = Region.US


class SegmentSourceResponse(ResponseBody):
    """A source that can be connected."""

    id: str
    name: str
    slug: str
    enabled: bool = Field(description="Whether Segment accepts its calls.")
    connection_id: str | None = Field(description="Connection of the account with it; null: none.")
    has_another: bool = Field(
        description="Whether it has a ProsperStack destination that was not created from this account."
    )


class WorkspaceResponse(ResponseBody):
    """A workspace and its sources."""

    id: str = Field(validation_alias=AliasPath("workspace", "id"))
    name: str = Field(validation_alias=AliasPath("workspace", "name"))
    slug: str = Field(validation_alias=AliasPath("workspace", "slug"))
    region: Region
    sources: list[SegmentSourceResponse] = Field(description="Sorted by name.")


class ConnectionResponse(ResponseBody):
    """A connected source."""

    id: str
    kind: ConnectionKind
    source_id: str
    source_name: str
    workspace_id: str
    workspace_name: str
    region: Region
    destination_id: str = Field(description="ID in Segment.")
    credential: str = Field(description="Fingerprint of its inbound key, or ID of its shared secret.")
    connected_at: Timestamp
    last_call_at: Timestamp | None = Field(description="Null: no call since it was connected.")


class DisconnectResponse(ResponseBody):
    """Result of a disconnection."""

    deleted_in_segment: bool = Field(description="False: it was already gone there, or `here_only` was set.")


class KeptTokenResponse(ResponseBody):
    """A stored token, without the token itself."""

    workspace_name: str
    region: Region
    kept_at: Timestamp = Field(validation_alias="created_at")


class ForgetTokenResponse(ResponseBody):
    """Result of deleting the stored token: whether there was one."""

    forgotten: bool


@router.post("/workspace", responses=_UNPROCESSABLE)
async def show_workspace(
    services: Services, account: AccountDep, body: TokenRequest, request: Request
) -> WorkspaceResponse:
    """Return the workspace of a token, and its sources; nothing is changed or stored."""
    load = partial(services.workspaces.load_snapshot, account, body.access())
    snapshot = await while_connected(request.receive, load)
    return WorkspaceResponse.model_validate(snapshot)


@router.get("/connections")
async def list_connections(services: Services, account: AccountDep) -> list[ConnectionResponse]:
    """List the connected sources, newest first, each with its latest call."""
    return [
        _connection_response(each.connection, each.last_call_at)
        for each in await services.workspaces.connections(account)
    ]


@router.post("/connections", status_code=201, responses={**_UNPROCESSABLE, 409: {"model": ErrorResponse}})
async def connect_source(
    request: Request, services: Services, account: AccountDep, operator: Operator, body: ConnectRequest
) -> ConnectionResponse:
    """Connect a source: issue a key or shared secret, and create the destination in Segment.

    Refused with 409 if the account has the source already. If Segment refuses any step, nothing stays.
    """
    connection = await services.workspaces.connect(
        account,
        body.source_id,
        body.kind,
        actor=operator,
        credentials=body.access(),
        public_url=body.public_url or str(request.base_url),
        keep_token=body.keep_token,
    )
    return _connection_response(connection, None)


@router.post("/connections/{connection_id}/disconnect", responses=_UNPROCESSABLE)
async def disconnect_source(
    services: Services, account: AccountDep, operator: Operator, connection_id: str, body: DisconnectRequest
) -> DisconnectResponse:
    """Delete a connection's destination in Segment, revoke its key or shared secret, and delete the connection."""
    deleted = await services.workspaces.disconnect(
        account, connection_id, actor=operator, credentials=body.access(), here_only=body.here_only
    )
    return DisconnectResponse(deleted_in_segment=deleted)


@router.get("/token")
async def show_token(services: Services, account: AccountDep) -> KeptTokenResponse | None:
    """Return the stored token's workspace; null: none is stored."""
    kept = await services.workspaces.kept_token(account)
    return None if kept is None else KeptTokenResponse.model_validate(kept)


@router.put("/token", responses=_UNPROCESSABLE)
async def keep_token(
    services: Services, account: AccountDep, operator: Operator, body: KeepTokenRequest
) -> KeptTokenResponse:
    """Store a token, encrypted, after Segment accepts it; later requests may omit it."""
    access = WorkspaceCredentials(body.token.get_secret_value(), body.region)
    return KeptTokenResponse.model_validate(await services.workspaces.keep_token(account, access, actor=operator))


@router.delete("/token")
async def forget_token(services: Services, account: AccountDep, operator: Operator) -> ForgetTokenResponse:
    """Delete the stored token. It stays valid in Segment: delete it there too."""
    return ForgetTokenResponse(forgotten=await services.workspaces.forget_token(account, actor=operator))


def _connection_response(connection: SegmentConnection, last_call_at: int | None) -> ConnectionResponse:
    return ConnectionResponse(
        id=connection.id,
        kind=connection.kind,
        source_id=connection.source_id,
        source_name=connection.source_name,
        workspace_id=connection.workspace_id,
        workspace_name=connection.workspace_name,
        region=connection.region,
        destination_id=connection.destination_id,
        credential=connection.credential,
        connected_at=to_datetime(connection.created_at),
        last_call_at=to_datetime(last_call_at),
    )
