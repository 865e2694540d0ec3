"""Tests of Segment's analytics.js in a browser, on a page of its own, with a public key of this service."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page

from browser.conftest import Site, install
from prosperstack_destination.ingest.documented_call import DOCUMENTED_EMAIL, DOCUMENTED_TRAITS
from support.processes import PATIENCE_SECONDS, command, environment

DESIRED: Final = {
    "number_of_contacts": 5800,
    "is_professional": True,
    "last_contacted": "2021-05-04",
    "preferred_name": "Johnny",
}
#: The documented example, sent with what pages send besides.
IDENTIFY: Final = """
async ([writeKey, cdnURL, email, traits]) => {
  const [analytics] = await AnalyticsNext.AnalyticsBrowser.load({ writeKey, cdnURL });
  await analytics.page();
  await analytics.identify("userId123", { email, traits });
  await analytics.track("Something happened");
}
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing."""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a web page with analytics.js: at 127.0.0.1, and at localhost, which is another origin."""
    folder = tmp_path_factory.mktemp("page")
    install(folder)
    shutil.move(folder / "node_modules/@segment/analytics-next/dist/umd", folder / "umd")
    page = (
        '<!doctype html><title>A page</title><link rel="icon" href="data:,"><script src="/umd/index.js"></script>'
    )
    (folder / "index.html").write_text(page)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def key(served: Site, port: int) -> str:
    """A public key for the page at 127.0.0.1."""
    served.identify(DOCUMENTED_EMAIL, plan="x")  # it opens the account
    issued = subprocess.run(  # noqa: S603 -- our own command
        command("keys", "issue", "--public", "--origin", f"http://127.0.0.1:{port}", "--json"),
        cwd=served.output.parent,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    shown: str = json.loads(issued.stdout)["key"]
    return shown


def identify(page: Page, served: Site, key: str) -> None:
    """Have analytics.js send the documented example."""
    page.evaluate(IDENTIFY, [key, served.url, DOCUMENTED_EMAIL, DOCUMENTED_TRAITS])


def test_documented_example_changes_properties(context: BrowserContext, served: Site, port: int, key: str) -> None:
    """The documented call, sent by analytics.js from the key's origin, changes the four properties."""
    page = context.new_page()
    statuses: dict[str, int] = {}
    page.on("response", lambda answer: statuses.update({Path(answer.url).name: answer.status}))
    page.goto(f"http://127.0.0.1:{port}/")
    identify(page, served, key)

    deadline = time.monotonic() + PATIENCE_SECONDS
    while (values := served.values(DOCUMENTED_EMAIL)) != DESIRED:
        assert time.monotonic() < deadline, values
        time.sleep(0.2)
    assert {name: statuses.get(name) for name in ("settings", "i", "t", "p")} == {
        "settings": 200,
        "i": 200,
        "t": 200,
        "p": 200,
    }


def test_page_of_another_origin_is_refused(browser: Browser, served: Site, port: int, key: str) -> None:
    """A page of another origin gets no settings with the key, and its call is refused."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://localhost:{port}/")
    send = "([url, key, email]) => fetch(url, {method: 'POST', body: JSON.stringify({writeKey: key, email})})"

    with pytest.raises(Error):
        identify(page, served, key)
    with pytest.raises(Error, match="Failed to fetch"):
        page.evaluate(send, [f"{served.url}/v1/i", key, "nobody@example.com"])
    context.close()
    refused = httpx.post(
        f"{served.url}/v1/i", json={"writeKey": key}, headers={"Origin": f"http://localhost:{port}"}
    )
    assert refused.status_code == 403
