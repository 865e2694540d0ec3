"""``password``: how to get into the dashboard."""

from prosperstack_destination.auth.password import load_or_create_password
from prosperstack_destination.cli import output
from prosperstack_destination.cli.session import write
from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.settings import read_settings
from prosperstack_destination.vault import vault_from_settings


def show(*, as_json: bool) -> None:
    """Print the password that was made, which is made if need be. Raises `ConfigurationError` where one is set."""
    settings = read_settings()
    if settings.admin_password is not None:
        raise ConfigurationError("The password is what ADMIN_PASSWORD is set to: none was made here.")
    made = write(
        lambda connection: load_or_create_password(connection, vault_from_settings(settings), None), settings
    )
    output.print_facts({"Password": made.text}, as_json=as_json)
