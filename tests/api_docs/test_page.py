"""The page that shows the OpenAPI document."""

import re
from pathlib import Path

import pytest

from support.service import running, settings


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
