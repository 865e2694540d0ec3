"""``/healthz`` and ``/readyz``: for whoever starts, watches and replaces the process."""

import asyncio
from collections.abc import Callable
from typing import Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import Connection, text
from starlette.responses import Response

from prosperstack_destination.errors import DestinationError
from prosperstack_destination.state.database import Database

#: The database has this long to answer, in seconds.
DATABASE_SECONDS: Final = 2.0


class Alive(BaseModel):
    """The process runs and answers."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """Whether the service can do its work; each part says "ok", or what is wrong with it."""

    status: Literal["ready", "not ready"]
    database: str
    reconciler: str


def health_router(database: Database, reconciler_is_alive: Callable[[], bool]) -> APIRouter:
    """The two routes, over the parts that they ask."""
    router = APIRouter(tags=["operations"])

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz")
    async def alive() -> Alive:
        """Whether the process is alive: restart it if not."""
        return Alive()

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready."}})
    async def ready(response: Response) -> Readiness:
        """Whether calls should be sent here: the database answers, and the reconciler runs."""
        at_database = await _ask(database)
        at_reconciler = "ok" if reconciler_is_alive() else "it has not looked at the accounts lately"
        good = at_database == at_reconciler == "ok"
        response.status_code = 200 if good else 503
        return Readiness(status="ready" if good else "not ready", database=at_database, reconciler=at_reconciler)

    return router


async def _ask(database: Database) -> str:
    try:
        async with asyncio.timeout(DATABASE_SECONDS):
            await database.read(_nothing)
    except TimeoutError:
        return f"no answer within {DATABASE_SECONDS:.0f} s"
    except DestinationError as error:
        return str(error)
    return "ok"


def _nothing(connection: Connection) -> None:
    connection.execute(text("SELECT 1"))
