"""Baselines of the benchmarks: applications that accept the same calls, and store nothing or one row for each."""

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from fastapi import FastAPI

from prosperstack_destination.ingest.identify_call import IdentifyCall


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application that reads the body, and answers 202."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


validating = FastAPI()


@validating.post("/identify", status_code=202)
async def validate(call: IdentifyCall) -> dict[str, str]:
    """A plain FastAPI route over the same model, which stores nothing."""
    return {"message": f"Accepted {call.type}."}


@asynccontextmanager
async def _with_pool(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["POSTGRES"], min_size=10, max_size=10) as pool:
        await pool.execute("CREATE TABLE calls (id bigserial PRIMARY KEY, email text, traits jsonb)")
        app.state.pool = pool
        yield


postgresql = FastAPI(lifespan=_with_pool)


@postgresql.post("/identify", status_code=202)
async def insert_with_asyncpg(call: IdentifyCall) -> dict[str, str]:
    """A row for each call, in a transaction of its own: what one would write first."""
    sql = "INSERT INTO calls (email, traits) VALUES ($1, $2)"
    await postgresql.state.pool.execute(sql, str(call.traits.get("email")), json.dumps(call.traits))
    return {"message": f"Accepted {call.type}."}


@asynccontextmanager
async def _with_file(app: FastAPI) -> AsyncIterator[None]:
    database = sqlite3.connect(os.environ["SQLITE"], isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE calls (id INTEGER PRIMARY KEY, email TEXT, traits TEXT)")
    app.state.database, app.state.thread = database, ThreadPoolExecutor(1)
    yield
    app.state.thread.shutdown()
    database.close()


sqlite = FastAPI(lifespan=_with_file)


@sqlite.post("/identify", status_code=202)
async def insert_in_thread(call: IdentifyCall) -> dict[str, str]:
    """A row for each call, in a transaction of its own, in the thread of the database."""
    row = str(call.traits.get("email")), json.dumps(call.traits)
    sql = "INSERT INTO calls (email, traits) VALUES (?, ?)"
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(sqlite.state.thread, sqlite.state.database.execute, sql, row)
    return {"message": f"Accepted {call.type}."}
