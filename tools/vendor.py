"""Copy files of npm packages, as tools/vendored/package-lock.json pins them, into the Python package.

    .venv/bin/python -m tools.vendor

npm checks each package against the lock's integrity. ``vendored.json`` in the folder of the files notes version,
integrity and the SHA-256 of each file, by which a test compares the files with the lock.
"""

import hashlib
import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = ROOT / "tools" / "vendored" / "package-lock.json"
NOTES: Final = "vendored.json"
_SOURCE: Final = ROOT / "src" / "prosperstack_destination"


@dataclass(frozen=True, slots=True)
class Vendored:
    """An npm package, the files of it that are vendored with their licences, and the folder that takes them."""

    package: str
    target: Path
    files: tuple[str, ...]

    def locked(self) -> dict[str, Any]:
        """Return the version and the integrity that the lock pins."""
        entry = json.loads(LOCK.read_text())["packages"][f"node_modules/{self.package}"]
        return {"package": self.package, "version": entry["version"], "integrity": entry["integrity"]}

    def read(self, folder: Path) -> dict[str, bytes]:
        """Return the files of the package that is installed in a folder, by name."""
        package = folder / "node_modules" / self.package
        return {PurePosixPath(path).name: (package / path).read_bytes() for path in self.files}

    def notes(self, files: dict[str, bytes]) -> str:
        """Return the text of ``vendored.json``."""
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
        return json.dumps({**self.locked(), "sha256": hashes}, indent=2) + "\n"


SWAGGER_UI: Final = Vendored(
    "swagger-ui-dist",
    _SOURCE / "api_docs" / "static",
    (
        *("swagger-ui-bundle.js", "swagger-ui.css"),
        *("LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"),
    ),
)
CODEMIRROR: Final = Vendored(
    "codemirror",
    _SOURCE / "dashboard" / "static" / "codemirror",
    (
        *("lib/codemirror.js", "lib/codemirror.css", "mode/yaml/yaml.js", "LICENSE"),
        *("addon/hint/show-hint.js", "addon/hint/show-hint.css", "addon/lint/lint.js", "addon/lint/lint.css"),
    ),
)
ALL: Final = (SWAGGER_UI, CODEMIRROR)


def install(folder: Path) -> None:
    """Install the locked packages into a folder. Raises `CalledProcessError` where npm refuses one."""
    npm = shutil.which("npm") or "npm"
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(LOCK.with_name(name), folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603 -- npm, on our own lock


def main() -> None:
    """Fetch the files and write them."""
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder))
        for each in ALL:
            files = each.read(Path(folder))
            each.target.mkdir(exist_ok=True)
            for name, content in files.items():
                (each.target / name).write_bytes(content)
            (each.target / NOTES).write_text(each.notes(files))


if __name__ == "__main__":
    main()
