"""The log of a service whose database refuses people's rows, in ways that nobody foresaw."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection

from prosperstack_destination.store.database import Database, backend_of
from support.processes import PATIENCE_SECONDS, free_port, started

pytestmark = pytest.mark.whole

KEY = "key_test_sandbox"
EMAIL = "mary.major@example.com"
VALUE = "Zanzibar"
USER = "user-4711"
#: Tables whose rows are refused where they have the value: what is taken in, what is shown, what is learned.
REFUSING = {"profiles": "traits", "recent_calls": "body", "held": "traits", "problems": "value", "sources": "key"}


def refuse_rows(connection: Connection) -> None:
    """A unit of work: have rows with the value refused; PostgreSQL quotes the whole row then."""
    for table, column in REFUSING.items():
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(
                f"CREATE TRIGGER refuse_{table} BEFORE INSERT ON {table} WHEN NEW.{column} LIKE '%{VALUE}%' "
                "BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
        else:
            check = f"CHECK ({column} NOT LIKE '%{VALUE}%') NOT VALID"
            connection.exec_driver_sql(f"ALTER TABLE {table} ADD CONSTRAINT refuse_{table} {check}")


def refuse_none(connection: Connection) -> None:
    """A unit of work: end that; the tests share their databases on PostgreSQL."""
    for table in REFUSING if connection.dialect.name == "postgresql" else ():
        connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT refuse_{table}")


async def run(url: str, work: Callable[[Connection], None]) -> None:
    database = Database(url)
    await database.write(work)
    await database.close()


@contextmanager
def refusing(url: str) -> Iterator[None]:
    asyncio.run(run(url, refuse_rows))
    try:
        yield
    finally:
        asyncio.run(run(url, refuse_none))


def calls() -> list[dict[str, Any]]:
    """Calls about the person, each of which some table refuses."""
    personas = {"computation_class": "audience", "computation_key": VALUE}
    return [
        {"userId": USER, "traits": {"email": EMAIL, "plan": VALUE}},
        {"userId": USER, "traits": {VALUE: True}, "context": {"personas": personas}},
        {"userId": USER, "traits": {VALUE: True, "email": EMAIL}, "context": {"personas": personas}},
        {"userId": USER, "traits": {"plan": VALUE}},
        {"userId": f"{USER}\ud800", "traits": {"email": f"{EMAIL}\ud800", "plan": VALUE}},
        {"userId": USER, "traits": {"email": EMAIL, "plan": 10**400}, "timestamp": f"{VALUE} {EMAIL}"},
    ]


def test_no_failure_puts_a_value_into_the_log(tmp_path: Path, database_url: str) -> None:
    """Whatever the database refuses, the log says where that was, and has no value, email, id or key."""
    port, sandbox_port = free_port(), free_port()
    log = tmp_path / "serve.log"
    api = f"http://127.0.0.1:{sandbox_port}"
    settings = {"LOG_LEVEL": "debug", "LOG_FORMAT": "json", "DATABASE_URL": database_url}
    settings |= {"PROSPERSTACK_BASE_URL": f"{api}/v1", "SECRET_KEY": "a secret that is long enough"}
    url = f"http://127.0.0.1:{port}"
    sandbox = ["sandbox", "--port", str(sandbox_port), "--subscribers", "20"]
    with (
        refusing(database_url),
        started(sandbox, f"{api}/", tmp_path, tmp_path / "sandbox.log"),
        started(["serve", "--port", str(port)], f"{url}/healthz", tmp_path, log, **settings),
        httpx.Client(base_url=url, auth=(KEY, ""), trust_env=False, timeout=30) as client,
    ):
        statuses = [client.post("/identify", content=json.dumps(call)).status_code for call in calls()]
        client.post("/v1/batch", content=json.dumps({"batch": calls()}))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "background task failed" not in log.read_text():  # recent calls are written in the background
            assert time.monotonic() < deadline
            time.sleep(0.1)
    written = log.read_text()

    assert 500 in statuses or 503 in statuses, statuses
    kind = "CheckViolation" if backend_of(database_url) == "postgresql" else "IntegrityError"
    assert kind in written
    assert "Traceback" in written
    for hidden in (VALUE, EMAIL, "mary.major", USER, KEY, "DETAIL", "[parameters"):
        assert hidden not in written, written[max(written.index(hidden) - 1500, 0) : written.index(hidden) + 200]
