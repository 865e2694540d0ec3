"""Connecting sources of a Segment workspace: what can be connected, what is, and letting go."""

from datetime import datetime
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, SecretStr

from prosperstack_destination.api.dependencies import (
    AccountDep,
    Operator,
    Services,
    to_datetime,
    to_datetime_or_none,
)
from prosperstack_destination.api.errors import ApiRoute, ErrorResponse, RequestBody
from prosperstack_destination.deadlines import while_connected
from prosperstack_destination.segment_api.client import MAX_TOKEN, WorkspaceCredentials
from prosperstack_destination.store.segment_connections import KeptToken, Kind, Region, SegmentConnection

router = APIRouter(prefix="/api/accounts/{account_id}/segment", tags=["segment"], route_class=ApiRoute)

_REFUSED: Final[dict[int | str, dict[str, Any]]] = {
    422: {
        "model": ErrorResponse,
        "description": "Segment refuses it, or something is missing; the message says what to do.",
    },
}


class TokenRequest(RequestBody):
    """What opens a workspace."""

    token: SecretStr | None = Field(
        None, max_length=MAX_TOKEN, description="Of the workspace; null: the one that is kept for the account."
    )
    region: Region = Field(Region.US, description="Where Segment keeps the workspace; of a kept token it is known.")

    def access(self) -> WorkspaceCredentials | None:
        """The workspace's access; None: the kept one."""
        return None if self.token is None else WorkspaceCredentials(self.token.get_secret_value(), self.region)


class ConnectRequest(TokenRequest):
    """A source to be connected."""

    source_id: str = Field(max_length=200)
    kind: Kind = Field(
        description="ProsperStack's own destination, or a webhook for those who host this themselves."
    )
    public_url: str | None = Field(
        None,
        max_length=2_000,
        description="Of a webhook: where Segment reaches this service; null: where this request came in.",
    )
    keep_token: bool = Field(False, description="Whether the token is kept, encrypted, once it worked.")


class DisconnectRequest(TokenRequest):
    """How a source is let go."""

    here_only: bool = Field(
        False, description="Leave the destination in Segment, where it cannot be reached; its calls are refused."
    )


class KeepTokenRequest(RequestBody):
    """A token to be kept."""

    token: SecretStr = Field(max_length=MAX_TOKEN)
    region: Region = Region.US


class SegmentSourceResponse(BaseModel):
    """A source that can be connected."""

    id: str
    name: str
    slug: str
    enabled: bool = Field(description="Whether Segment takes in its calls.")
    connection_id: str | None = Field(description="The account's connection with it; null: none.")
    has_another: bool = Field(
        description="Whether it has a destination of ProsperStack's that was not made from this account."
    )


class WorkspaceResponse(BaseModel):
    """A workspace, and what can be connected."""

    id: str
    name: str
    slug: str
    region: Region
    sources: list[SegmentSourceResponse] = Field(description="By their names.")


class ConnectionResponse(BaseModel):
    """A source that is connected."""

    id: str
    kind: Kind
    source_id: str
    source_name: str
    workspace_id: str
    workspace_name: str
    region: Region
    destination_id: str = Field(description="In Segment.")
    credential: str = Field(
        description="The key that it shows, by its fingerprint, or the shared secret, by its id."
    )
    connected_at: datetime
    last_call_at: datetime | None = Field(description="Null: none came since it was connected.")


class DisconnectResponse(BaseModel):
    """What became of a connection."""

    deleted_in_segment: bool = Field(description="False: it was gone there, or Segment was not to be asked.")


class KeptTokenResponse(BaseModel):
    """A token that is kept; never the token itself."""

    workspace_name: str
    region: Region
    kept_at: datetime


class ForgetTokenResponse(BaseModel):
    """Whether a token had been kept."""

    forgotten: bool


@router.post("/workspace", responses=_REFUSED)
async def show_workspace(
    services: Services, account: AccountDep, given: TokenRequest, request: Request
) -> WorkspaceResponse:
    """The workspace that a token is of, and its sources; nothing is changed or kept."""
    look = await while_connected(request.receive, partial(services.workspaces.look, account, given.access()))
    return WorkspaceResponse(
        id=look.workspace.id,
        name=look.workspace.name,
        slug=look.workspace.slug,
        region=look.region,
        sources=[
            SegmentSourceResponse(
                id=each.id,
                name=each.name,
                slug=each.slug,
                enabled=each.enabled,
                connection_id=each.connection_id,
                has_another=each.has_another,
            )
            for each in look.sources
        ],
    )


@router.get("/connections")
async def list_connections(services: Services, account: AccountDep) -> list[ConnectionResponse]:
    """What is connected, the newest first, each with its last call."""
    return [_shown(each.connection, each.last_call_at) for each in await services.workspaces.connections(account)]


@router.post("/connections", status_code=201, responses={**_REFUSED, 409: {"model": ErrorResponse}})
async def connect_source(
    request: Request, services: Services, account: AccountDep, operator: Operator, wanted: ConnectRequest
) -> ConnectionResponse:
    """Have a source send: issue a key or a shared secret, and make the destination in Segment.

    Refused with 409 where the account has the source already. If Segment refuses anything, nothing is kept.
    """
    connection = await services.workspaces.connect(
        account,
        wanted.source_id,
        wanted.kind,
        actor=operator,
        access=wanted.access(),
        public_url=wanted.public_url or str(request.base_url),
        keep_token=wanted.keep_token,
    )
    return _shown(connection, None)


@router.post("/connections/{connection_id}/disconnect", responses=_REFUSED)
async def disconnect_source(
    services: Services, account: AccountDep, operator: Operator, connection_id: str, how: DisconnectRequest
) -> DisconnectResponse:
    """Delete a connection's destination in Segment, refuse its key or shared secret, and forget it."""
    deleted = await services.workspaces.disconnect(
        account, connection_id, actor=operator, access=how.access(), here_only=how.here_only
    )
    return DisconnectResponse(deleted_in_segment=deleted)


@router.get("/token")
async def show_token(services: Services, account: AccountDep) -> KeptTokenResponse | None:
    """What is known of the token that is kept; null: none is."""
    kept = await services.workspaces.kept_token(account)
    return None if kept is None else _shown_token(kept)


@router.put("/token", responses=_REFUSED)
async def keep_token(
    services: Services, account: AccountDep, operator: Operator, given: KeepTokenRequest
) -> KeptTokenResponse:
    """Keep a token, encrypted, once Segment has taken it; requests may leave it out from then on."""
    access = WorkspaceCredentials(given.token.get_secret_value(), given.region)
    return _shown_token(await services.workspaces.keep_token(account, access, actor=operator))


@router.delete("/token")
async def forget_token(services: Services, account: AccountDep, operator: Operator) -> ForgetTokenResponse:
    """Keep no token any more. It stays good in Segment: delete it there too."""
    return ForgetTokenResponse(forgotten=await services.workspaces.forget_token(account, actor=operator))


def _shown(connection: SegmentConnection, last_call_at: int | None) -> ConnectionResponse:
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
        last_call_at=to_datetime_or_none(last_call_at),
    )


def _shown_token(kept: KeptToken) -> KeptTokenResponse:
    return KeptTokenResponse(
        workspace_name=kept.workspace_name, region=kept.region, kept_at=to_datetime(kept.created_at)
    )
