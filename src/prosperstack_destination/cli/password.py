"""``password``: how to get into the dashboard."""

from prosperstack_destination.accounts.password import password_of
from prosperstack_destination.cli import output
from prosperstack_destination.cli.operating import in_database
from prosperstack_destination.errors import Misconfigured
from prosperstack_destination.settings import read_settings
from prosperstack_destination.vaults import vault_of


def show(*, as_json: bool) -> None:
    """Print the password that was made, which is made if need be. Raises `Misconfigured` where one is set."""
    settings = read_settings()
    if settings.admin_password is not None:
        raise Misconfigured("The password is what ADMIN_PASSWORD is set to: none was made here.")
    made = in_database(lambda connection: password_of(connection, vault_of(settings), None), settings)
    output.print_facts({"Password": made.text}, as_json=as_json)
