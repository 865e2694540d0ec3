"""Record of the running service in its DATA_DIR: its URL and its ProsperStack.

`serve --with-sandbox` and `--port` are not settings. Without the record, `doctor` would ask the wrong ProsperStack.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.server import url_of
from prosperstack_destination.settings import Settings
from prosperstack_destination.store.files import make_private_file, make_private_folder

_FILE: Final = "serving.json"


@dataclass(frozen=True, slots=True)
class ServingRecord:
    """URL of a service, and base URL of the ProsperStack that it writes to."""

    url: str
    prosperstack_base_url: str


def private_path(settings: Settings, name: str) -> Path:
    """Return the path of a file in DATA_DIR, a folder that only this user can read and that is made if missing."""
    make_private_folder(settings.data_dir)
    return settings.data_dir / name


def local_url(host: str, port: int) -> str:
    """Return the URL at which this machine reaches a service that listens on a host and port."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 -- it is compared
    return url_of(reached, port)


def save(settings: Settings, record: ServingRecord) -> None:
    """Write the record, readable by this user only. A DATA_DIR that is not writable gets none."""
    path = settings.data_dir / _FILE
    try:
        make_private_folder(settings.data_dir)
        make_private_file(path)
        path.write_text(json.dumps(asdict(record)))
    except (OSError, ConfigurationError):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def load(settings: Settings) -> ServingRecord | None:
    """Return the record of the service that was started last with this DATA_DIR; None without a record."""
    try:
        content = json.loads(Path(settings.data_dir / _FILE).read_text())
        return ServingRecord(str(content["url"]), str(content["prosperstack_base_url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def names_a_prosperstack(settings: Settings) -> bool:
    """Return True if the settings choose a ProsperStack, so that no sandbox is used."""
    return settings.prosperstack_api_key is not None or "prosperstack_base_url" in settings.model_fields_set


def prosperstack_base_url(settings: Settings) -> str:
    """Return the base URL that the service uses: that of the settings, or that of the record."""
    record = None if names_a_prosperstack(settings) else load(settings)
    return settings.prosperstack_base_url if record is None else record.prosperstack_base_url
