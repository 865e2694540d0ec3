"""From a path to a page: who is not logged in is asked to, and errors become pages that say what to do."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final
from urllib.parse import quote

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.dashboard.context import PageContext, read_form
from prosperstack_destination.dashboard.rendering import Renderer
from prosperstack_destination.dashboard.sessions import Sessions, is_form_token
from prosperstack_destination.errors import (
    AccessDenied,
    CallError,
    DestinationError,
    NotFoundError,
    StoreUnavailable,
    TemporaryError,
)
from prosperstack_destination.http_responses import status_of
from prosperstack_destination.retry_after import retry_after_header
from prosperstack_destination.store import accounts
from prosperstack_destination.store.accounts import Account

log = structlog.get_logger(__name__)

#: The cookie of a session.
COOKIE: Final = "dashboard_session"
#: The author of what is done here, in the audit trail.
ACTOR: Final = "dashboard"

Show = Callable[[PageContext], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class PageRoute:
    """A page, or what a form of it does."""

    path: str
    show: Show
    method: str = "GET"
    #: Its path goes on after that of an account, ``/dashboard/a/{account_id}``.
    of_account: bool = True


class PageRouter:
    """Makes routes of pages."""

    def __init__(self, services: AdminServices, sessions: Sessions, renderer: Renderer) -> None:
        self._services = services
        self._sessions = sessions
        self._renderer = renderer

    def routes(self, pages: Iterable[PageRoute]) -> list[Route]:
        """A route for each page."""
        return [
            Route(
                f"/dashboard{'/a/{account_id}' if page.of_account else ''}{page.path}",
                self._guarded(page),
                methods=[page.method],
                include_in_schema=False,
            )
            for page in pages
        ]

    def _guarded(self, page: PageRoute) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            session = request.cookies.get(COOKIE)
            try:
                if session is None or not await self._sessions.is_open(session):
                    return _log_in_first(request)
                visit = await self._visit(request, session, of_account=page.of_account)
                return await page.show(visit)
            except DestinationError as error:
                return await self._failed(request, session or "", error)

        return answer

    async def _visit(self, request: Request, session: str, *, of_account: bool) -> PageContext:
        """Raises `AccessDenied` for a form of another site, and `NotFoundError` for an account that is not
        there.
        """
        visit = PageContext(
            request=request,
            services=self._services,
            renderer=self._renderer,
            session=session,
            account_or_none=None,
            accounts=await self._services.database.read(accounts.all_accounts),
            form={},
            now=self._services.clock(),
            is_open=partial(self._sessions.is_open, session),
        )
        if of_account:
            wanted = request.path_params["account_id"]
            account = next((each for each in visit.accounts if each.id == wanted), None)
            if account is None:
                raise NotFoundError("There is no such account, or no longer: choose one above.")
            visit = replace(visit, account_or_none=account)
        if request.method == "GET":
            return visit
        form = await read_form(request)
        if not is_form_token(session, form.get("csrf", "")):
            raise AccessDenied(
                "This form is from before you logged in, or from another site: reload the page first."
            )
        return replace(visit, form=form)

    async def _failed(self, request: Request, session: str, error: DestinationError) -> Response:
        """What went wrong, as a page, with the way on to others; while the database does not answer, without."""
        status = 400 if isinstance(error, CallError) else status_of(error)
        known: Sequence[Account] = ()
        if not isinstance(error, StoreUnavailable):
            with suppress(StoreUnavailable):
                known = await self._services.database.read(accounts.all_accounts)
        wanted = request.path_params.get("account_id")
        account = next((each for each in known if each.id == wanted), None)
        visit = PageContext(
            request,
            self._services,
            self._renderer,
            session,
            account,
            known,
            {},
            self._services.clock(),
            _is_not_open,
        )
        response = visit.page(
            "failed.html",
            status=status,
            error=str(error),
            title=_TITLES.get(status, "Not done"),
            back=_back(account, request.url.path),
        )
        if isinstance(error, TemporaryError):
            response.headers["Retry-After"] = retry_after_header(error.retry_after)
        return response


async def _is_not_open() -> bool:
    return False


def _back(account: Account | None, path: str) -> str:
    """The page that a path is below, in the menu of its account; else the start."""
    section = path.removeprefix(f"/dashboard/a/{account.id}/").partition("/")[0] if account is not None else ""
    return f"/dashboard/a/{account.id}/{section}" if account is not None and section in _SECTIONS else "/dashboard"


#: What the menu of an account leads to.
_SECTIONS: Final = ("overview", "segment", "mapping", "calls", "people", "problems", "settings")
_TITLES: Final = {404: "Not here", 409: "Somebody else was first", 403: "Refused", 503: "Not just now"}


def _log_in_first(request: Request) -> Response:
    """To the page that asks for the password, which leads back here; what a form wanted is not done."""
    if request.headers.get("accept") == "text/event-stream":
        return Response(status_code=204)  # tells an event source to stop asking
    there = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    back = f"?next={quote(there)}" if request.method == "GET" else ""
    return RedirectResponse(f"/dashboard/login{back}", 303)
