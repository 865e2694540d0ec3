"""The dashboard in a real browser: Debian's Chromium, driven by Playwright, at the service as it is started."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from support.processes import PATIENCE_SECONDS, free_port, started

CHROMIUM: Final = Path("/usr/bin/chromium")
PASSWORD: Final = "correct horse battery"
KEY: Final = "key_test_sandbox"
HERE: Final = Path(__file__).parent
#: It looks for nothing outside of this machine, and needs no sandbox of its own as root.
ARGUMENTS: Final = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
#: How large a screen is: a telephone's, and a desk's.
NARROW: Final[Any] = {"width": 360, "height": 740}
WIDE: Final[Any] = {"width": 1280, "height": 900}
#: Which of its rules axe goes by.
TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


@pytest.hookimpl(wrapper=True)  # around pytest-randomly, and the selection by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """Each test here starts the whole service; and where there is no browser, none runs.

    Tests of a module share a service and follow each other as in their file: each finds what those before left.
    """
    missing = not CHROMIUM.exists()
    skip = pytest.mark.skip(reason=f"there is no {CHROMIUM}, so no page is looked at in a browser")
    assert not (missing and os.environ.get("CI") == "true"), "CI needs Chromium: apt-get install chromium"
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.whole)
            if missing:
                item.add_marker(skip)
    yield
    positions = [index for index, item in enumerate(items) if item.path.is_relative_to(HERE)]
    in_order = sorted((items[index] for index in positions), key=lambda item: (item.path, item.location[1] or 0))
    for index, item in zip(positions, in_order, strict=True):
        items[index] = item


# Pages update themselves every other second, from figures that are written every five.
expect.set_options(timeout=20_000)


@dataclass(frozen=True)
class Site:
    """A running service with a sandbox."""

    url: str
    sandbox: str
    #: What it wrote so far.
    output: Path

    @property
    def printed_password(self) -> str:
        """The password that was made, as it is printed when the service is there."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if found := re.search(r"Password\s+(\S+)", self.output.read_text()):
                return found[1]
        raise AssertionError("no password was printed")

    def identify(self, email: str, key: str = KEY, **traits: object) -> None:
        """Send a call, as Segment does."""
        call = {"type": "identify", "userId": f"id of {email}", "traits": {"email": email, **traits}}
        answer = httpx.post(f"{self.url}/identify", json=call, auth=(key, ""), timeout=30)
        assert answer.status_code == 202, answer.text

    def send(self, call: dict[str, object]) -> None:
        """Send a call; one that is refused is of interest, too."""
        httpx.post(f"{self.url}/identify", json=call, auth=(KEY, ""), timeout=30)

    def enter(self, audience: str, emails: list[str]) -> None:
        """Send people who enter an audience of Engage's, as its first sync does."""
        personas = {"computation_class": "audience", "computation_key": audience, "computation_id": "aud_1"}
        calls = [
            {"type": "identify", "traits": {"email": email, audience: True}, "context": {"personas": personas}}
            for email in emails
        ]
        answer = httpx.post(f"{self.url}/identify", json=calls, auth=(KEY, ""), timeout=30)
        assert answer.status_code == 202, answer.text

    def subscribers(self, count: int) -> list[str]:
        """The emails of some subscribers; each hundred of them costs a request."""
        found: list[str] = []
        cursor: str | None = None
        while len(found) < count:
            query = {"limit": "100"} | ({} if cursor is None else {"cursor": cursor})
            page = httpx.get(f"{self.sandbox}/v1/subscribers", params=query, auth=(KEY, "")).json()
            found += [each["email"] for each in page["data"]]
            cursor = page.get("next_cursor")
            if cursor is None:
                break
        return found[:count]

    def values(self, email: str) -> dict[str, object]:
        """The properties of a subscriber in the sandbox, by their keys."""
        found = httpx.get(f"{self.sandbox}/v1/subscribers", params={"email": email}, auth=(KEY, "")).json()
        return {each["property"]["key"]: each["value"] for each in found["data"][0]["properties"]}


def site(folder: Path, **environment: str) -> Iterator[Site]:
    """Start the service and a sandbox, in an empty folder."""
    port, sandbox_port = free_port(), free_port()
    command = ["serve", "--port", str(port), "--with-sandbox", "--sandbox-port", str(sandbox_port)]
    output = folder / "serve.log"
    with started(command, f"http://127.0.0.1:{port}/readyz", folder, output, **environment):
        yield Site(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{sandbox_port}", output)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service that the tests of a module share; its dashboard's password is `PASSWORD`."""
    yield from site(tmp_path_factory.mktemp("site"), ADMIN_PASSWORD=PASSWORD)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Site]:
    """A service that was never started before."""
    yield from site(tmp_path)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for a module: while it runs it has this thread's event loop, which other modules need."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser without cookies. A page that writes to its console, or breaks, fails the test."""
    said: list[str] = []
    found = browser.new_context(viewport=WIDE)
    found.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    found.on("weberror", lambda error: said.append(str(error.error)))
    found.set_default_timeout(20_000)
    yield found
    found.close()
    refused = "Failed to load resource"  # an answer of 403 or so, which the page itself tells
    assert [each for each in said if each.startswith(("error", "warning")) and refused not in each] == []


@pytest.fixture
def operator(context: BrowserContext, served: Site) -> Page:
    """Somebody who is logged in at `served`."""
    page = context.new_page()
    log_in(page, served)
    return page


def log_in(page: Page, at: Site, password: str = PASSWORD) -> None:
    """Type the password."""
    page.goto(f"{at.url}/dashboard")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core's script, from the package that is pinned beside this file."""
    folder = tmp_path_factory.mktemp("axe")
    install(folder)
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


def install(folder: Path) -> None:
    """Install the packages that are pinned beside this file."""
    npm = shutil.which("npm")
    if npm is None:
        assert os.environ.get("CI") != "true", "CI needs npm: it brings axe-core and analytics.js"
        pytest.skip("npm is not installed, so there is neither axe-core nor analytics.js")
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(HERE / name, folder / name)
    subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=folder, check=True, capture_output=True)  # noqa: S603


def faults(page: Page, axe: str) -> list[str]:
    """What axe finds, each with the elements at fault."""
    page.evaluate(axe)
    found: dict[str, Any] = page.evaluate(f"axe.run(document, {{runOnly: {json.dumps(TAGS)}}})")
    return [
        f"{each['id']}: {each['help']} ({', '.join(str(node['target']) for node in each['nodes'])})"
        for each in found["violations"]
    ]
