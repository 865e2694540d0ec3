"""Page of connected sources, of other sources that send, and of one connection."""

from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from prosperstack_destination.dashboard.context import PageContext
from prosperstack_destination.dashboard.routing import ACTOR, PageRoute
from prosperstack_destination.dashboard.segment_connect import token_form
from prosperstack_destination.dashboard.sse import LiveUpdates
from prosperstack_destination.dashboard.workspace_cache import WorkspaceSelections
from prosperstack_destination.errors import ConfigurationError, NotFoundError, SegmentApiError, SegmentUnavailable
from prosperstack_destination.segment_api.client import WorkspaceCredentials
from prosperstack_destination.segment_api.connections import Connected
from prosperstack_destination.segment_api.destination_specs import SPECS
from prosperstack_destination.store import sources

#: Maximum connections on the page, and maximum other sources.
MAX_SHOWN: Final = 50


class SegmentPages:
    """Routes of the pages."""

    def __init__(self, live: LiveUpdates, selections: WorkspaceSelections) -> None:
        self._live = live
        self._selections = selections

    def pages(self) -> list[PageRoute]:
        """Return the routes."""
        return [
            PageRoute("/segment", self._show),
            PageRoute("/segment/live", self._stream),
            PageRoute("/segment/connections/{connection_id}", self._show_one),
            PageRoute("/segment/connections/{connection_id}", self._disconnect, "POST"),
            PageRoute("/segment/connections/{connection_id}/live", self._stream_one),
        ]

    async def _show(self, context: PageContext) -> Response:
        connected = await context.services.workspaces.connections(context.account)
        matching = _matching(connected, context.query("q"))
        return context.page(
            "segment.html",
            title="Segment",
            connected=matching[:MAX_SHOWN],
            left_out=max(len(matching) - MAX_SHOWN, 0),
            count=len(connected),
            many=len(connected) > MAX_SHOWN,
            q=context.query("q"),
            live=f"{context.base_path}/segment/live?{urlencode({'q': context.query('q')})}",
            others=await _others(context),
            next_step=self._next_step(context),
            **await token_form(context),
        )

    async def _stream(self, context: PageContext) -> Response:
        async def parts() -> dict[str, str]:
            connected = await context.services.workspaces.connections(context.account)
            matching = _matching(connected, context.query("q"))[:MAX_SHOWN]
            called = {f"called-{each.connection.id}": _last_call(context, each.last_call_at) for each in matching}
            return {**called, "others": await _others(context)}

        return self._live.stream(parts, context.is_open)

    async def _show_one(self, context: PageContext) -> Response:
        return await self._one(context, await _connected(context))

    async def _stream_one(self, context: PageContext) -> Response:
        connection_id = (await _connected(context)).connection.id

        async def parts() -> dict[str, str]:
            connected = await context.services.workspaces.connections(context.account)
            at = next((each.last_call_at for each in connected if each.connection.id == connection_id), None)
            return call_status(context, at)

        return self._live.stream(parts, context.is_open)

    async def _disconnect(self, context: PageContext) -> Response:
        connected = await _connected(context)
        connection = connected.connection
        here_only = "here_only" in context.form
        token = context.form.get("token", "").strip()
        held = self._selections.of(context.session, context.account.id)
        access = (
            WorkspaceCredentials(token, connection.region) if token else held.access if held is not None else None
        )
        try:
            deleted = await context.services.workspaces.disconnect(
                context.account, connection.id, actor=ACTOR, credentials=access, here_only=here_only
            )
        except (ConfigurationError, SegmentApiError) as error:
            return await self._one(context, connected, error=str(error), status=422)
        except SegmentUnavailable as error:
            return await self._one(context, connected, error=str(error), status=503)
        if here_only:
            flash = "The source is disconnected here. Delete its destination in Segment too."
        elif deleted:
            flash = "The source is disconnected, and its destination in Segment is deleted."
        else:
            flash = "The source is disconnected. Its destination in Segment was already deleted."
        return context.redirect_home("segment", flash)

    def _next_step(self, context: PageContext) -> str:
        """Return the next step to connect a source: choose a source if a workspace is already open."""
        return "connect" if self._selections.of(context.session, context.account.id) is None else "sources"

    async def _one(
        self, context: PageContext, connected: Connected, *, error: str | None = None, status: int = 200
    ) -> Response:
        held = self._selections.of(context.session, context.account.id)
        kept = await context.services.workspaces.kept_token(context.account)
        return context.page(
            "segment/connection.html",
            title=connected.connection.source_name,
            status=status,
            connection=connected.connection,
            spec=SPECS[connected.connection.kind],
            call_status=call_status(context, connected.last_call_at),
            next_step=self._next_step(context),
            has_token=kept is not None or held is not None,
            error=error,
        )


def call_status(context: PageContext, at: int | None) -> dict[str, str]:
    """Render the parts with the time of the last call (microseconds since the epoch; None before the first)."""
    return {
        "call-status": context.fragment("segment/call_status.html", at=at),
        "last-call": ""
        if at is None
        else context.fragment("segment/last_call_line.html", at=at, now=context.services.clock()),
    }


def _last_call(context: PageContext, at: int | None) -> str:
    return context.fragment("segment/last_call.html", at=at, now=context.services.clock())


async def _others(context: PageContext) -> str:
    """Render the sources that send but were not connected by this service."""
    others = await context.services.database.read(sources.unconnected, context.account.id, MAX_SHOWN + 1)
    return context.fragment(
        "segment/others.html", others=others[:MAX_SHOWN], more=len(others) > MAX_SHOWN, now=context.services.clock()
    )


async def _connected(context: PageContext) -> Connected:
    """Return the connection in the path. Raises `NotFoundError`."""
    connection_id = context.request.path_params["connection_id"]
    for each in await context.services.workspaces.connections(context.account):
        if each.connection.id == connection_id:
            return each
    raise NotFoundError("This connection does not exist, or was removed. The page Segment lists all connections.")


def _matching(connected: list[Connected], query: str) -> list[Connected]:
    """Return the connections whose source or workspace contains a text in its name."""
    text = query.casefold()
    return [
        each
        for each in connected
        if text in each.connection.source_name.casefold() or text in each.connection.workspace_name.casefold()
    ]
