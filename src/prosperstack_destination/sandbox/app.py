"""The application: who asks, how often they may, and the routes behind that."""

import asyncio
import base64
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from prosperstack_destination.sandbox.account import SandboxAccount
from prosperstack_destination.sandbox.config import SandboxConfig
from prosperstack_destination.sandbox.journal import Entry, Journal
from prosperstack_destination.sandbox.rate_limit import FixedWindow
from prosperstack_destination.sandbox.routes import router
from prosperstack_destination.sandbox.seed import seeded
from prosperstack_destination.sandbox.store import Refused, iso, whole_milliseconds

#: Requests that ``GET /requests`` shows.
SHOWN_REQUESTS = 1000

#: Gives the present in seconds since the epoch.
Clock = Callable[[], float]


def create_sandbox(config: SandboxConfig, *, clock: Clock = time.time) -> FastAPI:
    """Make a sandbox. Raises `JournalMismatch` where its journal belongs to other data.

    Beside the API under ``/v1`` it has ``GET /`` (what it is) and ``GET /requests`` (what it was asked), neither
    of which needs a key or counts as a request. ``app.state.accounts`` has the accounts by their keys.
    """
    accounts = _accounts(config)
    strangers = FixedWindow(config.rate_limit, config.window_seconds)
    counts: Counter[str] = Counter()
    latest: deque[dict[str, object]] = deque(maxlen=SHOWN_REQUESTS)

    app = FastAPI(title="ProsperStack sandbox", openapi_url=None, redirect_slashes=False)
    app.state.accounts = accounts
    app.include_router(router)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)

    @app.get("/")
    async def what_it_is() -> dict[str, object]:
        """What this is."""
        return {"what": "a ProsperStack sandbox", "api": "/v1", "subscribers": config.subscribers}

    @app.get("/requests")
    async def requests() -> dict[str, object]:
        """What was asked so far."""
        return {"total": counts.total(), "by_operation": dict(counts), "latest": list(latest)}

    @app.middleware("http")
    async def gate(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        """Authenticate, count, delay, and tell of the rate limit with every answer."""
        if not f"{request.url.path}/".startswith("/v1/"):
            return await call_next(request)
        if config.latency_ms:
            await asyncio.sleep(config.latency_ms / 1000)
        now = clock()
        account = accounts.get(_key(request))
        window = strangers if account is None else account.window
        taken = window.take(now)
        limits = window.headers(now)  # as they are now: while the answer is made others may begin another window
        if not taken:
            response: Response = _error(429, "Too many requests")
        elif account is None:
            response = _error(401, "Unauthorized: the API key is not known")
        else:
            request.state.account = account
            request.state.now = iso(whole_milliseconds(now))
            response = await call_next(request)
        response.headers.update(limits)
        counts[f"{request.method} {_template(request.scope)} {response.status_code}"] += 1
        latest.append(
            {
                "at": now,
                "method": request.method,
                "path": request.url.path,
                "query": request.url.query,
                "status": response.status_code,
            }
        )
        return response

    return app


def _accounts(config: SandboxConfig) -> dict[str, SandboxAccount]:
    """An account for each key; what an earlier run was told is told to them again."""
    journal = None if config.journal is None else Journal(config.journal, config)

    def keep(entry: Entry) -> None:
        if journal is not None:
            journal.append(entry)

    by_name = {
        str(number): SandboxAccount(
            str(number),
            seeded(config.subscribers, f"{config.seed}/{number}"),
            FixedWindow(config.rate_limit, config.window_seconds),
            keep,
        )
        for number in range(len(config.keys))
    }
    if journal is not None:
        journal.replay(lambda entry: _replay(by_name, entry))
    return dict(zip(config.keys, by_name.values(), strict=True))


def _replay(by_name: dict[str, SandboxAccount], entry: Entry) -> None:
    account = by_name.get(entry["account"])
    if account is not None:  # or the sandbox has fewer keys this time: kept for when they are back
        account.apply(entry["operation"], entry["arguments"])


def _key(request: Request) -> str:
    """The user name of basic authentication, or ""."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded).decode().partition(":")[0]
    except ValueError:  # neither base64 nor text
        return ""


def _template(scope: Scope) -> str:
    """The path of the route, also of a request that was turned away before it came to one."""

    def matches(route: BaseRoute) -> bool:
        return route.matches(scope)[0] is not Match.NONE

    return next((each.path for each in router.routes if isinstance(each, Route) and matches(each)), "(unknown)")


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    # A text may quote half a surrogate pair of the request, which no answer can carry.
    return JSONResponse({"error": text.encode(errors="replace").decode()}, status, headers)


async def _refused(_: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, Refused) else 500
    return _error(status, str(error))


async def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return _error(500, "")
    return _error(error.status_code, error.detail, error.headers)


async def _invalid(_: Request, error: Exception) -> Response:
    """A body that is none: 400, where FastAPI would say 422."""
    if not isinstance(error, RequestValidationError):
        return _error(500, "")
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    return _error(400, f"{place or 'body'}: {first['msg']}")
