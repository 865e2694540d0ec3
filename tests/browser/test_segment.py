"""Tests of connecting Segment in a browser, against a simulated Public API."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from browser.conftest import KEY, PASSWORD, Site, faults
from prosperstack_destination.ingest.signature import sign
from support.processes import free_port, started
from support.segment_public_api import TOKEN

URL = "https://destination.example.com"
CALL = {"type": "identify", "projectId": "src_0007", "traits": {"email": "john.doe@example.com"}}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The service, whose requests to Segment reach the stand-in."""
    folder, port = tmp_path_factory.mktemp("site"), free_port()
    url, output = f"http://127.0.0.1:{port}", folder / "serve.log"
    given = {"ADMIN_PASSWORD": PASSWORD, "PROSPERSTACK_API_KEY": KEY, "DATA_DIR": str(folder)}
    known = os.environ.get("PYTHONPATH")  # the stand-in is a module of the tests
    given["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), *([known] if known else [])])
    module = "support.serving_with_segment"
    with started([str(port)], f"{url}/readyz", folder, output, module=module, **given):
        yield Site(url, "", output)


def test_source_is_connected_and_disconnected(operator: Page, served: Site, axe: str) -> None:
    """A source is connected with a token, its first call appears without a reload, and it is disconnected."""
    operator.get_by_role("navigation").get_by_role("link", name="Segment").click()
    operator.get_by_label("Workspace token", exact=True).fill("sgp_wrong")
    operator.get_by_role("button", name="Choose source").click()
    expect(operator.get_by_role("alert")).to_contain_text("Segment refuses the token")
    expect(operator.get_by_label("Workspace token", exact=True)).to_be_focused()
    operator.get_by_label("Workspace token", exact=True).fill(TOKEN)
    operator.keyboard.press("Enter")
    operator.get_by_label("Name, slug or ID").fill("source-7")
    operator.keyboard.press("Enter")
    operator.get_by_label("Source 7 source-7").check()
    operator.get_by_label("Public URL of this service").fill("http://localhost:8700")
    operator.get_by_role("button", name="Connect").click()
    expect(operator.get_by_role("alert")).to_contain_text("it is not HTTPS")
    assert faults(operator, axe) == []
    operator.get_by_label("Public URL of this service").fill(URL)
    operator.get_by_role("button", name="Connect").click()
    expect(operator.get_by_role("heading", name="Source 7")).to_be_visible()
    expect(operator.get_by_text("Waiting for the first call…")).to_be_visible()
    assert faults(operator, axe) == []
    [told, *_] = httpx.get(f"{served.url}/stand-in/settings").json()
    webhook = f"{served.url}/webhook/{operator.url.split('/')[5]}"
    body = json.dumps(CALL).encode()
    accepted = httpx.post(webhook, content=body, headers={"X-Signature": sign(body, told["sharedSecret"])})

    assert accepted.status_code == 202
    expect(operator.get_by_text("Received", exact=True)).to_be_visible()
    expect(operator.locator("#last-call")).to_contain_text(re.compile(r"Last call .* ago"))
    assert not any(secret in operator.content() for secret in (TOKEN, told["sharedSecret"]))
    operator.get_by_role("link", name="Show all sources").click()
    assert faults(operator, axe) == []
    operator.get_by_role("link", name="Disconnect Source 7").click()
    operator.locator("summary", has_text="Disconnect source").click()
    operator.get_by_label("I am sure").check()
    operator.get_by_role("button", name="Disconnect source").click()
    expect(operator.get_by_role("status")).to_contain_text("The source is disconnected")
    assert httpx.get(f"{served.url}/stand-in/settings").json() == []


def test_manual_key_is_issued_once(operator: Page, served: Site, axe: str) -> None:
    """A key is copied once; a reload issues none, and its first call appears."""
    operator.wait_for_url("**/overview")
    operator.goto(operator.url.replace("overview", "segment/connect"))
    operator.get_by_role("link", name="ProsperStack's destination").click()
    operator.get_by_label("Name").fill("Website")
    operator.get_by_role("button", name="Issue key").click()
    key = operator.locator("#secret").inner_text()
    assert faults(operator, axe) == []
    operator.get_by_role("button", name="Copy the key").click()
    expect(operator.get_by_text(re.compile("Copied|Selected"))).to_be_visible()
    operator.reload()
    expect(operator.get_by_text("was already shown")).to_be_visible()
    expect(operator.get_by_text("Waiting for the first call…")).to_be_visible()
    served.identify("john.doe@example.com", key=key)

    expect(operator.get_by_text("Received", exact=True)).to_be_visible()
    assert key not in operator.content()
