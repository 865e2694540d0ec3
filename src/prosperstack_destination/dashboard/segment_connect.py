"""Pages to connect a source with a workspace token."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from starlette.responses import Response

from prosperstack_destination.dashboard.context import PageContext
from prosperstack_destination.dashboard.routing import ACTOR, PageRoute
from prosperstack_destination.dashboard.workspace_cache import Selection, WorkspaceSelections
from prosperstack_destination.deadlines import while_connected
from prosperstack_destination.errors import (
    AlreadyConnected,
    ConfigurationError,
    DestinationError,
    NotFoundError,
    SegmentApiError,
    SegmentUnavailable,
)
from prosperstack_destination.segment_api.client import WorkspaceCredentials
from prosperstack_destination.segment_api.connections import FoundSource
from prosperstack_destination.segment_api.destination_specs import webhook_url
from prosperstack_destination.store.segment_connections import ConnectionKind, Region

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
        except (SegmentApiError, ConfigurationError) as error:
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
        errors = _validate(source_id, kind, public_url, context.account.id)
        status = 422
        if not errors:
            try:
                connection = await context.services.workspaces.connect(
                    context.account, source_id, kind, actor=ACTOR, credentials=held.access, public_url=public_url
                )
                return context.redirect_home(f"segment/connections/{connection.id}", "The source is connected.")
            except (AlreadyConnected, NotFoundError) as error:
                errors = {"source_id": str(error)}
            except (SegmentApiError, SegmentUnavailable, ConfigurationError) as error:
                errors = {"": str(error)}
                status = 503 if isinstance(error, SegmentUnavailable) else 422
        return await self._render_sources(context, held, context.form.get("q", ""), errors, status)

    async def _render_sources(
        self, context: PageContext, held: Selection, query: str, errors: Errors | None = None, status: int = 200
    ) -> Response:
        matching = _matching(held.snapshot.sources, query)
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
        webhook_url(context.base_url, context.account.id)
    except ConfigurationError:
        return "", f"Segment cannot reach {context.base_url}, the address of this page."
    return context.base_url, ""


def _redirect_to_token_form(context: PageContext) -> Response:
    return context.redirect_home(
        "segment/connect", "Enter the token again. It is held for ten minutes, by one process only."
    )


def _validate(source_id: str, kind: ConnectionKind, public_url: str, account_id: str) -> Errors:
    """Return the errors of a form that are known before a request to Segment."""
    errors = {} if source_id else {"source_id": "Choose a source."}
    if kind is ConnectionKind.WEBHOOK:
        try:
            webhook_url(public_url, account_id)
        except DestinationError as error:
            errors["public_url"] = str(error)
    return errors


def _matching(sources: tuple[FoundSource, ...], query: str) -> list[FoundSource]:
    """Return the sources that contain a text in their name, slug or ID."""
    text = query.strip().casefold()
    return [each for each in sources if any(text in field.casefold() for field in (each.name, each.slug, each.id))]
