"""Pages of connected sources and of one connection, and the steps to connect a source with a workspace token."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response

from prosperstack_destination.admin import segment
from prosperstack_destination.background import while_connected
from prosperstack_destination.caches import TtlCache
from prosperstack_destination.clock import MINUTE, Clock
from prosperstack_destination.dashboard.routing import ACTOR, PageContext, PageRoute
from prosperstack_destination.dashboard.sse import LiveUpdates
from prosperstack_destination.errors import (
    AlreadyConnected,
    ConfigurationError,
    DestinationError,
    InvalidInput,
    NotFoundError,
    SegmentApiError,
    SegmentUnavailable,
)
from prosperstack_destination.segment_api.client import WorkspaceCredentials
from prosperstack_destination.segment_api.connections import Connected, FoundSource, WorkspaceSnapshot
from prosperstack_destination.segment_api.destination_specs import SPECS
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.segment_connections import ConnectionKind, Region

#: Lifetime of a selection, in microseconds.
SELECTION_TTL: Final = 10 * MINUTE
#: Maximum selections of all sessions: one may have 10,000 sources.
MAX_SELECTIONS: Final = 10


@dataclass(frozen=True, slots=True)
class Selection:
    """Workspace that a session has open."""

    snapshot: WorkspaceSnapshot
    #: Credentials that opened it; None for the stored token of the account.
    access: WorkspaceCredentials | None
    #: Expiry, in microseconds since the epoch.
    until: int


class WorkspaceSelections:
    """Workspaces that operators have open while they choose a source, by session and account.

    A token that is not stored must outlive one request, from the token form until a source is chosen. It is held in
    the memory of this process for the session that entered it; never in a page, a cookie, a URL or the database.
    Other replicas do not have it and ask for it again.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: TtlCache[tuple[str, str], Selection] = TtlCache(SELECTION_TTL, MAX_SELECTIONS, clock)

    def hold(
        self, session: str, account_id: str, snapshot: WorkspaceSnapshot, access: WorkspaceCredentials | None
    ) -> None:
        """Store a selection for a session and an account. Replaces the previous one."""
        self._held.put((session, account_id), Selection(snapshot, access, self._clock() + SELECTION_TTL))

    def of(self, session: str, account_id: str) -> Selection | None:
        """Return the selection; None if there is none or it has expired. Drops all expired selections."""
        self._held.remove_expired()
        return self._held.get((session, account_id))

    def forget(self, session: str, account_id: str) -> None:
        """Drop the selection of a session and an account. Safe to repeat."""
        self._held.remove((session, account_id))


#: Maximum sources on the page.
MAX_SHOWN: Final = 50

#: Error of each field; the key "" is for the whole form.
Errors = Mapping[str, str]


