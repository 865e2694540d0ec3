"""Commands that upgrade, move and back up the database."""

import asyncio
import sys
from collections import Counter
from pathlib import Path
from typing import IO, Annotated

import typer

from prosperstack_destination.admin import database
from prosperstack_destination.cli import output
from prosperstack_destination.cli.session import Json
from prosperstack_destination.settings import read_settings

app = typer.Typer()
db_app = typer.Typer(help="Upgrade, move and back up the database.", no_args_is_help=True)
app.add_typer(db_app, name="db")


@db_app.command()
def upgrade(json: Json = False) -> None:
    """Migrate the schema to the current version. `serve` does this at its start, too."""
    version = asyncio.run(database.upgrade(read_settings().effective_database_url))
    if json:
        output.print_json({"version": version})
    else:
        print(f"The schema is at version {version}.")


@db_app.command()
def export(
    file: Annotated[
        str, typer.Argument(help="File to write, or - for standard output; a partial file is resumed.")
    ],
    json: Json = False,
) -> None:
    """Write the whole database to a file, as lines of JSON. `db import` reads it on SQLite and PostgreSQL."""
    rows, was_complete = asyncio.run(database.export(read_settings().effective_database_url, file))
    if was_complete and not json:
        output.errors.print(f"{file} is complete already: {rows.total():,} rows.")
    elif was_complete:
        output.print_json({"rows": {**rows}})
    else:  # the counts go to standard error if the export goes to standard output
        _report("exported", rows, as_json=json, to=sys.stderr if file == database.STANDARD else sys.stdout)


@db_app.command("import")
def import_(
    file: Annotated[str, typer.Argument(help="File that `db export` wrote, or - for standard input.")],
    json: Json = False,
) -> None:
    """Load an export into an empty database. An interrupted import resumes where it stopped."""
    rows = asyncio.run(database.import_export(read_settings().effective_database_url, file))
    _report("imported", rows, as_json=json)


@db_app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="File to write; it must not exist yet.")], json: Json = False
) -> None:
    """Copy a SQLite database while the service runs."""
    database.backup(read_settings().effective_database_url, file)
    if json:
        output.print_json({"file": str(file)})
        return
    print(f"The database is copied to {file}. Back up its secret, too: SECRET_KEY or secret.key.")


def _report(action: str, rows: Counter[str], *, as_json: bool, to: IO[str] | None = None) -> None:
    if as_json:
        print(output.one_line({"rows": {**rows}}), file=to)
        return
    output.errors.print(
        f"{rows.total():,} rows {action}: " + ", ".join(f"{count:,} {name}" for name, count in rows.items())
    )
