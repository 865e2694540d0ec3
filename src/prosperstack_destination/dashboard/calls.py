"""Pages of recent calls: the received message, the result of the mapping, and the later deliveries."""

from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from prosperstack_destination.admin import calls
from prosperstack_destination.admin.calls import CallFilter, CallView, send_test
from prosperstack_destination.dashboard.routing import ACTOR, PageContext, PageRoute
from prosperstack_destination.dashboard.sse import LiveUpdates
from prosperstack_destination.errors import DestinationError, NotFoundError
from prosperstack_destination.ingest.documented_call import DOCUMENTED_EMAIL
from prosperstack_destination.store.recent_calls import CallOutcome

#: Calls per page.
PAGE_SIZE: Final = 50
#: Maximum properties, problems and ignored traits on the page of a call.
MAX_LISTED: Final = 100
#: Maximum length of the message on that page, in characters.
MAX_TEXT: Final = 30_000
OUTCOME_STYLES: Final = {
    CallOutcome.ACCEPTED: "good",
    CallOutcome.HELD: "calm",
    CallOutcome.ERASED: "calm",
    CallOutcome.EXPLAINED: "pale",
    CallOutcome.OUTDATED: "pale",
    CallOutcome.SKIPPED: "pale",
    CallOutcome.FILTERED: "pale",
    CallOutcome.NO_CONSENT: "pale",
    CallOutcome.IGNORED: "pale",
    CallOutcome.REFUSED: "bad",
    CallOutcome.LATER: "warn",
}
_FILTERS: Final = ("email", "type", "source", "outcome")


class CallPages:
    """Routes of the pages."""

    def __init__(self, live: LiveUpdates) -> None:
        self._live = live

    def pages(self) -> list[PageRoute]:
        """Return the routes."""
        return [
            PageRoute("/calls", _list),
            PageRoute("/calls/live", self._stream),
            PageRoute("/calls/test", _send_test, "POST"),
            PageRoute("/calls/{call_id:int}", _show),
        ]

    async def _stream(self, context: PageContext) -> Response:
        async def parts() -> dict[str, str]:
            return {"calls": _table(context, await _load(context))}

        return self._live.stream(parts, context.is_open)


async def _list(context: PageContext) -> Response:
    page = await _load(context)
    filters = {name: context.query(name) for name in _FILTERS}
    return context.page(
        "calls.html",
        title="Calls",
        table=_table(context, page),
        filters=filters,
        filtered=any(filters.values()),
        live=f"{context.base_path}/calls/live?{urlencode(_query(context))}",
        before=context.query("before"),
        sources=await context.services.database.read(calls.list_sources, context.account),
        outcomes=list(CallOutcome),
        reveal=_reveals(context),
        toggled=urlencode(_query(context) | {"reveal": "" if _reveals(context) else "true"}),
        example=DOCUMENTED_EMAIL,
    )


def _table(context: PageContext, page: list[CallView]) -> str:
    older = None
    if len(page) == PAGE_SIZE:
        older = urlencode(_query(context) | {"before": str(page[-1].call.id)})
    return context.fragment(
        "calls/table.html",
        calls=page,
        styles=OUTCOME_STYLES,
        older=older,
        reveal=_reveals(context),
        filtered=any(context.query(name) for name in _FILTERS),
        now=context.services.clock(),
    )


async def _load(context: PageContext) -> list[CallView]:
    outcome = context.query("outcome")
    call_filter = CallFilter(
        email=context.query("email") or None,
        type=context.query("type") or None,
        source=context.query("source") or None,
        outcome=CallOutcome(outcome) if outcome in list(CallOutcome) else None,
    )
    before = context.query("before")
    return await context.services.database.read(
        calls.list_calls,
        context.account,
        call_filter,
        context.services.vault.pseudonym,
        context.services.clock(),
        before=int(before) if before.isascii() and before.isdigit() and len(before) < 18 else None,
        limit=PAGE_SIZE,
        reveal=_reveals(context),
    )


async def _show(context: PageContext) -> Response:
    call_id = context.request.path_params["call_id"]
    if call_id >= 1 << 63:
        raise NotFoundError("No such call.")
    call = await context.services.database.read(
        calls.explain_call, context.account, call_id, context.services.vault.pseudonym, reveal=_reveals(context)
    )
    return context.page(
        "calls/call.html",
        title="Call",
        shown=call,
        styles=OUTCOME_STYLES,
        reveal=_reveals(context),
        max_listed=MAX_LISTED,
        max_text=MAX_TEXT,
    )


async def _send_test(context: PageContext) -> Response:
    email = context.form.get("email", "").strip() or DOCUMENTED_EMAIL
    result = await send_test(context.services, context.account, email, ACTOR)
    if isinstance(result, DestinationError):
        return context.redirect_home("calls", f"The test call was refused. {result}")
    return context.redirect_home("calls", "The test call was sent. It appears below within seconds.")


def _reveals(context: PageContext) -> bool:
    """Return whether the page shows personal data."""
    return context.query("reveal") == "true"


def _query(context: PageContext) -> dict[str, str]:
    """Return the non-empty query parameters of the page."""
    names = (*_FILTERS, "before", "reveal")
    return {name: value for name in names if (value := context.query(name))}
