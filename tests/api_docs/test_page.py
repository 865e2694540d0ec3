"""The page that shows the OpenAPI document."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from tools import vendor_swagger_ui

from support.service import running, settings

STATIC = vendor_swagger_ui.TARGET
#: Files of our own beside those that are vendored.
OURS = {"docs.js", vendor_swagger_ui.NOTES}


@pytest.mark.anyio
async def test_everything_comes_from_here(tmp_path: Path) -> None:
    """The page has the dashboard's policy, no script or style in itself, and loads files of this service alone."""
    async with running(settings(tmp_path)) as service:
        page = await service.client.get("/docs", auth=None)
        login = await service.client.get("/dashboard/login", auth=None)
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        answers = {url: await service.client.get(url, auth=None) for url in loaded if url.startswith("/")}
        redoc = await service.client.get("/redoc", auth=None)
        missing = await service.client.get("/docs/static/vendored.json", auth=None)
        callback = await service.client.get("/docs/oauth2-redirect", auth=None)

    assert page.headers["content-security-policy"] == login.headers["content-security-policy"]
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on\w+=", page.text)
    assert [url for url in loaded if not url.startswith("/") and url != "data:,"] == []
    assert {url: answer.status_code for url, answer in answers.items()} == dict.fromkeys(answers, 200)
    assert len(answers) == 4
    assert (redoc.status_code, redoc.headers["location"]) == (308, "/docs")
    assert (missing.status_code, callback.status_code) == (404, 404)


def test_the_files_are_those_of_the_lock() -> None:
    """Each vendored file has the hash that was noted for the locked version, and there is no other file."""
    noted = json.loads((STATIC / vendor_swagger_ui.NOTES).read_text())

    assert {name: noted[name] for name in ("package", "version", "integrity")} == vendor_swagger_ui.locked()
    assert {path.name for path in STATIC.iterdir()} == set(noted["sha256"]) | OURS
    for name, expected in noted["sha256"].items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == expected, name
    assert {"LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"} <= set(noted["sha256"])


@pytest.mark.whole
def test_the_package_has_these_files(tmp_path: Path) -> None:
    """What npm installs by the lock, whose integrity it checks, is what is vendored."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed, so the package is not fetched")
    files = vendor_swagger_ui.fetch(tmp_path)

    assert files == {name: (STATIC / name).read_bytes() for name in vendor_swagger_ui.FILES}
    assert (STATIC / vendor_swagger_ui.NOTES).read_text() == vendor_swagger_ui.notes(files)
