"""Connecting a source with a workspace token: paste it, choose a source, done."""

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

#: Sources that are offered at once.
SHOWN: Final = 50

#: What is wrong with each field; "" is the form as a whole.
Errors = Mapping[str, str]


class ConnectPages:
    """The steps."""

    def __init__(self, looks: WorkspaceSelections) -> None:
        self._looks = looks

    def pages(self) -> list[PageRoute]:
        """Their routes."""
        return [
            PageRoute("/segment/connect", self._ask),
            PageRoute("/segment/connect", self._look, "POST"),
            PageRoute("/segment/sources", self._choose),
            PageRoute("/segment/sources", self._connect, "POST"),
            PageRoute("/segment/forget-token", self._forget, "POST"),
        ]

    async def _ask(self, visit: PageContext) -> Response:
        return visit.page("segment/connect.html", title="Connect Segment", **await asking(visit))

    async def _look(self, visit: PageContext) -> Response:
        """Look at the workspace of the token that was pasted, or else of the one that is kept."""
        workspaces, token = visit.services.workspaces, visit.form.get("token", "").strip()
        region = Region.EU if visit.form.get("region") == Region.EU else Region.US
        access = WorkspaceCredentials(token, region) if token else None
        if access is None and "kept" not in visit.form:
            return await self._asked_again(visit, {"token": "Paste a token of the workspace."}, 422)
        try:
            look = await while_connected(
                visit.request.receive, partial(workspaces.load_snapshot, visit.account, access)
            )
            if access is not None and "keep" in visit.form:
                await workspaces.keep_token(visit.account, access, actor=ACTOR)
                access = None
        except SegmentUnavailable as error:
            return await self._asked_again(visit, {"": str(error)}, 503)
        except (SegmentApiError, ConfigurationError) as error:
            is_kept = not token and await workspaces.kept_token(visit.account) is not None
            return await self._asked_again(visit, {"kept" if is_kept else "token": str(error)}, 422)
        self._looks.hold(visit.session, visit.account.id, look, access)
        return visit.redirect_home("segment/sources")

    async def _asked_again(self, visit: PageContext, errors: Errors, status: int) -> Response:
        values = await asking(visit) | {"errors": errors, "given": visit.form}
        return visit.page("segment/connect.html", title="Connect Segment", status=status, **values)

    async def _choose(self, visit: PageContext) -> Response:
        held = self._looks.of(visit.session, visit.account.id)
        if held is None:
            return _token_first(visit)
        return await self._choice(visit, held, visit.query("q"))

    async def _connect(self, visit: PageContext) -> Response:
        held = self._looks.of(visit.session, visit.account.id)
        if held is None:
            return _token_first(visit)
        kind = (
            ConnectionKind.DESTINATION
            if visit.form.get("kind") == ConnectionKind.DESTINATION
            else ConnectionKind.WEBHOOK
        )
        source_id, public_url = visit.form.get("source_id", ""), visit.form.get("public_url", "").strip()
        errors = _faults(source_id, kind, public_url, visit.account.id)
        status = 422
        if not errors:
            try:
                connection = await visit.services.workspaces.connect(
                    visit.account, source_id, kind, actor=ACTOR, credentials=held.access, public_url=public_url
                )
                return visit.redirect_home(f"segment/connections/{connection.id}", "The source is connected.")
            except (AlreadyConnected, NotFoundError) as error:
                errors = {"source_id": str(error)}
            except (SegmentApiError, SegmentUnavailable, ConfigurationError) as error:
                errors = {"": str(error)}
                status = 503 if isinstance(error, SegmentUnavailable) else 422
        return await self._choice(visit, held, visit.form.get("q", ""), errors, status)

    async def _choice(
        self, visit: PageContext, held: Selection, query: str, errors: Errors | None = None, status: int = 200
    ) -> Response:
        found = _found(held.look.sources, query)
        connected = await visit.services.workspaces.connections(visit.account)
        address, why_not = reachable(visit)
        return visit.page(
            "segment/sources.html",
            title="Choose a source",
            status=status,
            look=held.look,
            until=held.until,
            is_kept=held.access is None,
            offered=found[:SHOWN],
            count=len(found),
            q=query,
            connections={each.connection.source_id: each.connection.id for each in connected},
            public_url=address,
            why_not=why_not,
            errors=errors or {},
            given=visit.form,
        )

    async def _forget(self, visit: PageContext) -> Response:
        self._looks.forget(visit.session, visit.account.id)
        forgotten = await visit.services.workspaces.forget_token(visit.account, actor=ACTOR)
        said = "The token is forgotten here. It stays good in Segment: delete it there too."
        return visit.redirect_home("segment", said if forgotten else "The token is forgotten.")


async def asking(visit: PageContext) -> dict[str, Any]:
    """What the form that asks for a token takes."""
    kept = await visit.services.workspaces.kept_token(visit.account)
    return {"kept": kept, "errors": {}, "given": {}}


def reachable(visit: PageContext) -> tuple[str, str]:
    """Where Segment may reach this service, if the dashboard's own address tells; else "", and why it does not."""
    if visit.services.has_admin_port:
        return "", ""
    try:
        webhook_url(visit.base_url, visit.account.id)
    except ConfigurationError:
        return "", f"Not {visit.base_url}, where you see this page: Segment cannot reach that."
    return visit.base_url, ""


def _token_first(visit: PageContext) -> Response:
    return visit.redirect_home(
        "segment/connect", "Begin with the token: it is held for ten minutes, by the process that it was given to."
    )


def _faults(source_id: str, kind: ConnectionKind, public_url: str, account_id: str) -> Errors:
    """What is wrong with a form, as far as that is known before anything is asked."""
    errors = {} if source_id else {"source_id": "Choose a source."}
    if kind is ConnectionKind.WEBHOOK:
        try:
            webhook_url(public_url, account_id)
        except DestinationError as error:
            errors["public_url"] = str(error)
    return errors


def _found(sources: tuple[FoundSource, ...], query: str) -> list[FoundSource]:
    """Those that have a text in their name, slug or id."""
    wanted = query.strip().casefold()
    return [each for each in sources if any(wanted in text.casefold() for text in (each.name, each.slug, each.id))]
