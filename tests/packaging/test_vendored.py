"""Scripts and styles of npm packages in the Python package, compared with their lock."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from tools import vendor
from tools.vendor import CODEMIRROR, SWAGGER_UI, Vendored

#: Files of our own in the folders.
OURS = {SWAGGER_UI: {"docs.js"}, CODEMIRROR: set[str]()}
LICENCES = {
    SWAGGER_UI: {"LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"},
    CODEMIRROR: {"LICENSE"},
}
each_package = pytest.mark.parametrize("vendored", vendor.ALL, ids=lambda each: each.package)


@each_package
def test_files_are_those_of_the_lock(vendored: Vendored) -> None:
    """Each vendored file has the hash that was noted for the locked version, and there is no other file."""
    noted = json.loads((vendored.target / vendor.NOTES).read_text())

    assert {name: noted[name] for name in ("package", "version", "integrity")} == vendored.locked()
    present = {path.name for path in vendored.target.iterdir()}
    assert present == set(noted["sha256"]) | OURS[vendored] | {vendor.NOTES}
    for name, expected in noted["sha256"].items():
        assert hashlib.sha256((vendored.target / name).read_bytes()).hexdigest() == expected, name
    assert LICENCES[vendored] <= set(noted["sha256"])


@pytest.mark.whole
def test_packages_have_these_files(tmp_path: Path) -> None:
    """The vendored files are those that npm installs by the lock, whose integrity it checks."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed, so the packages are not fetched")
    vendor.install(tmp_path)

    for each in vendor.ALL:
        files = each.read(tmp_path)
        assert files == {name: (each.target / name).read_bytes() for name in files}
        assert (each.target / vendor.NOTES).read_text() == each.notes(files)
