"""Routing of dashboard pages: login check, context, CSRF check, and error pages."""

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

#: Session cookie.
COOKIE: Final = "dashboard_session"
#: Actor of dashboard changes in the audit log.
ACTOR: Final = "dashboard"

PageHandler = Callable[[PageContext], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class PageRoute:
    """Path, method and handler of a page or of one of its forms."""

    path: str
    handler: PageHandler
    method: str = "GET"
    #: The path is below that of an account, ``/dashboard/a/{account_id}``.
    of_account: bool = True


class PageRouter:
    """Factory of Starlette routes with the login check and error pages."""

    def __init__(self, services: AdminServices, sessions: Sessions, renderer: Renderer) -> None:
        self._services = services
        self._sessions = sessions
        self._renderer = renderer

    def routes(self, pages: Iterable[PageRoute]) -> list[Route]:
        """Return a route for each page."""
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
        async def respond(request: Request) -> Response:
            session = request.cookies.get(COOKIE)
            try:
                if session is None or not await self._sessions.is_open(session):
                    return _redirect_to_login(request)
                context = await self._context(request, session, of_account=page.of_account)
                return await page.handler(context)
            except DestinationError as error:
                return await self._error_page(request, session or "", error)

        return respond

    async def _context(self, request: Request, session: str, *, of_account: bool) -> PageContext:
        """Return the context of a request. Raises `AccessDenied` for a form without the session's CSRF token, and
        `NotFoundError` for an unknown account.
        """
        context = PageContext(
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
            account_id = request.path_params["account_id"]
            account = next((each for each in context.accounts if each.id == account_id), None)
            if account is None:
                raise NotFoundError("This account does not exist, or was removed. Choose an account above.")
            context = replace(context, account_or_none=account)
        if request.method == "GET":
            return context
        form = await read_form(request)
        if not is_form_token(session, form.get("csrf", "")):
            raise AccessDenied("The form is from an earlier login or from another site. Reload the page first.")
        return replace(context, form=form)

    async def _error_page(self, request: Request, session: str, error: DestinationError) -> Response:
        """Render an error page, with the account menu if the database answers."""
        status = 400 if isinstance(error, CallError) else status_of(error)
        all_accounts: Sequence[Account] = ()
        if not isinstance(error, StoreUnavailable):
            with suppress(StoreUnavailable):
                all_accounts = await self._services.database.read(accounts.all_accounts)
        account_id = request.path_params.get("account_id")
        account = next((each for each in all_accounts if each.id == account_id), None)
        context = PageContext(
            request,
            self._services,
            self._renderer,
            session,
            account,
            all_accounts,
            {},
            self._services.clock(),
            _is_never_open,
        )
        response = context.page(
            "error.html",
            status=status,
            error=str(error),
            title=_TITLES.get(status, "Request failed"),
            back=_back(account, request.url.path),
        )
        if isinstance(error, TemporaryError):
            response.headers["Retry-After"] = retry_after_header(error.retry_after)
        return response


async def _is_never_open() -> bool:
    return False


def _back(account: Account | None, path: str) -> str:
    """Return the menu page above a path, or the start page."""
    section = path.removeprefix(f"/dashboard/a/{account.id}/").partition("/")[0] if account is not None else ""
    return f"/dashboard/a/{account.id}/{section}" if account is not None and section in _SECTIONS else "/dashboard"


#: Pages in the menu of an account.
_SECTIONS: Final = ("overview", "segment", "mapping", "calls", "people", "problems", "settings")
_TITLES: Final = {404: "Not found", 409: "Conflict", 403: "Access denied", 503: "Temporarily unavailable"}


def _redirect_to_login(request: Request) -> Response:
    """Redirect to the login page, which returns to this page after a GET; a form is not executed."""
    if request.headers.get("accept") == "text/event-stream":
        return Response(status_code=204)  # makes an EventSource stop reconnecting
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    back = f"?next={quote(path)}" if request.method == "GET" else ""
    return RedirectResponse(f"/dashboard/login{back}", 303)
