"""``reencrypt``: the second step of changing SECRET_KEY."""

from dataclasses import asdict

from prosperstack_destination.auth import key_rotation
from prosperstack_destination.cli import output
from prosperstack_destination.cli.session import write
from prosperstack_destination.clock import system_clock
from prosperstack_destination.settings import read_settings
from prosperstack_destination.vault import vault_from_settings


def run(author: str, *, as_json: bool) -> None:
    """Encrypt every stored key anew with SECRET_KEY."""
    settings = read_settings()
    vault = vault_from_settings(settings)
    done = write(lambda connection: key_rotation.reencrypt(connection, vault, author, system_clock()), settings)
    if as_json:
        output.print_json(asdict(done))
        return
    output.console.print(
        f"{done.account_keys:,} ProsperStack keys, {done.shared_secrets:,} shared secrets and "
        f"{done.segment_tokens:,} tokens of Segment workspaces are encrypted with SECRET_KEY. Once every process "
        "runs with it, FORMER_SECRET_KEYS can go."
    )
