"""``import``: a file's rows, taken in as calls are, as fast as the database commits them."""

import asyncio
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

from pydantic import JsonValue
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import Connection

from prosperstack_destination.accounts.meaning import reads_of
from prosperstack_destination.accounts.rotation import use_kept_pseudonyms
from prosperstack_destination.accounts.vault import Vault
from prosperstack_destination.cli import output
from prosperstack_destination.cli.operating import chosen_account
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.problems import confirm
from prosperstack_destination.cli.rows import BadRow, Reading, Row, Rows, identity, rows
from prosperstack_destination.clock import system_clock
from prosperstack_destination.errors import CallRefused, Misconfigured, StoreUnavailable
from prosperstack_destination.operations import wording
from prosperstack_destination.prosperstack.forecast import Forecast, Rate, forecast, naive_seconds
from prosperstack_destination.segment.reception import to_call
from prosperstack_destination.settings import read_settings
from prosperstack_destination.state import auditing, imports
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.database import Database
from prosperstack_destination.state.imports import Import
from prosperstack_destination.state.profile import Call, Identify, Outcome
from prosperstack_destination.sync.rates import rate_of_account
from prosperstack_destination.vaults import vault_of

#: Rows in one transaction: the service's own calls come in between.
BATCH: Final = 1_000
#: A database that another process holds is asked again so often, a second apart.
ATTEMPTS: Final = 30
#: Rows that are refused and shown with their reasons.
SHOWN_REFUSALS: Final = 10
#: People that are told apart while a file is counted; past it every row counts as somebody new.
COUNTED_PEOPLE: Final = 2_000_000
#: What is remembered of a row for its size, in bytes.
_ROW_BYTES: Final = 500


@dataclass(slots=True)
class Survey:
    """What is in a file, from a first look through it."""

    columns: dict[str, None] = field(default_factory=dict)
    rows: int = 0
    unreadable: int = 0
    people: set[int] = field(default_factory=set)
    uncounted: int = 0

    @property
    def most_people(self) -> int:
        """How many people there may be."""
        return len(self.people) + self.uncounted


@dataclass(slots=True)
class Tally:
    """What became of rows."""

    accepted: int = 0
    held: int = 0
    ignored: int = 0
    refused: int = 0
    #: The first of them: the row's number and the reason.
    reasons: list[tuple[int, str]] = field(default_factory=list)

    def refuse(self, number: int, reason: str) -> None:
        """Count a row that is refused."""
        self.refused += 1
        if len(self.reasons) < SHOWN_REFUSALS:
            self.reasons.append((number, reason))


@dataclass(frozen=True, slots=True)
class _Order:
    """What is to be imported."""

    file: Path
    reading: Reading
    account: Account
    id: str
    survey: Survey
    #: Where an import of it stands already.
    known: Import | None
    rate: Rate

    @property
    def done(self) -> int:
        """Rows that are on disk already."""
        return 0 if self.known is None else self.known.done

    @property
    def cost(self) -> Forecast:
        """At most: every one of them a subscriber, and different."""
        people = self.survey.most_people
        return forecast(people, self.rate, matching=people, subscribers=None)


def run(
    file: Path,
    account_name: str | None,
    reading: Reading,
    *,
    dry_run: bool,
    restart: bool,
    yes: bool,
    author: str,
    as_json: bool,
) -> None:
    """Import a file, from where it was interrupted. Raises `Misconfigured` for one that cannot be read."""
    if not file.is_file():
        raise Misconfigured(f"There is no file {file}.")
    asyncio.run(_run(file, account_name, reading, dry_run, restart, yes, author, as_json))


async def _run(
    file: Path,
    account_name: str | None,
    reading: Reading,
    dry_run: bool,
    restart: bool,
    yes: bool,
    author: str,
    as_json: bool,
) -> None:
    settings = read_settings()
    vault = vault_of(settings)
    database = Database(settings.effective_database_url)
    await database.open()
    try:
        await database.read(use_kept_pseudonyms, vault)
        account = await database.read(chosen_account, account_name)
        survey = surveyed(file, reading)
        import_id = identity(file, account.id, reading)
        known = None if restart else await database.read(imports.find, import_id)
        rate = await database.read(rate_of_account, account, settings.rate_limit_reserve)
        order = _Order(file, reading, account, import_id, survey, known, rate)
        _tell(order, as_json=as_json)
        if known is not None and known.ended_at is not None:
            _tell_done(order, as_json=as_json)
        elif not dry_run:
            what = f"Import {survey.rows - order.done:,} rows for {account.fingerprint}."
            confirm(what, yes=yes, as_json=as_json)
            tally = await _import(database, vault, order, author)
            _report(order, tally, as_json=as_json)
        elif as_json:
            output.print_facts(_facts(order), as_json=True)
    finally:
        await database.close()


def surveyed(file: Path, reading: Reading) -> Survey:
    """Look through a file: its columns, its rows, and how many people they speak of."""
    survey = Survey()
    understanding: Rows | None = None
    for row in rows(file):
        survey.rows += 1
        if isinstance(row, BadRow):
            survey.unreadable += 1
            continue
        if understanding is None:
            understanding = Rows(row, reading, "")  # columns that are named and not there are told here
            survey.columns = dict.fromkeys(row)
        email = understanding.email_of(row)
        if len(survey.people) >= COUNTED_PEOPLE:
            survey.uncounted += 1
        elif email is not None:
            survey.people.add(hash(email))
    if survey.rows == 0:
        raise Misconfigured(f"{file} has no rows.")
    return survey


