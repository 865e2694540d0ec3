"""Commands that upgrade, move and back up the database."""

from pathlib import Path
from typing import Annotated

import typer

from prosperstack_destination.cli.options import Json

db_app = typer.Typer(help="Upgrade, move and back up the database.", no_args_is_help=True)


@db_app.command("upgrade")
def db_upgrade(json: Json = False) -> None:
    """Migrate the schema to the current version. `serve` does this at its start, too."""
    from prosperstack_destination.cli.db import upgrade

    upgrade(as_json=json)


@db_app.command("export")
def db_export(
    file: Annotated[
        str, typer.Argument(help="File to write, or - for standard output; a partial file is resumed.")
    ],
    json: Json = False,
) -> None:
    """Write the whole database to a file, as lines of JSON. `db import` reads it on SQLite and PostgreSQL."""
    from prosperstack_destination.cli.db import export

    export(file, as_json=json)


@db_app.command("import")
def db_import(
    file: Annotated[str, typer.Argument(help="File that `db export` wrote, or - for standard input.")],
    json: Json = False,
) -> None:
    """Load an export into an empty database. An interrupted import resumes where it stopped."""
    from prosperstack_destination.cli.db import import_

    import_(file, as_json=json)


@db_app.command("backup")
def db_backup(
    file: Annotated[Path, typer.Argument(help="File to write; it must not exist yet.")], json: Json = False
) -> None:
    """Copy a SQLite database while the service runs."""
    from prosperstack_destination.cli.db import backup

    backup(file, as_json=json)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(db_app, name="db")
