"""Tests of Segment's own SDKs against this service on a real port."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from segment.analytics.client import Client

from support.processes import command, environment, free_port, started

pytestmark = pytest.mark.whole

KEY = "key_test_sandbox"
JOHN = "john.doe@example.com"
NODE = Path(__file__).parent / "node"


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[str]:
    """URL of a sandbox's API."""
    port = free_port()
    arguments = ["sandbox", "--port", str(port), "--subscribers", "50", "--rate-limit", "10000"]
    with started(arguments, f"http://127.0.0.1:{port}/", tmp_path, tmp_path / "sandbox.log"):
        yield f"http://127.0.0.1:{port}/v1"


@pytest.fixture
def service(tmp_path: Path, sandbox: str) -> Iterator[str]:
    """URL of a service that writes to the sandbox."""
    url = f"http://127.0.0.1:{free_port()}"
    arguments = ["serve", "--port", url.rpartition(":")[2]]
    log = tmp_path / "serve.log"
    with started(arguments, f"{url}/healthz", tmp_path, log, PROSPERSTACK_BASE_URL=sandbox):
        yield url


def until(sandbox: str, expected: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until John's properties are as expected."""
    deadline = time.monotonic() + 15
    while True:
        query = {"email": JOHN}
        found = httpx.get(f"{sandbox}/subscribers", params=query, auth=(KEY, ""), trust_env=False).json()
        values = {each["property"]["key"]: each["value"] for each in found["data"][0]["properties"]}
        if expected(values):
            return
        assert time.monotonic() < deadline, values
        time.sleep(0.05)


@pytest.mark.parametrize("zipped", [False, True])
def test_python_sdk_identifies(service: str, sandbox: str, zipped: bool) -> None:
    """segment-analytics-python identifies through host= and flush(), plain and gzipped, and sees no error."""
    errors: list[Exception] = []
    client = Client(KEY, host=service, gzip=zipped, max_retries=0, on_error=lambda error, _: errors.append(error))
    client.track("python-1", "Something happened")
    client.identify("python-1", {"email": JOHN, "preferred_name": "Python", "odd": float("nan")})
    client.identify("python-1", {"number_of_contacts": 6})  # an ID alone: its email is known
    client.flush()
    client.join()

    assert errors == []
    until(sandbox, lambda values: values["preferred_name"] == "Python" and values["number_of_contacts"] == 6)


def test_python_sdk_reports_wrong_key(service: str) -> None:
    """The SDK gets one error for a wrong write key, in its own form."""
    errors: list[Exception] = []
    client = Client("not-a-key", host=service, max_retries=0, on_error=lambda error, _: errors.append(error))
    client.identify("python-1", {"email": JOHN})
    client.flush()
    client.join()

    assert len(errors) == 1
    assert "The API key is not known" in str(errors[0])


def in_node(folder: Path, script: str, *arguments: str) -> None:
    """Run a script of `NODE` with its pinned packages."""
    if shutil.which("npm") is None:
        assert os.environ.get("CI") != "true", "CI needs Node.js: it runs Segment's SDKs"
        pytest.skip("npm is not installed, so Segment's SDKs for JavaScript are not tested")
    for name in ("package.json", "package-lock.json", ".npmrc", script):
        shutil.copy(NODE / name, folder / name)
    for words in (["npm", "ci", "--no-audit", "--no-fund"], ["node", script, *arguments]):
        result = subprocess.run(  # noqa: S603 -- the tools of the machine, on our own file
            words, cwd=folder, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr


def test_react_native_uploader_identifies(service: str, sandbox: str, tmp_path: Path) -> None:
    """The uploader of @segment/analytics-react-native identifies with a public key without origins."""
    opened = httpx.post(f"{service}/identify", json={"email": JOHN}, auth=(KEY, ""), trust_env=False)
    assert opened.status_code == 202
    issued = subprocess.run(  # noqa: S603 -- our own command
        command("keys", "issue", "--public", "--json"),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    key = json.loads(issued.stdout)["key"]
    in_node(tmp_path, "identify-react-native.js", service, key, JOHN)

    until(sandbox, lambda values: values["preferred_name"] == "Native" and values["number_of_contacts"] == 8)


def test_node_sdk_identifies(service: str, sandbox: str, tmp_path: Path) -> None:
    """@segment/analytics-node identifies through host and closeAndFlush(), and sees no error."""
    in_node(tmp_path, "identify.js", service, KEY, JOHN)

    until(
        sandbox,
        lambda values: (
            (values["preferred_name"], values["number_of_contacts"], values["is_professional"]) == ("Node", 7, True)
        ),
    )
