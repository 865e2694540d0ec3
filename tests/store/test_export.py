"""Export of a database as lines of JSON, and its import."""

import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from prosperstack_destination.errors import InvalidInput
from prosperstack_destination.store import account_stats, activity, subscribers
from prosperstack_destination.store import backup as db_export
from prosperstack_destination.store.account_stats import ReportedLimit
from prosperstack_destination.store.backup import export, import_lines, read_partial
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import CallSource, Delete, SourceKind
from prosperstack_destination.store.subscribers import SubscriberSnapshot
from prosperstack_destination.store.tables import identities
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import ACCOUNT, identify, stored, take

pytestmark = pytest.mark.anyio

AUDIENCE = CallSource(SourceKind.AUDIENCE, "power_users")


@pytest.fixture
async def filled(database: Database) -> Database:
    """A database with rows in most tables."""
    await database.write(open_account)
    await database.write(
        take,
        *[identify(f"{n}@b.c", user_id=f"u{n}", plan="pro \u00fc\n") for n in range(30)],
        identify(None, user_id="nobody", source=AUDIENCE, power_users=True),
        Delete(ACCOUNT, "u3", NEW_YEAR, NEW_YEAR),
    )
    await database.write(account_stats.record_rate_limits, {ACCOUNT: ReportedLimit(100, 7, 60.0, NEW_YEAR)})
    await database.write(
        subscribers.replace_for_email,
        ACCOUNT,
        "1@b.c",
        [SubscriberSnapshot("subr_1", "1@b.c", {"plan": 1})],
        NEW_YEAR,
    )
    return database


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[Database]:
    """Another empty database."""
    database = Database(f"sqlite:///{tmp_path / 'target.db'}")
    await database.open()
    yield database
    await database.close()


def whole(connection: Connection) -> list[object]:
    return [sorted(map(tuple, connection.execute(select(table))), key=repr) for table in db_export.tables()]


async def exported(database: Database) -> list[str]:
    file = io.StringIO()
    await database.read(export, file)
    return file.getvalue().splitlines(keepends=True)


async def test_import_restores_an_export(filled: Database, target: Database) -> None:
    """Exported data is the same after an import by either engine, and new IDs follow the highest."""
    rows = await import_lines(target, await exported(filled))
    assert await target.read(whole) == await filled.read(whole)
    assert rows["profiles"] == 29

    back = await exported(target)
    await filled.write(empty)
    await import_lines(filled, back)
    assert await target.read(whole) == await filled.read(whole)
    await filled.write(take, identify("new@b.c"))
    await filled.write(activity.record_action, ACCOUNT, 0, actor="", action="", details={})


def empty(connection: Connection) -> None:
    for table in reversed(db_export.tables()):
        connection.execute(table.delete())


@pytest.mark.parametrize("kept", [1, 2, 7, 40])
async def test_interrupted_export_continues(filled: Database, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted export continues after its last line, with the same result."""
    monkeypatch.setattr(db_export, "BATCH_ROWS", 4)
    lines = await exported(filled)
    file = io.StringIO()
    await filled.read(export, file, read_partial(lines[:kept]))

    assert lines[:kept] + file.getvalue().splitlines(keepends=True) == lines
    assert read_partial(lines).finished


@pytest.mark.parametrize("kept", [1, 6, 40])
async def test_interrupted_import_continues(
    filled: Database, target: Database, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted import, or one of an incomplete file, continues with the complete file."""
    monkeypatch.setattr(db_export, "BATCH_ROWS", 4)
    lines = await exported(filled)
    with pytest.raises(InvalidInput, match="is incomplete"):
        await import_lines(target, lines[:kept])

    await import_lines(target, lines)
    await import_lines(target, lines)  # and again is nothing

    assert await target.read(whole) == await filled.read(whole)


async def test_unsuitable_import_is_rejected(filled: Database, target: Database) -> None:
    """Another file, a damaged one, one of another schema, and a used database are rejected with the remedy."""
    lines = await exported(filled)
    head = json.loads(lines[0])
    for wrong, said in (
        (["x"], "not an export"),
        ([json.dumps({**head, "revision": "0001"})], "schema 0001"),
        ([lines[0], '{"table": "nowhere", "row": {}}'], "damaged"),
    ):
        with pytest.raises(InvalidInput, match=said):
            await import_lines(target, wrong)
    with pytest.raises(InvalidInput, match="not empty"):
        await import_lines(filled, [json.dumps({**head, "export": "another"})])


async def test_data_that_only_sqlite_stores_is_converted(sqlite: Database, postgresql: Database) -> None:
    """U+0000 in texts and keys, and numbers above 32 bits, do not block a move from SQLite to PostgreSQL."""
    await sqlite.write(open_account)
    await sqlite.write(
        take,
        *[identify("a@b.c", anonymous_id=each, plan="x\0") for each in ("\0", "\0\0", "\ufffd")],
        replace(identify(source=CallSource(SourceKind.SOURCE, "\0", "lib\0")), traits={"trait\0": "\0"}),
    )
    await sqlite.write(account_stats.record_rate_limits, {ACCOUNT: ReportedLimit(2**40, 2**33, 60.0, NEW_YEAR)})

    await import_lines(postgresql, await exported(sqlite))

    profile = await postgresql.read(stored)
    assert profile.values() == {"plan": "x\ufffd", "trait\ufffd": "\ufffd"}
    limit = await postgresql.read(account_stats.reported_limit, ACCOUNT)
    assert limit == ReportedLimit(2**31 - 1, 2**31 - 1, 60.0, NEW_YEAR)
    ids = await postgresql.read(lambda connection: connection.scalars(select(identities.c.external_id)).all())
    assert sorted(ids) == ["\ufffd", "\ufffd\ufffd"]
