"""The page "Segment": which sources are connected, and what else sends."""

from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from prosperstack_destination.dashboard.context import PageContext
from prosperstack_destination.dashboard.routing import ACTOR, PageRoute
from prosperstack_destination.dashboard.segment_connect import asking
from prosperstack_destination.dashboard.sse import LiveUpdates
from prosperstack_destination.dashboard.workspace_cache import WorkspaceSelections
from prosperstack_destination.errors import ConfigurationError, NotFoundError, SegmentApiError, SegmentUnavailable
from prosperstack_destination.segment_api.client import WorkspaceCredentials
from prosperstack_destination.segment_api.connections import Connected
from prosperstack_destination.segment_api.destination_specs import SPECS
from prosperstack_destination.store import sources

#: Connections, and others that send, which a page shows at most.
SHOWN: Final = 50


class SegmentPages:
    """What is connected."""

    def __init__(self, live: LiveUpdates, looks: WorkspaceSelections) -> None:
        self._live = live
        self._looks = looks

    def pages(self) -> list[PageRoute]:
        """Their routes."""
        return [
            PageRoute("/segment", self._show),
            PageRoute("/segment/live", self._stream),
            PageRoute("/segment/connections/{connection_id}", self._show_one),
            PageRoute("/segment/connections/{connection_id}", self._disconnect, "POST"),
            PageRoute("/segment/connections/{connection_id}/live", self._stream_one),
        ]

    async def _show(self, visit: PageContext) -> Response:
        connected = await visit.services.workspaces.connections(visit.account)
        found = _found(connected, visit.query("q"))
        return visit.page(
            "segment.html",
            title="Segment",
            connected=found[:SHOWN],
            left_out=max(len(found) - SHOWN, 0),
            count=len(connected),
            many=len(connected) > SHOWN,
            q=visit.query("q"),
            live=f"{visit.base_path}/segment/live?{urlencode({'q': visit.query('q')})}",
            others=await _others(visit),
            begin=self._begin(visit),
            **await asking(visit),
        )

    async def _stream(self, visit: PageContext) -> Response:
        async def parts() -> dict[str, str]:
            connected = await visit.services.workspaces.connections(visit.account)
            found = _found(connected, visit.query("q"))[:SHOWN]
            called = {f"called-{each.connection.id}": _called(visit, each.last_call_at) for each in found}
            return {**called, "others": await _others(visit)}

        return self._live.stream(parts, visit.is_open)

    async def _show_one(self, visit: PageContext) -> Response:
        return await self._one(visit, await _connected(visit))

    async def _stream_one(self, visit: PageContext) -> Response:
        connection_id = (await _connected(visit)).connection.id

        async def parts() -> dict[str, str]:
            connected = await visit.services.workspaces.connections(visit.account)
            at = next((each.last_call_at for each in connected if each.connection.id == connection_id), None)
            return arrival(visit, at)

        return self._live.stream(parts, visit.is_open)

    async def _disconnect(self, visit: PageContext) -> Response:
        connected = await _connected(visit)
        connection = connected.connection
        here_only = "here_only" in visit.form
        pasted = visit.form.get("token", "").strip()
        held = self._looks.of(visit.session, visit.account.id)
        access = (
            WorkspaceCredentials(pasted, connection.region) if pasted else held.access if held is not None else None
        )
        try:
            deleted = await visit.services.workspaces.disconnect(
                visit.account, connection.id, actor=ACTOR, credentials=access, here_only=here_only
            )
        except (ConfigurationError, SegmentApiError) as error:
            return await self._one(visit, connected, error=str(error), status=422)
        except SegmentUnavailable as error:
            return await self._one(visit, connected, error=str(error), status=503)
        if here_only:
            said = "The source is forgotten here, and its calls are refused. Delete its destination in Segment too."
        elif deleted:
            said = "The source is disconnected, and its destination in Segment is deleted."
        else:
            said = "The source is disconnected. Segment had no such destination any more."
        return visit.redirect_home("segment", said)

    def _begin(self, visit: PageContext) -> str:
        """Where connecting a source goes on: who has just looked at a workspace need not open it again."""
        return "connect" if self._looks.of(visit.session, visit.account.id) is None else "sources"

    async def _one(
        self, visit: PageContext, connected: Connected, *, error: str | None = None, status: int = 200
    ) -> Response:
        held = self._looks.of(visit.session, visit.account.id)
        kept = await visit.services.workspaces.kept_token(visit.account)
        return visit.page(
            "segment/connection.html",
            title=connected.connection.source_name,
            status=status,
            connection=connected.connection,
            made=SPECS[connected.connection.kind],
            arrival=arrival(visit, connected.last_call_at),
            begin=self._begin(visit),
            has_token=kept is not None or held is not None,
            error=error,
        )


def arrival(visit: PageContext, at: int | None) -> dict[str, str]:
    """The parts that tell whether a first call came, and when the last one did (microseconds)."""
    return {
        "arrival": visit.fragment("segment/arrival.html", at=at),
        "arrival-when": ""
        if at is None
        else visit.fragment("segment/arrived.html", at=at, now=visit.services.clock()),
    }


def _called(visit: PageContext, at: int | None) -> str:
    return visit.fragment("segment/called.html", at=at, now=visit.services.clock())


async def _others(visit: PageContext) -> str:
    """What sends, and was not connected from here."""
    others = await visit.services.database.read(sources.unconnected, visit.account.id, SHOWN + 1)
    return visit.fragment(
        "segment/others.html", others=others[:SHOWN], more=len(others) > SHOWN, now=visit.services.clock()
    )


async def _connected(visit: PageContext) -> Connected:
    """The connection that the path names. Raises `NotFoundError`."""
    wanted = visit.request.path_params["connection_id"]
    for each in await visit.services.workspaces.connections(visit.account):
        if each.connection.id == wanted:
            return each
    raise NotFoundError("There is no such connection, or no longer: the page Segment lists those that there are.")


def _found(connected: list[Connected], query: str) -> list[Connected]:
    """Those whose source or workspace has a text in its name."""
    wanted = query.casefold()
    return [
        each
        for each in connected
        if wanted in each.connection.source_name.casefold() or wanted in each.connection.workspace_name.casefold()
    ]
