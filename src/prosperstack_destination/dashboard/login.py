"""Login page and logout."""

from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from prosperstack_destination.admin.sessions import SESSION_TTL, Sessions
from prosperstack_destination.clock import SECOND
from prosperstack_destination.dashboard.rendering import Renderer
from prosperstack_destination.dashboard.routing import COOKIE, PageContext, PageRoute, html, read_form
from prosperstack_destination.errors import DestinationError, LoginFailed, TemporaryError
from prosperstack_destination.http_client import retry_after_header
from prosperstack_destination.proxy_headers import client_address, is_tls

#: Page after a login without a requested page.
START: Final = "/dashboard"
#: Maximum size of the form, in bytes. It has a password and a path, and needs no login.
_FORM_BYTES: Final = 16 * 1024
#: ``Sec-Fetch-Site`` values of requests from other sites.
_FOREIGN: Final = ("cross-site", "same-site")


class Login:
    """Routes of login and logout."""

    def __init__(self, sessions: Sessions, renderer: Renderer, trusted_proxies: int) -> None:
        self._sessions = sessions
        self._renderer = renderer
        self._trusted_proxies = trusted_proxies

    def routes(self) -> list[Route]:
        """Return the routes that need no session."""
        return [
            Route("/dashboard/login", self._show, methods=["GET"], include_in_schema=False),
            Route("/dashboard/login", self._log_in, methods=["POST"], include_in_schema=False),
        ]

    def pages(self) -> list[PageRoute]:
        """Return the route that needs a session: the logout."""
        return [PageRoute("/logout", self._log_out, "POST", of_account=False)]

    async def _show(self, request: Request) -> Response:
        return self._page(_local(request.query_params.get("next", "")))

    async def _log_in(self, request: Request) -> Response:
        address = client_address(request.scope, self._trusted_proxies)
        to = START
        try:
            form = await read_form(request, _FORM_BYTES)
            to = _local(form.get("next", ""))
            if request.headers.get("sec-fetch-site") in _FOREIGN:
                raise LoginFailed(
                    "The form is from another site. Open the address of the dashboard, and log in there."
                )
            token = await self._sessions.log_in(form.get("password", ""), address)
        except LoginFailed as refusal:
            return self._refused(to, refusal)
        except DestinationError as error:
            return self._page(to, str(error), 503 if isinstance(error, TemporaryError) else 400)
        response = RedirectResponse(to, 303)
        _set_cookie(response, request, token, SESSION_TTL // SECOND)
        return response

    async def _log_out(self, context: PageContext) -> Response:
        await self._sessions.log_out(context.session)
        response = context.redirect("/dashboard/login")
        _set_cookie(response, context.request, "", 0)
        return response

    def _refused(self, to: str, refusal: LoginFailed) -> Response:
        if refusal.retry_after is None:
            return self._page(to, str(refusal), 403)
        response = self._page(to, str(refusal), 429)
        response.headers["Retry-After"] = retry_after_header(refusal.retry_after)
        return response

    def _page(self, to: str, error: str | None = None, status: int = 200) -> Response:
        return html(self._renderer.render("login.html", next=to, error=error), status)


def _set_cookie(response: Response, request: Request, token: str, seconds: int) -> None:
    """Set the session cookie: HttpOnly, SameSite=Strict, and Secure behind TLS."""
    response.set_cookie(
        COOKIE,
        token,
        max_age=seconds,
        path="/dashboard",
        httponly=True,
        secure=is_tls(request.scope),
        samesite="strict",
    )


def _local(path: str) -> str:
    """Return a dashboard path, or the start page for any other path, so that a link cannot redirect elsewhere."""
    return path if path == START or (path.startswith(f"{START}/") and "\\" not in path) else START
