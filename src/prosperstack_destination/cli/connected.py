"""What a running service is connected to, recorded in its DATA_DIR for commands that run next to it.

`serve --with-sandbox` and `--port` are no settings: without the record `doctor` would ask the wrong ProsperStack.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.server import url_of
from prosperstack_destination.settings import Settings
from prosperstack_destination.store.private_files import make_private_file, make_private_folder

_FILE: Final = "serving.json"


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a service listens, and which ProsperStack it writes to."""

    url: str
    prosperstack_base_url: str


def local_url(host: str, port: int) -> str:
    """Return the URL at which this machine reaches a service that listens there."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- it is compared
    return url_of(reached, port)


def record(settings: Settings, connection: Connection) -> None:
    """Note what the service is connected to. A DATA_DIR that cannot be written to has no record."""
    path = settings.data_dir / _FILE
    try:
        make_private_folder(settings.data_dir)
        make_private_file(path)
        path.write_text(json.dumps(asdict(connection)))
    except (OSError, ConfigurationError):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def recorded(settings: Settings) -> Connection | None:
    """The connection of the service that was started last with this DATA_DIR; None: there is no record."""
    try:
        found = json.loads(Path(settings.data_dir / _FILE).read_text())
        return Connection(str(found["url"]), str(found["prosperstack_base_url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def names_a_prosperstack(settings: Settings) -> bool:
    """Whether the settings say which ProsperStack is meant, so that no sandbox is."""
    return settings.prosperstack_api_key is not None or "prosperstack_base_url" in settings.model_fields_set


def prosperstack_base_url(settings: Settings) -> str:
    """The ProsperStack that the service writes to: the settings', or the one that it was started with."""
    found = None if names_a_prosperstack(settings) else recorded(settings)
    return settings.prosperstack_base_url if found is None else found.prosperstack_base_url
