"""The style sheet and the script, from this process: nothing is loaded from anywhere else."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

_FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: Their names change with their contents, so browsers need not ask again.
_FOR_EVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file, by the name that browsers ask for."""

    name: str
    content: bytes
    media_type: str


def _read(folder: Path) -> dict[str, Asset]:
    """All files that browsers load, by the names that pages call them."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix not in _TYPES:
            continue  # a licence
        content = path.read_bytes()
        name = f"{path.stem}.{hashlib.sha256(content).hexdigest()[:12]}{path.suffix}"
        found[path.name] = Asset(name, content, _TYPES[path.suffix])
    return found


class Assets:
    """The files of a folder, read once; browsers find them under a prefix."""

    def __init__(self, folder: Path = _FOLDER, prefix: str = "/dashboard/static") -> None:
        self._prefix = prefix
        self._by_page_name = _read(folder)
        self._by_name = {each.name: each for each in self._by_page_name.values()}

    def url(self, name: str) -> str:
        """Where a page finds a file."""
        return f"{self._prefix}/{self._by_page_name[name].name}"

    async def serve(self, request: Request) -> Response:
        """A file, which needs no login."""
        asset = self._by_name.get(request.path_params["name"])
        if asset is None:
            return Response("There is no such file.\n", 404, media_type="text/plain")
        return Response(asset.content, 200, {"Cache-Control": _FOR_EVER}, asset.media_type)
