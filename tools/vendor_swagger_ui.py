"""Copy Swagger UI's files from its npm package, as tools/swagger_ui/package-lock.json pins it, into the package.

    .venv/bin/python -m tools.vendor_swagger_ui

npm checks the package against the lock's integrity. ``vendored.json`` beside the files notes version, integrity and
the SHA-256 of each file, by which a test finds whether they are what was locked.
"""

import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = ROOT / "tools" / "swagger_ui" / "package-lock.json"
TARGET: Final = ROOT / "src" / "prosperstack_destination" / "api_docs" / "static"
NOTES: Final = "vendored.json"
PACKAGE: Final = "swagger-ui-dist"
#: The bundle, its style sheet, and the licences of both and of what is in the bundle.
FILES: Final = (
    *("swagger-ui-bundle.js", "swagger-ui.css"),
    *("LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"),
)


def locked() -> dict[str, Any]:
    """Return the version and the integrity that the lock pins."""
    entry = json.loads(LOCK.read_text())["packages"][f"node_modules/{PACKAGE}"]
    return {"package": PACKAGE, "version": entry["version"], "integrity": entry["integrity"]}


def fetch(folder: Path) -> dict[str, bytes]:
    """Return the files of the locked package by name. Raises `CalledProcessError` where npm refuses it."""
    npm = shutil.which("npm") or "npm"
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(LOCK.with_name(name), folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603 -- npm, on our own lock
    package = folder / "node_modules" / PACKAGE
    return {name: (package / name).read_bytes() for name in FILES}


def notes(files: dict[str, bytes]) -> str:
    """Return the text of ``vendored.json``."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    return json.dumps({**locked(), "sha256": hashes}, indent=2) + "\n"


def main() -> None:
    """Fetch the files and write them."""
    with tempfile.TemporaryDirectory() as folder:
        files = fetch(Path(folder))
    for name, content in files.items():
        (TARGET / name).write_bytes(content)
    (TARGET / NOTES).write_text(notes(files))


if __name__ == "__main__":
    main()
