"""Options and defaults that several commands share."""

from typing import Annotated, Final

import typer

#: Port and API key of the sandbox that `make run` and `sandbox` start, so that `send` finds it.
SANDBOX_PORT: Final = 8701
SANDBOX_KEY: Final = "key_test_sandbox"


def _account_names() -> list[str]:
    """Return the names of the accounts, for a shell to complete."""
    from prosperstack_destination.cli.session import account_names

    return account_names()


Account = Annotated[
    str | None,
    typer.Option(
        "--account",
        help="ID or fingerprint of the account; required if there are several.",
        autocompletion=_account_names,
    ),
]
Author = Annotated[str, typer.Option("--author", envvar="USER", help="Your name, for the audit log.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Name = Annotated[str, typer.Option("--name", help="A name to recognize it by.")]
