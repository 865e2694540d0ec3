"""Route ``/metrics`` for Prometheus."""

import hmac
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import StoreUnavailable
from prosperstack_destination.observability.metrics import CONTENT_TYPE, Metrics
from prosperstack_destination.store import account_stats
from prosperstack_destination.store.database import Database

#: Time to live of the accounts' statistics, in microseconds: counting a long backlog takes a moment.
STATS_TTL: Final = 5 * SECOND


def metrics_router(metrics: Metrics, database: Database, clock: Clock, token: str | None) -> APIRouter:
    """Return the router. With a ``token``, a request needs it (``Authorization: Bearer``)."""
    router = APIRouter(tags=["operations"])
    counted_at: int | None = None

    @router.head("/metrics", include_in_schema=False)
    @router.get("/metrics", response_class=Response)
    async def show(request: Request) -> Response:
        """Return the metrics in Prometheus' text format."""
        nonlocal counted_at
        if token is not None and not _has_token(request, token):
            return Response("The token is missing or wrong.\n", 401, {"WWW-Authenticate": "Bearer"}, "text/plain")
        now = clock()
        if counted_at is None or not 0 <= now - counted_at < STATS_TTL:
            counted_at = now
            try:
                metrics.set_account_stats(await database.read(account_stats.of_accounts, now), now)
            except StoreUnavailable:
                metrics.set_account_stats([], now)  # leaves the accounts' gauges out; the others are known
        return Response(metrics.render(), 200, media_type=CONTENT_TYPE)

    return router


def _has_token(request: Request, token: str) -> bool:
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), token.encode())
