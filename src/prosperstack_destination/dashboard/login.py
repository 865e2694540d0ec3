"""Logging in and out."""

from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from prosperstack_destination.clock import SECOND
from prosperstack_destination.dashboard.context import PageContext, html, read_form
from prosperstack_destination.dashboard.rendering import Renderer
from prosperstack_destination.dashboard.routing import COOKIE, PageRoute
from prosperstack_destination.dashboard.sessions import LASTS, Sessions
from prosperstack_destination.errors import DestinationError, LoginFailed, TemporaryError
from prosperstack_destination.forwarded import client_address, is_tls
from prosperstack_destination.retry_after import retry_after_header

#: Where somebody who logs in goes, if nothing else was asked for.
START: Final = "/dashboard"
#: The form has a password and a path, and anyone may send it. In bytes.
_FORM_BYTES: Final = 16 * 1024
#: What browsers say of a request that another site made.
_FOREIGN: Final = ("cross-site", "same-site")


class Login:
    """The page that asks for the password."""

    def __init__(self, sessions: Sessions, renderer: Renderer, trusted_proxies: int) -> None:
        self._sessions = sessions
        self._renderer = renderer
        self._trusted_proxies = trusted_proxies

    def routes(self) -> list[Route]:
        """Its routes, which need no session."""
        return [
            Route("/dashboard/login", self._show, methods=["GET"], include_in_schema=False),
            Route("/dashboard/login", self._log_in, methods=["POST"], include_in_schema=False),
        ]

    def pages(self) -> list[PageRoute]:
        """What needs one: logging out."""
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
                    "This form is from another site: type the address of the dashboard, and log in there."
                )
            token = await self._sessions.log_in(form.get("password", ""), address)
        except LoginFailed as refusal:
            return self._refused(to, refusal)
        except DestinationError as error:
            return self._page(to, str(error), 503 if isinstance(error, TemporaryError) else 400)
        response = RedirectResponse(to, 303)
        _set_cookie(response, request, token, LASTS // SECOND)
        return response

    async def _log_out(self, visit: PageContext) -> Response:
        await self._sessions.log_out(visit.session)
        response = visit.redirect("/dashboard/login")
        _set_cookie(response, visit.request, "", 0)
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
    """Out of reach of scripts and of other sites; behind TLS, for TLS alone."""
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
    """A path of ours, or where everybody starts: a link must lead nowhere else."""
    return path if path == START or (path.startswith(f"{START}/") and "\\" not in path) else START
