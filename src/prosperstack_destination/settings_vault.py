"""Vault of the settings. A module of its own, so that reading settings loads no database driver."""

from pathlib import Path

from prosperstack_destination.auth.vault import Vault, load_or_create_secret, read_secret
from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.settings import Settings
from prosperstack_destination.store.database import backend_of, parse_database_url


def vault_from_settings(settings: Settings) -> Vault:
    """Return the vault. With SQLite and without SECRET_KEY, its secret is generated once, next to the database.

    Raises `ConfigurationError` for PostgreSQL without SECRET_KEY.
    """
    former = [key.get_secret_value() for key in settings.former_secret_keys]
    if settings.secret_key is not None:
        return Vault(settings.secret_key.get_secret_value(), former)
    if settings.secret_key_file is not None:
        return Vault(read_secret(settings.secret_key_file), former)
    url = settings.effective_database_url
    file = parse_database_url(url).database if backend_of(url) == "sqlite" else None
    if not file:
        raise ConfigurationError(
            "SECRET_KEY is not set: it encrypts ProsperStack keys, and every replica needs the same one. "
            "Set it to a long random text, for instance what `openssl rand -base64 32` prints, or set "
            "SECRET_KEY_FILE to a file that all of them share."
        )
    return Vault(load_or_create_secret(Path(file).parent), former)
