"""What a form sent, within bounds."""

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

#: The most that a form may have: a mapping file of the largest size, encoded. In bytes.
MOST_BYTES: Final = 2 * 1024 * 1024
MOST_FIELDS: Final = 1_000

Form = Mapping[str, str]


async def read_form(request: Request, most_bytes: int = MOST_BYTES) -> Form:
    """The fields of a form; of those with the same name, the last. Raises `InvalidCall` where it is too large."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most_bytes:
            raise InvalidCall(f"The form has more than {most_bytes // 1024:,} KB.")
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, encoding="utf-8", errors="strict"
        )
    except ValueError:
        raise InvalidCall("The form cannot be read: go back, reload the page, and try again.") from None
    return {name: storable_text(content) for name, content in pairs}


#: The cookie that carries one sentence to the next page.
FLASH_COOKIE: Final = "dashboard_said"
#: A page with more is compressed, in bytes.
LARGE: Final = 100_000
#: What a page may load: from here, and nothing within the page itself.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class PageContext:
    """What a page works with. Who logs in is the operator, and may see every account."""

    request: Request
    services: AdminServices
    renderer: Renderer
    #: The session's token.
    session: str
    #: The account that the page is about; None: it is about none, or about all.
    account_or_none: Account | None
    accounts: Sequence[Account]
    #: What a form sent; empty where a page is only shown.
    form: Form
    #: In microseconds since the epoch.
    now: int
    #: Whether whoever asked is still logged in.
    is_open: Callable[[], Awaitable[bool]]

    @property
    def account(self) -> Account:
        """The account that the page is about, where its path names one."""
        assert self.account_or_none is not None  # noqa: S101 -- `routing` sees to that
        return self.account_or_none

    @property
    def reserve(self) -> float:
        """The part of the account's requests that is left for its owner."""
        return self.services.reserve

    @property
    def base_path(self) -> str:
        """Where the account's pages are."""
        return f"/dashboard/a/{self.account.id}"

    @property
    def base_url(self) -> str:
        """Where the browser found this service, as in ``https://destination.example.com``."""
        return f"{'https' if is_tls(self.request.scope) else 'http'}://{self.request.url.netloc}"

    def query(self, name: str, default: str = "") -> str:
        """A part of the query string, trimmed."""
        return self.request.query_params.get(name, default).strip()

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """A page. What the last one had to say is said, once."""
        said = _read_flash(self.request.cookies.get(FLASH_COOKIE))
        takes_gzip = "gzip" in self.request.headers.get("accept-encoding", "")
        response = html(self.fragment(template, said=said, **values), status, compressed=takes_gzip)
        if said is not None:
            response.delete_cookie(FLASH_COOKIE, path="/dashboard")
        return response

    def fragment(self, template: str, **values: Any) -> str:
        """A part of a page, as text."""
        known = {
            "accounts": self.accounts,
            "account": self.account_or_none,
            "path": self.request.url.path,
            "csrf": form_token(self.session),
            "now": self.now,
            "said": None,
        }
        return self.renderer.render(template, **{**known, **values})

    def redirect(self, to: str, said: str | None = None) -> Response:
        """Go to another page, after something was done; that page says what."""
        response = RedirectResponse(to, 303)
        if said is not None:
            response.set_cookie(
                FLASH_COOKIE, _write_flash(said), max_age=60, path="/dashboard", httponly=True, samesite="strict"
            )
        return response

    def redirect_home(self, page: str, said: str | None = None) -> Response:
        """Go to another page of the account."""
        return self.redirect(f"{self.base_path}/{page}", said)


def html(text: str, status: int = 200, *, compressed: bool = False) -> HTMLResponse:
    """A page as an answer. What is no character, and yet was said, is a question mark there.

    ``compressed``: a large one is, as one with a long mapping file in its editor. Others are not: what is said of a
    person and what others said of them are better not measured together.
    """
    body, headers = text.encode(errors="replace"), {"Content-Security-Policy": POLICY}
    if compressed and len(body) > LARGE:
        body = gzip.compress(body, 5, mtime=0)
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return HTMLResponse(body, status, headers)


def _write_flash(said: str) -> str:
    return urlsafe_b64encode(json.dumps(said).encode()).decode()


def _read_flash(cookie: str | None) -> str | None:
    if not cookie:
        return None
    try:
        said = json.loads(urlsafe_b64decode(cookie))
    except ValueError:  # somebody else's cookie, or a part of one
        return None
    return said if isinstance(said, str) else None
