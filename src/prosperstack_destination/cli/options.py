"""Options that several commands have."""

from typing import Annotated

import typer


def _account_names() -> list[str]:
    """For a shell to complete."""
    from prosperstack_destination.cli.session import account_names

    return account_names()


Account = Annotated[
    str | None,
    typer.Option(
        "--account", help="Its id or fingerprint; needed where there are several.", autocompletion=_account_names
    ),
]
Author = Annotated[str, typer.Option("--author", envvar="USER", help="Who does it, for the audit trail.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Name = Annotated[str, typer.Option("--name", help="What to call it.")]
