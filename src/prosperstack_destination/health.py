"""Routes ``/healthz`` and ``/readyz`` for supervisors and load balancers."""

import asyncio
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from prosperstack_destination.background import DeadlineRunner
from prosperstack_destination.errors import DestinationError
from prosperstack_destination.store.database import Database, probe_writes

#: Time limit of the probe's write to the database, in seconds.
DATABASE_SECONDS: Final = 2.0
#: Time to live of the probe's result, in seconds: frequent requests cost no write each.
CACHE_SECONDS: Final = 1.0


class Alive(BaseModel):
    """Response of a process that runs."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """Readiness of the service; each part is "ok", or names its fault."""

    status: Literal["ready", "not ready"]
    database: str
    reconciler: str


class WriteCheck:
    """Check of whether calls can be committed: by a probe write, at most once a second, and by the latest calls.

    ``failure`` returns why the latest calls were not committed, or None.
    """

    def __init__(self, database: Database, failure: Callable[[], str | None]) -> None:
        self._database = database
        self._failure = failure
        self._name = f"probe-{secrets.token_hex(8)}"
        self._deadlines = DeadlineRunner()
        self._lock = asyncio.Lock()
        #: Time of the last probe (monotonic, in seconds), and its result.
        self._cached: tuple[float, str] | None = None

    async def state(self) -> str:
        """Return "ok", or why calls cannot be committed; at most `FRESH_SECONDS` old."""
        async with self._lock:
            if self._cached is None or time.monotonic() - self._cached[0] >= CACHE_SECONDS:
                state = await self._check_database()
                self._cached = time.monotonic(), state
            _, state = self._cached
        return self._failure() or state

    async def _check_database(self) -> str:
        try:
            await self._deadlines.run(DATABASE_SECONDS, partial(self._database.write, probe_writes, self._name))
        except TimeoutError:
            return f"no write within {DATABASE_SECONDS:.0f} s"
        except DestinationError as error:
            return str(error)
        return "ok"


def create_health_router(
    database: Database, failure: Callable[[], str | None], reconciler_is_alive: Callable[[], bool]
) -> APIRouter:
    """Return the router of both routes. ``failure``: see `WriteCheck`."""
    router = APIRouter(tags=["operations"])
    writes = WriteCheck(database, failure)

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz")
    async def alive() -> Alive:
        """Return 200 while the process runs. Restart it without an answer."""
        return Alive()

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready."}})
    async def ready(response: Response) -> Readiness:
        """Return 200 while the database accepts writes and the reconciler runs, otherwise 503."""
        database_state = await writes.state()
        reconciler_state = "ok" if reconciler_is_alive() else "it has not looked at the accounts lately"
        is_ready = database_state == reconciler_state == "ok"
        response.status_code = 200 if is_ready else 503
        return Readiness(
            status="ready" if is_ready else "not ready", database=database_state, reconciler=reconciler_state
        )

    return router