def _facts(order: _Order) -> dict[str, Cell]:
    cost = order.cost
    return {
        "Rows": order.survey.rows,
        "Done already": order.done,
        "Unreadable": order.survey.unreadable,
        "People": order.survey.most_people,
        "Most requests": cost.requests,
        "Most seconds": math.ceil(cost.seconds),
    }


def _tell(order: _Order, *, as_json: bool) -> None:
    """Say what it costs, before anything is done."""
    if as_json:
        return
    cost = order.cost
    output.console.print(
        f"{order.file.name}: {order.survey.rows:,} rows about {order.survey.most_people:,} people"
        + (f", of which {order.done:,} rows are on disk already" if order.done else "")
        + (f"; {order.survey.unreadable:,} rows cannot be read" if order.survey.unreadable else "")
        + "."
    )
    output.console.print(
        f"It costs at most {cost.requests:,} requests of ProsperStack's, which take {wording.span(cost.seconds)} "
        f"at {order.rate.limit:,} in {order.rate.window_seconds:g} s (a plain forwarder would take "
        f"{wording.span(naive_seconds(order.survey.rows, order.rate))}). Who is no subscriber, or has these values "
        "already, costs no update; live calls go first."
    )


def _tell_done(order: _Order, *, as_json: bool) -> None:
    assert order.known is not None  # noqa: S101 -- it was asked for
    if as_json:
        output.print_json({"rows": order.known.done, "refused": order.known.refused, "already_done": True})
        return
    output.console.print(
        f"This file was imported at {Time(order.known.ended_at)}, and nothing is done. --restart reads it again; "
        "what it says is merged by its times, so that nothing newer is overwritten."
    )


async def _import(database: Database, vault: Vault, order: _Order, author: str) -> Tally:
    tally = Tally(refused=0 if order.known is None else order.known.refused)
    if order.known is None:
        total, name = order.survey.rows, order.file.name
        await database.write(imports.begin, order.id, order.account.id, name, total, system_clock())
    as_of = datetime.fromtimestamp(order.file.stat().st_mtime, UTC).isoformat()
    understanding = Rows(order.survey.columns, order.reading, as_of)
    columns = (
        TextColumn("Importing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=order.survey.rows, completed=order.done, rate="")
        remaining = islice(enumerate(rows(order.file), 1), order.done, None)
        while batch := list(islice(remaining, BATCH)):
            await _commit(database, vault, order, batch, understanding, tally)
            progress.advance(task, len(batch))
            progress.update(task, rate=f"{progress.tasks[task].speed or 0:,.0f}/s")
    await database.write(_end, order, author, system_clock())
    return tally


async def _commit(
    database: Database,
    vault: Vault,
    order: _Order,
    batch: list[tuple[int, Row | BadRow]],
    understanding: Rows,
    tally: Tally,
) -> None:
    """Take a batch of rows in, and note how far the import is, in one transaction."""
    before = tally.refused
    now = system_clock()
    calls, numbers = [], []
    for number, call in _calls(batch, understanding, order.account, now, tally):
        numbers.append(number)
        calls.append(call)
    refused = tally.refused - before
    for attempt in range(ATTEMPTS):
        try:
            taken = await database.write(
                imports.advance, order.id, calls, len(batch), refused, vault.pseudonym, reads_of
            )
            break
        except StoreUnavailable as error:
            if attempt == ATTEMPTS - 1:
                raise Misconfigured(f"{error} The same command goes on from here.") from error
            await asyncio.sleep(1)
    for number, outcome in zip(numbers, taken.outcomes, strict=True):
        match outcome:
            case Outcome.ACCEPTED | Outcome.ERASED:
                tally.accepted += 1
            case Outcome.HELD:
                tally.held += 1
            case Outcome.OUTDATED:
                tally.ignored += 1
            case Outcome.UNKNOWN:
                tally.refuse(number, "no email, and none is known for its ids")


def _calls(
    batch: list[tuple[int, Row | BadRow]], understanding: Rows, account: Account, now: int, tally: Tally
) -> Iterator[tuple[int, Call]]:
    """The calls in a batch of rows; the others are counted."""
    for number, row in batch:
        if isinstance(row, BadRow):
            tally.refuse(number, row.reason)
            continue
        try:
            understood = understanding.understood(row, now)
        except CallRefused as error:
            tally.refuse(number, str(error))
            continue
        if understood is None:
            tally.ignored += 1
        else:
            call = to_call(understood, account, now, _ROW_BYTES)
            yield number, replace(call, in_bulk=True) if isinstance(call, Identify) else call


def _end(connection: Connection, order: _Order, author: str, now: int) -> None:
    imports.end(connection, order.id, now)
    details: dict[str, JsonValue] = {"file": order.file.name, "rows": order.survey.rows}
    auditing.record(connection, order.account.id, now, actor=author, action="import", details=details)


def _report(order: _Order, tally: Tally, *, as_json: bool) -> None:
    if as_json:
        output.print_json(
            {
                "rows": order.survey.rows,
                "accepted": tally.accepted,
                "held": tally.held,
                "ignored": tally.ignored,
                "refused": tally.refused,
                "reasons": [{"row": number, "reason": reason} for number, reason in tally.reasons],
            }
        )
        return
    output.console.print(
        f"{tally.accepted:,} rows are taken in, {tally.refused:,} refused, {tally.ignored:,} ignored, "
        f"{tally.held:,} held. `watch` shows how far ProsperStack is."
    )
    for number, reason in tally.reasons:
        output.console.print(f"  Row {number:,}: {output.visible(reason)}", markup=False)
