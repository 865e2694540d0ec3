"""Requests of dashboard pages: login and CSRF check, context, responses and error pages."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl, quote

import structlog
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from prosperstack_destination.admin.accounts import list_accounts
from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.admin.sessions import Sessions, form_token, is_form_token
from prosperstack_destination.dashboard.rendering import Renderer
from prosperstack_destination.errors import (
    AccessDenied,
    CallError,
    DestinationError,
    InvalidCall,
    NotFoundError,
    StoreUnavailable,
    TemporaryError,
)
from prosperstack_destination.http_client import retry_after_header
from prosperstack_destination.http_responses import status_of
from prosperstack_destination.proxy_headers import is_tls
from prosperstack_destination.storable_text import storable_text
from prosperstack_destination.store.accounts import Account

#: Maximum size of a form, in bytes: a mapping file of the maximum size, URL-encoded.
MAX_FORM_BYTES: Final = 2 * 1024 * 1024
MAX_FORM_FIELDS: Final = 1_000

Form = Mapping[str, str]


async def read_form(request: Request, max_bytes: int = MAX_FORM_BYTES) -> Form:
    """Return the fields of a form; the last of equal names wins. Raises `InvalidCall` if the form is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise InvalidCall(f"The form has more than {max_bytes // 1024:,} KB.")
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS, encoding="utf-8", errors="strict"
        )
    except ValueError:
        raise InvalidCall("The form cannot be read. Go back, reload the page, and try again.") from None
    return {name: storable_text(content) for name, content in pairs}


#: Cookie with one message for the next page.
FLASH_COOKIE: Final = "dashboard_flash"
#: Pages of at least this size, in bytes, are compressed, for example with a long mapping file. Smaller pages stay
#: uncompressed: the compressed size must not reveal secrets next to attacker-controlled text (BREACH).
COMPRESS_FROM: Final = 100_000
#: Content-Security-Policy: only resources of this service, and nothing inline.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class PageContext:
    """Context that a page handler works with. A logged-in operator may see every account."""

    request: Request
    services: AdminServices
    renderer: Renderer
    #: Session token.
    session: str
    #: Account of the page; None for pages of no account or of all accounts.
    account_or_none: Account | None
    accounts: Sequence[Account]
    #: Fields of the submitted form; empty for GET requests.
    form: Form
    #: In microseconds since the epoch.
    now: int
    #: Check whether the session is still logged in.
    is_open: Callable[[], Awaitable[bool]]

    @property
    def account(self) -> Account:
        """Account of the page. Only for routes with an account in their path."""
        assert self.account_or_none is not None  # noqa: S101 -- `routing` sees to that
        return self.account_or_none

    @property
    def reserve(self) -> float:
        """Default share of the rate limit that is kept free for the owner's own tools, from 0 to 1."""
        return self.services.reserve

    @property
    def base_path(self) -> str:
        """Path prefix of the account's pages."""
        return f"/dashboard/a/{self.account.id}"

    @property
    def base_url(self) -> str:
        """Scheme and host in the browser's address, for example ``https://destination.example.com``."""
        return f"{'https' if is_tls(self.request.scope) else 'http'}://{self.request.url.netloc}"

    def query(self, name: str, default: str = "") -> str:
        """Return a query parameter, trimmed."""
        return self.request.query_params.get(name, default).strip()

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Render a page as a response. Shows the flash message of the previous request once."""
        flash = _read_flash(self.request.cookies.get(FLASH_COOKIE))
        response = html(self.fragment(template, flash=flash, **values), status)
        if flash is not None:
            response.delete_cookie(FLASH_COOKIE, path="/dashboard")
        return response

    def fragment(self, template: str, **values: Any) -> str:
        """Render a template as text, for a part of a page."""
        defaults = {
            "accounts": self.accounts,
            "account": self.account_or_none,
            "path": self.request.url.path,
            "csrf": form_token(self.session),
            "now": self.now,
            "flash": None,
        }
        return self.renderer.render(template, **{**defaults, **values})

    def redirect(self, path: str, flash: str | None = None) -> Response:
        """Redirect to a path, which shows ``flash`` once."""
        response = RedirectResponse(path, 303)
        if flash is not None:
            response.set_cookie(
                FLASH_COOKIE, _write_flash(flash), max_age=60, path="/dashboard", httponly=True, samesite="strict"
            )
        return response

    def redirect_home(self, page: str, flash: str | None = None) -> Response:
        """Redirect to a page of the account, which shows ``flash`` once."""
        return self.redirect(f"{self.base_path}/{page}", flash)


def html(text: str, status: int = 200) -> HTMLResponse:
    """Return a page as a response. Unpaired surrogates become question marks."""
    return HTMLResponse(text.encode(errors="replace"), status, {"Content-Security-Policy": POLICY})


def _write_flash(message: str) -> str:
    return urlsafe_b64encode(json.dumps(message).encode()).decode()


def _read_flash(cookie: str | None) -> str | None:
    if not cookie:
        return None
    try:
        message = json.loads(urlsafe_b64decode(cookie))
    except ValueError:  # a foreign or truncated cookie
        return None
    return message if isinstance(message, str) else None


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
                middleware=[Middleware(GZipMiddleware, minimum_size=COMPRESS_FROM, compresslevel=5)],
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
            accounts=await self._services.database.read(list_accounts),
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
                all_accounts = await self._services.database.read(list_accounts)
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
