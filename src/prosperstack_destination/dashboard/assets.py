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


def _read() -> dict[str, Asset]:
    """All files, by the names that pages call them."""
    found = {}
    for path in sorted(_FOLDER.iterdir()):
        content = path.read_bytes()
        name = f"{path.stem}.{hashlib.sha256(content).hexdigest()[:12]}{path.suffix}"
        found[path.name] = Asset(name, content, _TYPES[path.suffix])
    return found


class Assets:
    """The files under ``static/``, read once."""

    def __init__(self) -> None:
        self._by_page_name = _read()
        self._by_name = {each.name: each for each in self._by_page_name.values()}

    def url(self, name: str) -> str:
        """Where a page finds a file."""
        return f"/dashboard/static/{self._by_page_name[name].name}"

    async def serve(self, request: Request) -> Response:
        """A file, which needs no login."""
        asset = self._by_name.get(request.path_params["name"])
        if asset is None:
            return Response("There is no such file.\n", 404, media_type="text/plain")
        return Response(asset.content, 200, {"Cache-Control": _FOR_EVER}, asset.media_type)
