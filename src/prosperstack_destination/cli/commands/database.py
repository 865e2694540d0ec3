"""The database as a whole: upgrading, moving, backing up."""

from pathlib import Path
from typing import Annotated

import typer

from prosperstack_destination.cli.options import Json

db_app = typer.Typer(help="The database as a whole.", no_args_is_help=True)


@db_app.command("upgrade")
def db_upgrade(json: Json = False) -> None:
    """Bring the schema up to date; `serve` does that by itself as well."""
    from prosperstack_destination.cli.db import upgrade

    upgrade(as_json=json)


@db_app.command("export")
def db_export(
    file: Annotated[str, typer.Argument(help="A file, which is gone on with if it was broken off, or -.")],
    json: Json = False,
) -> None:
    """Write everything in the database to a file, as lines of JSON, for `import` on SQLite or PostgreSQL."""
    from prosperstack_destination.cli.db import export

    export(file, as_json=json)


@db_app.command("import")
def db_import(
    file: Annotated[str, typer.Argument(help="What `export` wrote, or - for standard input.")],
    json: Json = False,
) -> None:
    """Take an export in, into an empty database; where that was broken off it goes on."""
    from prosperstack_destination.cli.db import import_

    import_(file, as_json=json)


@db_app.command("backup")
def db_backup(
    file: Annotated[Path, typer.Argument(help="Where to; it must not be there yet.")], json: Json = False
) -> None:
    """Copy a SQLite database while the service runs."""
    from prosperstack_destination.cli.db import backup

    backup(file, as_json=json)


def add_to(app: typer.Typer) -> None:
    """Add this group to the command line."""
    app.add_typer(db_app, name="db")
