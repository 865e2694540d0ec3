"""Application of the sandbox: authentication, rate limit, latency, routes and server."""

import asyncio
import base64
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from prosperstack_destination.sandbox.account import Entry, FixedWindow, Journal, SandboxAccount, SandboxConfig
from prosperstack_destination.sandbox.routes import router
from prosperstack_destination.sandbox.seed import account_seed, seed_account
from prosperstack_destination.sandbox.store import Refused, iso, whole_milliseconds

#: Number of requests that ``GET /requests`` shows.
SHOWN_REQUESTS = 1000

#: Function that returns the time in seconds since the epoch.
Clock = Callable[[], float]


def create_sandbox(config: SandboxConfig, *, clock: Clock = time.time) -> FastAPI:
    """Create a sandbox. Raises `JournalMismatch` if its journal belongs to other data.

    In addition to the API under ``/v1`` it has ``GET /`` (description) and ``GET /requests`` (received requests).
    Neither needs a key or counts as a request. ``app.state.accounts`` has the accounts by key.
    """
    accounts = _accounts(config)
    unknown_keys = FixedWindow(config.rate_limit, config.window_seconds)
    counts: Counter[str] = Counter()
    latest: deque[dict[str, object]] = deque(maxlen=SHOWN_REQUESTS)

    app = FastAPI(title="ProsperStack sandbox", openapi_url=None, redirect_slashes=False)
    app.state.accounts = accounts
    app.include_router(router)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)

    @app.get("/")
    async def describe() -> dict[str, object]:
        """Return a description of the sandbox."""
        return {"what": "a ProsperStack sandbox", "api": "/v1", "subscribers": config.subscribers}

    @app.get("/requests")
    async def requests() -> dict[str, object]:
        """Return the number of requests so far and the latest of them."""
        return {"total": counts.total(), "by_operation": dict(counts), "latest": list(latest)}

    @app.middleware("http")
    async def gate(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        """Authenticate, count and delay a request, and add the rate limit headers to its response."""
        if not f"{request.url.path}/".startswith("/v1/"):
            return await call_next(request)
        if config.latency_ms:
            await asyncio.sleep(config.latency_ms / 1000)
        now = clock()
        account = accounts.get(_key(request))
        window = unknown_keys if account is None else account.window
        allowed = window.take(now)
        limits = window.headers(now)  # read now: a concurrent request may begin the next window
        if not allowed:
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


def run_sandbox(host: str, port: int, config: SandboxConfig, log_level: str = "warning") -> None:
    """Serve a sandbox until it is interrupted or terminated."""
    uvicorn.run(
        create_sandbox(config),
        host=host,
        port=port,
        log_level=log_level,
        access_log=False,
        timeout_graceful_shutdown=2,
    )


def _accounts(config: SandboxConfig) -> dict[str, SandboxAccount]:
    """Return an account for each key, after replaying the journal of an earlier run."""
    journal = None if config.journal is None else Journal(config.journal, config)

    def record(entry: Entry) -> None:
        if journal is not None:
            journal.append(entry)

    by_name = {
        str(number): SandboxAccount(
            str(number),
            seed_account(config.subscribers, account_seed(config.seed, number)),
            FixedWindow(config.rate_limit, config.window_seconds),
            record,
        )
        for number in range(len(config.keys))
    }
    if journal is not None:
        journal.replay(lambda entry: _replay(by_name, entry))
    return dict(zip(config.keys, by_name.values(), strict=True))


def _replay(by_name: dict[str, SandboxAccount], entry: Entry) -> None:
    account = by_name.get(entry["account"])
    if account is not None:  # with fewer keys than before, the entry stays in the journal
        account.apply(entry["operation"], entry["arguments"])


def _key(request: Request) -> str:
    """Return the user name of basic authentication, or ""."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded).decode().partition(":")[0]
    except ValueError:  # neither base64 nor text
        return ""


def _template(scope: Scope) -> str:
    """Return the path template of the route, also for a request that was rejected before routing."""

    def matches(route: BaseRoute) -> bool:
        return route.matches(scope)[0] is not Match.NONE

    return next((each.path for each in router.routes if isinstance(each, Route) and matches(each)), "(unknown)")


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    # A text may quote a lone surrogate of the request, which a response cannot encode.
    return JSONResponse({"error": text.encode(errors="replace").decode()}, status, headers)


async def _refused(_: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, Refused) else 500
    return _error(status, str(error))


async def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return _error(500, "")
    return _error(error.status_code, error.detail, error.headers)


async def _invalid(_: Request, error: Exception) -> Response:
    """Answer an invalid body with 400, where FastAPI answers 422."""
    if not isinstance(error, RequestValidationError):
        return _error(500, "")
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    return _error(400, f"{place or 'body'}: {first['msg']}")
