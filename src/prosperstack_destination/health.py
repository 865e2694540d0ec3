"""``/healthz`` and ``/readyz``: for whoever starts, watches and replaces the process."""

import asyncio
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from prosperstack_destination.deadlines import DeadlineRunner
from prosperstack_destination.errors import DestinationError
from prosperstack_destination.store import write_probe
from prosperstack_destination.store.database import Database

#: The database has this long to take a write, in seconds.
DATABASE_SECONDS: Final = 2.0
#: What the database said is told again for so long, in seconds: whoever asks often costs no write each time.
CACHE_SECONDS: Final = 1.0


class Alive(BaseModel):
    """The process runs and answers."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """Whether the service can do its work; each part says "ok", or what is wrong with it."""

    status: Literal["ready", "not ready"]
    database: str
    reconciler: str


class WriteCheck:
    """Finds out whether calls can be written: by a write of its own, once a second, and by the latest calls.

    ``failure`` tells why calls could not be committed just now, if they could not.
    """

    def __init__(self, database: Database, failure: Callable[[], str | None]) -> None:
        self._database = database
        self._failure = failure
        self._name = f"probe-{secrets.token_hex(8)}"
        self._deadlines = DeadlineRunner()
        self._asking = asyncio.Lock()
        #: When the database was asked last, by the monotonic clock in seconds, and what it said.
        self._answer: tuple[float, str] | None = None

    async def state(self) -> str:
        """ "ok", or why calls cannot be written; at most `FRESH_SECONDS` old."""
        async with self._asking:
            if self._answer is None or time.monotonic() - self._answer[0] >= CACHE_SECONDS:
                said = await self._check_database()
                self._answer = time.monotonic(), said
            _, said = self._answer
        return self._failure() or said

    async def _check_database(self) -> str:
        try:
            await self._deadlines.run(
                DATABASE_SECONDS, partial(self._database.write, write_probe.probe, self._name)
            )
        except TimeoutError:
            return f"no write within {DATABASE_SECONDS:.0f} s"
        except DestinationError as error:
            return str(error)
        return "ok"


def create_health_router(
    database: Database, failure: Callable[[], str | None], reconciler_is_alive: Callable[[], bool]
) -> APIRouter:
    """The two routes, over the parts that they ask: see `WriteCheck`."""
    router = APIRouter(tags=["operations"])
    writes = WriteCheck(database, failure)

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz")
    async def alive() -> Alive:
        """Whether the process is alive: restart it if not."""
        return Alive()

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready."}})
    async def ready(response: Response) -> Readiness:
        """Whether calls should be sent here: the database takes writes, and the reconciler runs."""
        at_database = await writes.state()
        at_reconciler = "ok" if reconciler_is_alive() else "it has not looked at the accounts lately"
        good = at_database == at_reconciler == "ok"
        response.status_code = 200 if good else 503
        return Readiness(status="ready" if good else "not ready", database=at_database, reconciler=at_reconciler)

    return router
