"""Static files, served by this process with content-hashed names."""

import asyncio
import functools
import gzip
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
#: Names contain a hash of the content, so that browsers cache them for ever.
_CACHE_CONTROL: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """File with its hashed name."""

    name: str
    content: bytes
    media_type: str


def _read(folder: Path) -> dict[str, Asset]:
    """Read the files of a folder and of those in it, by their original names."""
    assets = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix not in _TYPES:
            continue  # a licence text
        content = path.read_bytes()
        name = f"{path.stem}.{hashlib.sha256(content).hexdigest()[:12]}{path.suffix}"
        assets[path.name] = Asset(name, content, _TYPES[path.suffix])
    return assets


@functools.cache
def _compress(content: bytes) -> bytes:
    """Compress a file by gzip, once."""
    return gzip.compress(content, mtime=0)


class Assets:
    """Static files of a folder, read once and served below a URL prefix."""

    def __init__(self, folder: Path = _FOLDER, prefix: str = "/dashboard/static") -> None:
        self._prefix = prefix
        self._by_original_name = _read(folder)
        self._by_name = {each.name: each for each in self._by_original_name.values()}

    def url(self, name: str) -> str:
        """Return the URL of a file."""
        return f"{self._prefix}/{self._by_original_name[name].name}"

    async def serve(self, request: Request) -> Response:
        """Serve a file. Needs no login."""
        asset = self._by_name.get(request.path_params["name"])
        if asset is None:
            return Response("No such file.\n", 404, media_type="text/plain")
        headers = {"Cache-Control": _CACHE_CONTROL, "Vary": "Accept-Encoding"}
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(asset.content, 200, headers, asset.media_type)
        content = await asyncio.to_thread(_compress, asset.content)
        return Response(content, 200, headers | {"Content-Encoding": "gzip"}, asset.media_type)
