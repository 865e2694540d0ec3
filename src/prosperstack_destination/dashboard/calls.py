"""Live calls: what arrived, how it was understood, what was ignored and why, what was sent and what came back."""

from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response

from prosperstack_destination.admin import calls
from prosperstack_destination.admin.calls import CallFilter, CallView, send_test
from prosperstack_destination.dashboard.context import PageContext
from prosperstack_destination.dashboard.routing import ACTOR, PageRoute
from prosperstack_destination.dashboard.sse import LiveUpdates
from prosperstack_destination.errors import DestinationError, NotFoundError
from prosperstack_destination.ingest.documented_call import DOCUMENTED_EMAIL
from prosperstack_destination.store import recent_calls
from prosperstack_destination.store.recent_calls import CallOutcome

#: Calls of one page.
SHOWN: Final = 50
#: Properties, problems and ignored traits that the page of a call lists, and how much of its text, in characters.
LISTED: Final = 100
LONGEST: Final = 30_000
#: How each outcome looks.
LOOKS: Final = {
    CallOutcome.ACCEPTED: "good",
    CallOutcome.HELD: "calm",
    CallOutcome.ERASED: "calm",
    CallOutcome.EXPLAINED: "pale",
    CallOutcome.OUTDATED: "pale",
    CallOutcome.SKIPPED: "pale",
    CallOutcome.IGNORED: "pale",
    CallOutcome.REFUSED: "bad",
    CallOutcome.LATER: "warn",
}
_FILTERS: Final = ("email", "type", "source", "outcome")


class CallPages:
    """The pages of them."""

    def __init__(self, live: LiveUpdates) -> None:
        self._live = live

    def pages(self) -> list[PageRoute]:
        """Their routes."""
        return [
            PageRoute("/calls", _list),
            PageRoute("/calls/live", self._stream),
            PageRoute("/calls/test", _send_test, "POST"),
            PageRoute("/calls/{call_id:int}", _show),
        ]

    async def _stream(self, visit: PageContext) -> Response:
        async def parts() -> dict[str, str]:
            return {"calls": _table(visit, await _found(visit))}

        return self._live.stream(parts, visit.is_open)


async def _list(visit: PageContext) -> Response:
    found = await _found(visit)
    asked = {name: visit.query(name) for name in _FILTERS}
    return visit.page(
        "calls.html",
        title="Calls",
        table=_table(visit, found),
        asked=asked,
        filtered=any(asked.values()),
        live=f"{visit.base_path}/calls/live?{urlencode(_query(visit))}",
        before=visit.query("before"),
        sources=await visit.services.database.read(recent_calls.sources, visit.account.id),
        fates=list(CallOutcome),
        reveal=_reveals(visit),
        toggled=urlencode(_query(visit) | {"reveal": "" if _reveals(visit) else "true"}),
        example=DOCUMENTED_EMAIL,
    )


def _table(visit: PageContext, found: list[CallView]) -> str:
    older = None
    if len(found) == SHOWN:
        older = urlencode(_query(visit) | {"before": str(found[-1].call.id)})
    return visit.fragment(
        "calls/table.html",
        found=found,
        looks=LOOKS,
        older=older,
        reveal=_reveals(visit),
        filtered=any(visit.query(name) for name in _FILTERS),
        now=visit.services.clock(),
    )


async def _found(visit: PageContext) -> list[CallView]:
    fate = visit.query("outcome")
    question = CallFilter(
        email=visit.query("email") or None,
        type=visit.query("type") or None,
        source=visit.query("source") or None,
        outcome=CallOutcome(fate) if fate in list(CallOutcome) else None,
    )
    before = visit.query("before")
    return await visit.services.database.read(
        calls.list_calls,
        visit.account,
        question,
        visit.services.vault.pseudonym,
        visit.services.clock(),
        before=int(before) if before.isascii() and before.isdigit() and len(before) < 18 else None,
        limit=SHOWN,
        reveal=_reveals(visit),
    )


async def _show(visit: PageContext) -> Response:
    call_id = visit.request.path_params["call_id"]
    if call_id >= 1 << 63:
        raise NotFoundError("There is no such call.")
    call = await visit.services.database.read(
        calls.explain_call, visit.account, call_id, visit.services.vault.pseudonym, reveal=_reveals(visit)
    )
    return visit.page(
        "calls/call.html",
        title="A call",
        shown=call,
        looks=LOOKS,
        reveal=_reveals(visit),
        most=LISTED,
        longest=LONGEST,
    )


async def _send_test(visit: PageContext) -> Response:
    email = visit.form.get("email", "").strip() or DOCUMENTED_EMAIL
    result = await send_test(visit.services, visit.account, email, ACTOR)
    if isinstance(result, DestinationError):
        return visit.redirect_home("calls", f"The test call was refused: {result}")
    return visit.redirect_home("calls", "The test call was sent. It shows below in a second or two.")


def _reveals(visit: PageContext) -> bool:
    """Whether personal data was asked for."""
    return visit.query("reveal") == "true"


def _query(visit: PageContext) -> dict[str, str]:
    """What the page was asked for, without what is empty."""
    names = (*_FILTERS, "before", "reveal")
    return {name: given for name in names if (given := visit.query(name))}
