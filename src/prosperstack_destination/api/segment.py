"""Connecting sources of a Segment workspace: what can be connected, what is, and letting go."""

from datetime import datetime
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, SecretStr

from prosperstack_destination.api.context import Operator, TheAccount, TheDesk, shown_time, shown_time_or_none
from prosperstack_destination.api.routing import ApiRoute, Refusal, Sent
from prosperstack_destination.caller import while_connected
from prosperstack_destination.segment_workspace.client import MAX_TOKEN, Access
from prosperstack_destination.state.segment_connections import KeptToken, Kind, Region, SegmentConnection

router = APIRouter(prefix="/api/accounts/{account_id}/segment", tags=["segment"], route_class=ApiRoute)

_REFUSED: Final[dict[int | str, dict[str, Any]]] = {
    422: {
        "model": Refusal,
        "description": "Segment refuses it, or something is missing; the message says what to do.",
    },
}


class WithToken(Sent):
    """What opens a workspace."""

    token: SecretStr | None = Field(
        None, max_length=MAX_TOKEN, description="Of the workspace; null: the one that is kept for the account."
    )
    region: Region = Field(Region.US, description="Where Segment keeps the workspace; of a kept token it is known.")

    def access(self) -> Access | None:
        """The workspace's access; None: the kept one."""
        return None if self.token is None else Access(self.token.get_secret_value(), self.region)


class ToConnect(WithToken):
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


class ToDisconnect(WithToken):
    """How a source is let go."""

    here_only: bool = Field(
        False, description="Leave the destination in Segment, where it cannot be reached; its calls are refused."
    )


class ToKeep(Sent):
    """A token to be kept."""

    token: SecretStr = Field(max_length=MAX_TOKEN)
    region: Region = Region.US


class ShownSource(BaseModel):
    """A source that can be connected."""

    id: str
    name: str
    slug: str
    enabled: bool = Field(description="Whether Segment takes in its calls.")
    connection_id: str | None = Field(description="The account's connection with it; null: none.")
    has_another: bool = Field(
        description="Whether it has a destination of ProsperStack's that was not made from this account."
    )


class ShownWorkspace(BaseModel):
    """A workspace, and what can be connected."""

    id: str
    name: str
    slug: str
    region: Region
    sources: list[ShownSource] = Field(description="By their names.")


class ShownConnection(BaseModel):
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


class Disconnected(BaseModel):
    """What became of a connection."""

    deleted_in_segment: bool = Field(description="False: it was gone there, or Segment was not to be asked.")


class ShownToken(BaseModel):
    """A token that is kept; never the token itself."""

    workspace_name: str
    region: Region
    kept_at: datetime


class Forgotten(BaseModel):
    """Whether a token had been kept."""

    forgotten: bool


@router.post("/workspace", responses=_REFUSED)
async def look_at_workspace(
    desk: TheDesk, account: TheAccount, given: WithToken, request: Request
) -> ShownWorkspace:
    """The workspace that a token is of, and its sources; nothing is changed or kept."""
    look = await while_connected(request.receive, partial(desk.workspaces.look, account, given.access()))
    return ShownWorkspace(
        id=look.workspace.id,
        name=look.workspace.name,
        slug=look.workspace.slug,
        region=look.region,
        sources=[
            ShownSource(
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
async def list_connections(desk: TheDesk, account: TheAccount) -> list[ShownConnection]:
    """What is connected, the newest first, each with its last call."""
    return [_shown(each.connection, each.last_call_at) for each in await desk.workspaces.connections(account)]


@router.post("/connections", status_code=201, responses={**_REFUSED, 409: {"model": Refusal}})
async def connect_source(
    request: Request, desk: TheDesk, account: TheAccount, operator: Operator, wanted: ToConnect
) -> ShownConnection:
    """Have a source send: issue a key or a shared secret, and make the destination in Segment.

    Refused with 409 where the account has the source already. If Segment refuses anything, nothing is kept.
    """
    connection = await desk.workspaces.connect(
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
    desk: TheDesk, account: TheAccount, operator: Operator, connection_id: str, how: ToDisconnect
) -> Disconnected:
    """Delete a connection's destination in Segment, refuse its key or shared secret, and forget it."""
    deleted = await desk.workspaces.disconnect(
        account, connection_id, actor=operator, access=how.access(), here_only=how.here_only
    )
    return Disconnected(deleted_in_segment=deleted)


@router.get("/token")
async def show_token(desk: TheDesk, account: TheAccount) -> ShownToken | None:
    """What is known of the token that is kept; null: none is."""
    kept = await desk.workspaces.kept_token(account)
    return None if kept is None else _shown_token(kept)


@router.put("/token", responses=_REFUSED)
async def keep_token(desk: TheDesk, account: TheAccount, operator: Operator, given: ToKeep) -> ShownToken:
    """Keep a token, encrypted, once Segment has taken it; requests may leave it out from then on."""
    access = Access(given.token.get_secret_value(), given.region)
    return _shown_token(await desk.workspaces.keep_token(account, access, actor=operator))


@router.delete("/token")
async def forget_token(desk: TheDesk, account: TheAccount, operator: Operator) -> Forgotten:
    """Keep no token any more. It stays good in Segment: delete it there too."""
    return Forgotten(forgotten=await desk.workspaces.forget_token(account, actor=operator))


def _shown(connection: SegmentConnection, last_call_at: int | None) -> ShownConnection:
    return ShownConnection(
        id=connection.id,
        kind=connection.kind,
        source_id=connection.source_id,
        source_name=connection.source_name,
        workspace_id=connection.workspace_id,
        workspace_name=connection.workspace_name,
        region=connection.region,
        destination_id=connection.destination_id,
        credential=connection.credential,
        connected_at=shown_time(connection.created_at),
        last_call_at=shown_time_or_none(last_call_at),
    )


def _shown_token(kept: KeptToken) -> ShownToken:
    return ShownToken(workspace_name=kept.workspace_name, region=kept.region, kept_at=shown_time(kept.created_at))