class SegmentConnectPages:
    """Routes of the steps."""

    def __init__(self, selections: WorkspaceSelections) -> None:
        self._selections = selections

    def pages(self) -> list[PageRoute]:
        """Return the routes."""
        return [
            PageRoute("/segment/connect", self._show_token_form),
            PageRoute("/segment/connect", self._open_workspace, "POST"),
            PageRoute("/segment/sources", self._show_sources),
            PageRoute("/segment/sources", self._connect, "POST"),
            PageRoute("/segment/forget-token", self._forget_token, "POST"),
        ]

    async def _show_token_form(self, context: PageContext) -> Response:
        return context.page("segment/connect.html", title="Connect Segment", **await token_form(context))

    async def _open_workspace(self, context: PageContext) -> Response:
        """Open the workspace of the pasted token, or of the stored one."""
        workspaces, token = context.services.workspaces, context.form.get("token", "").strip()
        region = Region.EU if context.form.get("region") == Region.EU else Region.US
        access = WorkspaceCredentials(token, region) if token else None
        if access is None and "stored" not in context.form:
            return await self._render_token_form(context, {"token": "Paste a workspace token."}, 422)
        try:
            snapshot = await while_connected(
                context.request.receive, partial(workspaces.load_snapshot, context.account, access)
            )
            if access is not None and "keep" in context.form:
                await workspaces.keep_token(context.account, access, actor=ACTOR)
                access = None
        except SegmentUnavailable as error:
            return await self._render_token_form(context, {"": str(error)}, 503)
        except (SegmentApiError, ConfigurationError, InvalidInput) as error:
            is_stored = not token and await workspaces.kept_token(context.account) is not None
            return await self._render_token_form(context, {"stored" if is_stored else "token": str(error)}, 422)
        self._selections.hold(context.session, context.account.id, snapshot, access)
        return context.redirect_home("segment/sources")

    async def _render_token_form(self, context: PageContext, errors: Errors, status: int) -> Response:
        values = await token_form(context) | {"errors": errors, "form": context.form}
        return context.page("segment/connect.html", title="Connect Segment", status=status, **values)

    async def _show_sources(self, context: PageContext) -> Response:
        held = self._selections.of(context.session, context.account.id)
        if held is None:
            return _redirect_to_token_form(context)
        return await self._render_sources(context, held, context.query("q"))

    async def _connect(self, context: PageContext) -> Response:
        held = self._selections.of(context.session, context.account.id)
        if held is None:
            return _redirect_to_token_form(context)
        is_destination = context.form.get("kind") == ConnectionKind.DESTINATION
        kind = ConnectionKind.DESTINATION if is_destination else ConnectionKind.WEBHOOK
        source_id, public_url = context.form.get("source_id", ""), context.form.get("public_url", "").strip()
        errors = _validate(source_id, kind, public_url, context.account)
        status = 422
        if not errors:
            try:
                connection = await context.services.workspaces.connect(
                    context.account, source_id, kind, actor=ACTOR, credentials=held.access, public_url=public_url
                )
                return context.redirect_home(f"segment/connections/{connection.id}", "The source is connected.")
            except (AlreadyConnected, NotFoundError) as error:
                errors = {"source_id": str(error)}
            except (SegmentApiError, SegmentUnavailable, ConfigurationError, InvalidInput) as error:
                errors = {"": str(error)}
                status = 503 if isinstance(error, SegmentUnavailable) else 422
        return await self._render_sources(context, held, context.form.get("q", ""), errors, status)

    async def _render_sources(
        self, context: PageContext, held: Selection, query: str, errors: Errors | None = None, status: int = 200
    ) -> Response:
        matching = _matching_sources(held.snapshot.sources, query)
        connected = await context.services.workspaces.connections(context.account)
        address, why_not = reachable(context)
        return context.page(
            "segment/sources.html",
            title="Choose a source",
            status=status,
            snapshot=held.snapshot,
            until=held.until,
            is_stored=held.access is None,
            offered=matching[:MAX_SHOWN],
            count=len(matching),
            q=query,
            connections={each.connection.source_id: each.connection.id for each in connected},
            public_url=address,
            why_not=why_not,
            errors=errors or {},
            form=context.form,
        )

    async def _forget_token(self, context: PageContext) -> Response:
        self._selections.forget(context.session, context.account.id)
        forgotten = await context.services.workspaces.forget_token(context.account, actor=ACTOR)
        flash = "The token is deleted here. It stays valid in Segment. Delete it there too."
        return context.redirect_home("segment", flash if forgotten else "The token is deleted.")


async def token_form(context: PageContext) -> dict[str, Any]:
    """Return the template values of the token form."""
    stored = await context.services.workspaces.kept_token(context.account)
    return {"stored": stored, "errors": {}, "form": {}}


def reachable(context: PageContext) -> tuple[str, str]:
    """Return the public URL if the dashboard's own address can be one; otherwise "" and the reason, if any."""
    if context.services.has_admin_port:
        return "", ""
    try:
        segment.webhook_url(context.base_url, context.account)
    except InvalidInput:
        return "", f"Segment cannot reach {context.base_url}, the address of this page."
    return context.base_url, ""


def _redirect_to_token_form(context: PageContext) -> Response:
    return context.redirect_home(
        "segment/connect", "Enter the token again. It is held for ten minutes, by one process only."
    )


def _validate(source_id: str, kind: ConnectionKind, public_url: str, account: Account) -> Errors:
    """Return the errors of a form that are known before a request to Segment."""
    errors = {} if source_id else {"source_id": "Choose a source."}
    if kind is ConnectionKind.WEBHOOK:
        try:
            segment.webhook_url(public_url, account)
        except DestinationError as error:
            errors["public_url"] = str(error)
    return errors


def _matching_sources(sources: tuple[FoundSource, ...], query: str) -> list[FoundSource]:
    """Return the sources that contain a text in their name, slug or ID."""
    text = query.strip().casefold()
    return [each for each in sources if any(text in field.casefold() for field in (each.name, each.slug, each.id))]


#: Maximum connections on the page, and maximum other sources.


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
        except (ConfigurationError, InvalidInput, SegmentApiError) as error:
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
    others = await context.services.database.read(segment.unconnected_sources, context.account, MAX_SHOWN + 1)
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
