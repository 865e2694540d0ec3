"""Context of one dashboard request: the account, the form, and the responses to render."""

import gzip
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.dashboard.rendering import Renderer
from prosperstack_destination.dashboard.sessions import form_token
from prosperstack_destination.errors import InvalidCall
from prosperstack_destination.forwarded import is_tls
from prosperstack_destination.storable import storable_text
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
#: Pages larger than this are compressed, in bytes.
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
        takes_gzip = "gzip" in self.request.headers.get("accept-encoding", "")
        response = html(self.fragment(template, flash=flash, **values), status, compressed=takes_gzip)
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


def html(text: str, status: int = 200, *, compressed: bool = False) -> HTMLResponse:
    """Return a page as a response. Unpaired surrogates become question marks.

    ``compressed``: compress pages above `COMPRESS_FROM`, for example with a long mapping file. Smaller pages stay
    uncompressed: the compressed size must not reveal secrets next to attacker-controlled text (BREACH).
    """
    body, headers = text.encode(errors="replace"), {"Content-Security-Policy": POLICY}
    if compressed and len(body) > COMPRESS_FROM:
        body = gzip.compress(body, 5, mtime=0)
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return HTMLResponse(body, status, headers)


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
