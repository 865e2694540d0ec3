"""Tests of the commands in processes of their own."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import httpx
import pytest

from prosperstack_destination import __version__
from prosperstack_destination.cli import main
from prosperstack_destination.ingest.documented_call import DOCUMENTED_CALL
from support.processes import command, environment, free_port, started

pytestmark = pytest.mark.whole

KEY = "key_test_sandbox"
JOHN = "john.doe@example.com"

Process = AbstractContextManager["subprocess.Popen[bytes]"]


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[str]:
    """The URL of a sandbox's API."""
    port = free_port()
    arguments = ["sandbox", "--port", str(port), "--subscribers", "50", "--rate-limit", "1000"]
    with started(arguments, f"http://127.0.0.1:{port}/", tmp_path, tmp_path / "sandbox.log"):
        yield f"http://127.0.0.1:{port}/v1"


@pytest.fixture
def port() -> int:
    return free_port()


def serving(tmp_path: Path, port: int, **settings: str) -> Process:
    url = f"http://127.0.0.1:{port}/healthz"
    return started(["serve", "--port", str(port)], url, tmp_path, tmp_path / "serve.log", **settings)


def operate(tmp_path: Path, *arguments: str, typed: str = "") -> "subprocess.CompletedProcess[str]":
    """Run an operator's command as `run` does, but in this process, which is faster."""
    with chdir(tmp_path), pytest.MonkeyPatch.context() as patch:
        out, err, code = io.StringIO(), io.StringIO(), 0
        for name in set(os.environ) - set(environment()):
            patch.delenv(name)
        patch.setenv("COLUMNS", environment()["COLUMNS"])
        patch.setattr(sys, "argv", ["prosperstack-destination", *arguments])
        patch.setattr(sys, "stdin", io.StringIO(typed))
        with redirect_stdout(out), redirect_stderr(err):
            try:
                main()
            except SystemExit as end:
                code = int(end.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def run(tmp_path: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 -- our own command
        command(*arguments), cwd=tmp_path, env=environment(**settings), capture_output=True, text=True, check=False
    )


def send(tmp_path: Path, port: int, sandbox: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    to = f"http://127.0.0.1:{port}/identify"
    return run(tmp_path, "send", *arguments, "--to", to, "--prosperstack-url", sandbox)


def john(sandbox: str) -> dict[str, Any]:
    answer = httpx.get(f"{sandbox}/subscribers", params={"email": JOHN}, auth=(KEY, ""), trust_env=False).json()
    return {each["property"]["key"]: each["value"] for each in answer["data"][0]["properties"]}


def test_version_is_printed(tmp_path: Path) -> None:
    """--version prints the version and nothing else."""
    assert run(tmp_path, "--version").stdout.strip() == __version__


def test_send_shows_changed_properties(tmp_path: Path, sandbox: str, port: int) -> None:
    """send posts the documented example, and shows the answer and the properties before and after."""
    with serving(tmp_path, port, PROSPERSTACK_BASE_URL=sandbox):
        sent = send(tmp_path, port, sandbox)

    assert sent.returncode == 0, sent.stderr
    assert "202" in sent.stdout
    assert ["number_of_contacts", "120", "5800"] in [line.split() for line in sent.stdout.splitlines()]
    assert john(sandbox)["preferred_name"] == "Johnny"


def test_send_does_not_wait_for_equal_values(tmp_path: Path, sandbox: str, port: int) -> None:
    """`send` of values that ProsperStack has reports this, and does not wait for a change."""
    with serving(tmp_path, port, PROSPERSTACK_BASE_URL=sandbox):
        first = send(tmp_path, port, sandbox)
        begun = time.monotonic()
        again = send(tmp_path, port, sandbox, "--wait", "60")
        took = time.monotonic() - begun

    assert "has these values already" not in first.stdout
    assert "ProsperStack has these values already" in again.stdout
    assert took < 30


def test_send_reads_files(tmp_path: Path, sandbox: str, port: int) -> None:
    """`send` reads JSONL and JSON; refused calls are shown with their messages, and it fails."""
    calls = [{"email": JOHN, "traits": {"preferred_name": f"{n}"}} for n in range(30)]
    (tmp_path / "calls.jsonl").write_text("\n".join(map(json.dumps, calls)) + "\n\n")
    (tmp_path / "calls.json").write_text(json.dumps([{"email": JOHN}, {"traits": {}}]))
    (tmp_path / "broken.jsonl").write_text('{"email": "a@b.c"}\n{"email"\n')
    with serving(tmp_path, port, PROSPERSTACK_BASE_URL=sandbox):
        good = send(tmp_path, port, sandbox, "calls.jsonl")
        mixed = send(tmp_path, port, sandbox, "calls.json", "--wait", "0")
        broken = send(tmp_path, port, sandbox, "broken.jsonl")
    away = send(tmp_path, port, sandbox, "--wait", "0")

    assert (good.returncode, "30  202" in good.stdout) == (0, True), good.stdout
    assert mixed.returncode == 1
    assert "Missing email address" in mixed.stdout
    assert broken.returncode == 1
    assert "broken.jsonl, line 2, is not JSON" in broken.stderr
    assert away.returncode == 1
    assert "Start it with `serve`" in away.stdout


def test_kill_between_accept_and_delivery_loses_nothing(tmp_path: Path, sandbox: str, port: int) -> None:
    """A call that a killed process accepted is delivered by the next process."""
    own = {"PROSPERSTACK_API_KEY": KEY, "SEGMENT_KEYS": "segment-1"}
    nowhere = f"http://127.0.0.1:{free_port()}/v1"
    with serving(tmp_path, port, PROSPERSTACK_BASE_URL=nowhere, **own) as process:
        call = {"traits": {"email": JOHN, "preferred_name": "kept"}}
        url = f"http://127.0.0.1:{port}/identify"
        assert httpx.post(url, json=call, auth=("segment-1", ""), trust_env=False).status_code == 202
        process.send_signal(signal.SIGKILL)

    with serving(tmp_path, port, PROSPERSTACK_BASE_URL=sandbox, **own):
        deadline = time.monotonic() + 20  # the lease of the killed process lasts for five
        while john(sandbox)["preferred_name"] != "kept":
            assert time.monotonic() < deadline
    assert john(sandbox)["preferred_name"] == "kept"


def test_service_stops_within_ten_seconds(tmp_path: Path, port: int) -> None:
    """SIGTERM stops the service in time, even if ProsperStack does not answer."""
    silent = free_port()
    with serving(
        tmp_path, port, PROSPERSTACK_BASE_URL=f"http://127.0.0.1:{silent}/v1", PROSPERSTACK_API_KEY=KEY
    ) as process:
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(15)

    assert time.monotonic() - begun < 10
    assert process.returncode == 0  # a requested stop is no failure


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"PORT": "many"}, "PORT"),
        ({"RATE_LIMIT_RESERVE": "2"}, "RATE_LIMIT_RESERVE"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY is shorter"),
        ({"DATABASE_URL": "mysql://localhost/x"}, "DATABASE_URL"),
    ],
)
def test_invalid_setting_stops_the_start(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    """An invalid setting is reported by name, and the service does not start."""
    result = run(tmp_path, "serve", **settings)

    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_printed_commands_can_be_pasted(tmp_path: Path, port: int, number: signal.Signals) -> None:
    """The printed command changes a subscriber. The sandbox ends with the service, and keeps its data."""
    sandbox_port = free_port()
    sandbox = f"http://127.0.0.1:{sandbox_port}/v1"
    arguments = ["serve", "--port", str(port), "--with-sandbox", "--sandbox-port", str(sandbox_port)]
    url, log = f"http://127.0.0.1:{port}/readyz", tmp_path / "serve.log"
    with started(arguments, url, tmp_path, log) as process:
        [line] = [line for line in log.read_text().splitlines() if line.startswith("  curl -u")]
        pasted = subprocess.run(  # noqa: S602 -- as a newcomer would
            line, shell=True, capture_output=True, text=True, check=True
        )
        deadline = time.monotonic() + 10
        while john(sandbox)["preferred_name"] != "Johnny":
            assert time.monotonic() < deadline
        process.send_signal(number)
        process.wait(15)
    with pytest.raises(httpx.TransportError):
        httpx.get(sandbox, trust_env=False)
    with started(arguments, url, tmp_path, log):
        remembered = john(sandbox)

    assert pasted.stdout == '{"message":"Accepted."}'
    assert remembered["number_of_contacts"] == 5800


def test_journal_of_another_sandbox_is_rejected(tmp_path: Path) -> None:
    """A journal of other subscribers is rejected with advice."""
    (tmp_path / "journal.jsonl").write_text('{"subscribers": 7, "seed": 1}\n')
    result = run(tmp_path, "sandbox", "--port", str(free_port()), "--journal", "journal.jsonl")

    assert result.returncode == 1
    assert "delete the file" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_port_for_operators(tmp_path: Path, port: int) -> None:
    """With ADMIN_PORT operators have a port of their own; a page that is watched does not hold up the end."""
    admin = free_port()
    with (
        started(
            ["serve", "--port", str(port)],
            f"http://127.0.0.1:{admin}/readyz",
            tmp_path,
            tmp_path / "serve.log",
            ADMIN_PORT=str(admin),
            ADMIN_PASSWORD="long enough",
            PROSPERSTACK_BASE_URL="http://127.0.0.1:9/v1",
            PROSPERSTACK_API_KEY="key_test_x",
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{admin}") as client,
    ):
        client.post("/dashboard/login", data={"password": "long enough"})
        overview = client.get("/dashboard").headers["location"]
        assert httpx.get(f"http://127.0.0.1:{port}{overview}").status_code == 404
        with client.stream("GET", f"{overview}/live") as live:
            assert next(live.iter_lines()).startswith("retry")
            process.terminate()
            begun = time.monotonic()
            process.wait(30)

    assert time.monotonic() - begun < 10
    assert f"http://127.0.0.1:{admin}/dashboard" in (tmp_path / "serve.log").read_text()


def test_used_port_is_reported(tmp_path: Path, port: int) -> None:
    """A port in use is reported with advice."""
    with serving(tmp_path, port):
        result = run(tmp_path, "serve", "--port", str(port))

    assert result.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{port}" in result.stderr


def test_applied_mapping_changes_stored_profiles(tmp_path: Path, sandbox: str, port: int) -> None:
    """Rules that are applied while the service runs apply to stored profiles."""
    (tmp_path / "mapping.yaml").write_text("rules:\n  - {property: preferred_name, trait: nickname}\n")
    (tmp_path / "wrong.yaml").write_text("rules:\n  - {property: preferred_name, form: nickname}\n")
    with serving(tmp_path, port, PROSPERSTACK_BASE_URL=sandbox):
        (tmp_path / "call.json").write_text(
            json.dumps({"email": JOHN, "traits": {"nickname": "Jo", "number_of_contacts": 1}})
        )
        send(tmp_path, port, sandbox, "call.json")
        assert john(sandbox)["preferred_name"] == "John"

        applied = operate(tmp_path, "mappings", "apply", "mapping.yaml", "--author", "me")
        deadline = time.monotonic() + 10
        while john(sandbox)["preferred_name"] != "Jo":
            assert time.monotonic() < deadline
        shown = operate(tmp_path, "mappings", "show")
        wrong = operate(tmp_path, "mappings", "apply", "wrong.yaml")

    assert "Version 1 is applied" in applied.stdout
    assert "# version 1, by me" in shown.stdout
    assert "trait: nickname" in shown.stdout
    assert wrong.returncode == 1
    assert "wrong.yaml:2:32: rules[0].form: there is no key 'form' here: did you mean from?" in wrong.stderr


def test_sandbox_start_errors_have_advice(tmp_path: Path, port: int) -> None:
    """A used sandbox port and an unusable data folder are reported without a traceback."""
    (tmp_path / "file").write_text("")
    serve = ["serve", "--port", str(port), "--with-sandbox"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = run(tmp_path, *serve, "--sandbox-port", str(taken.getsockname()[1]))
    unusable = run(tmp_path, *serve, "--sandbox-port", str(free_port()), DATA_DIR=str(tmp_path / "file"))

    assert "Choose another port with --sandbox-port" in busy.stderr
    assert "it is not a folder" in unusable.stderr
    for result in (busy, unusable):
        assert (result.returncode, "Traceback" in result.stderr) == (1, False)


def test_ipv6_urls_are_printed(tmp_path: Path, port: int) -> None:
    """With an IPv6 address, the printed URLs are valid."""
    log = tmp_path / "serve.log"
    url = f"http://[::1]:{port}"
    with started(["serve", "--host", "::1", "--port", str(port)], f"{url}/healthz", tmp_path, log):
        assert f"{url}/dashboard" in log.read_text()


def test_mappings_need_an_account(tmp_path: Path) -> None:
    """Without an account, `mappings` reports that there is none."""
    assert "There is no account yet" in operate(tmp_path, "mappings", "show").stderr


def test_log_has_no_secrets(tmp_path: Path, sandbox: str, port: int) -> None:
    """The log has no emails, keys, tokens or signatures, at any level and on any route."""
    settings = {"PROSPERSTACK_BASE_URL": sandbox, "LOG_LEVEL": "debug", "LOG_FORMAT": "json"}
    with serving(tmp_path, port, **settings):
        send(tmp_path, port, sandbox)
        send(tmp_path, port, sandbox, "--key", "key_test_wrong", "--wait", "0")
        token = run(tmp_path, "connectors", "issue").stdout.split("/data-connector/")[1].split()[0]
        secret = run(tmp_path, "secrets", "issue").stdout.split()[-1]
        every_route(f"http://127.0.0.1:{port}", token, secret)
        run(tmp_path, "erase", JOHN, "--yes")
        deadline = time.monotonic() + 10
        while "cleared" not in (tmp_path / "serve.log").read_text():
            assert time.monotonic() < deadline

    written = (tmp_path / "serve.log").read_text()
    lines = [json.loads(line) for line in written.splitlines()]
    routes = {line["route"] for line in lines if line["event"] == "answered"}
    assert routes >= {"/identify", "/v1", "/webhook", "/data-connector", "/flow-webhook", "/metrics", "other"}
    assert any(line["event"] == "delivered" and line["level"] == "info" for line in lines)
    assert any(line.get("account", "").startswith("test-") and line["event"] == "answered" for line in lines)
    for hidden in (JOHN, "john.doe", "@", KEY, "key_test", "Johnny", token, secret, "0123456789abcdef"):
        assert hidden not in written.replace(f"http://127.0.0.1:{port}", ""), hidden


def every_route(url: str, token: str, secret: str) -> None:
    """Send valid and invalid requests to each route, with secrets in every part."""
    person = {"data": {"subscriber": {"email": JOHN}}}
    call = {"type": "identify", "userId": JOHN, "traits": {"email": JOHN, "number_of_contacts": "Johnny"}}
    bad = {"traits": {"email": f"{JOHN} {KEY}"}, "userId": {"id": JOHN}}
    signature = {"X-Signature": "0123456789abcdef"}
    with httpx.Client(base_url=url, auth=(KEY, ""), trust_env=False) as client:
        for body in (call, bad, [call, bad], {"type": "delete", "userId": "nobody"}, JOHN):
            client.post("/identify?explain=true", json=body)
            client.post("/identify", json=body)
            client.post("/v1/batch", json={"batch": [body], "writeKey": KEY})
            client.post("/v1/identify", json=body)
            client.post(f"/webhook/{KEY}", json=body, headers=signature)
            client.post(f"/data-connector/{token}", json=body)
            client.post(f"/flow-webhook/{token}", json={"event": "flow_session_started", **person})
        client.post("/identify", content=f'{{"email": "{JOHN}"'.encode())
        client.post(f"/data-connector/{token}", json=person)
        client.post(f"/data-connector/{secret}", json=person)
        client.get(f"/{KEY}/{JOHN}")
        client.get("/metrics", headers={"X-Request-Id": JOHN})


def test_commands_use_the_sandbox_of_the_service(tmp_path: Path, port: int) -> None:
    """`doctor` and `accounts add` use the service's URL and sandbox."""
    arguments = ["serve", "--port", str(port), "--with-sandbox", "--sandbox-port", str(free_port())]
    other = "key_test_mistyped"
    with started(arguments, f"http://127.0.0.1:{port}/readyz", tmp_path, tmp_path / "serve.log"):
        httpx.post(f"http://127.0.0.1:{port}/identify", json=DOCUMENTED_CALL, auth=(KEY, ""), trust_env=False)
        findings = json.loads(operate(tmp_path, "doctor", "--json").stdout)
        refused = operate(tmp_path, "accounts", "add", typed=f"{other}\n")
        again = operate(tmp_path, "accounts", "add", typed=f"{KEY}\n")
        unasked = operate(tmp_path, "accounts", "remove", "--json")
        removed = operate(tmp_path, "accounts", "remove", "--yes")
        left = json.loads(operate(tmp_path, "accounts", "list", "--json").stdout)

    assert [each for each in findings if each["health"] == "failed"] == []
    assert {"service", "database"} <= {each["what"] for each in findings}
    assert (refused.returncode, again.returncode) == (1, 0)
    assert "ProsperStack refuses the API key" in refused.stderr
    assert unasked.returncode == 1
    assert removed.returncode == 0
    assert left == []


def test_credentials_are_issued_and_revoked(tmp_path: Path, sandbox: str, port: int) -> None:
    """An operator opens an account, issues and revokes keys; no list has a whole key."""
    added = operate(tmp_path, "accounts", "add", "--unchecked", "--author", "me", typed=KEY + "\n")
    wrong = operate(tmp_path, "accounts", "add", typed="sk_1\n")
    issued = operate(tmp_path, "keys", "issue", "--name", "segment").stdout.splitlines()[-1]
    secret = operate(tmp_path, "secrets", "issue", "--name", "webhook").stdout.splitlines()[-1]
    with serving(tmp_path, port, PROSPERSTACK_BASE_URL=sandbox, ALLOW_PASS_THROUGH="false"):
        sent = send(tmp_path, port, sandbox, "--key", issued, "--wait", "0")
    fingerprint = operate(tmp_path, "keys", "list").stdout.split("segment")[0].split()[-1]
    operate(tmp_path, "accounts", "set", "--on-delete", "nothing", "--author", "me")
    shown = [
        operate(tmp_path, *words).stdout for words in (["accounts", "list"], ["keys", "list"], ["secrets", "list"])
    ]
    revoked = operate(tmp_path, "keys", "revoke", fingerprint, "--author", "me")
    again = operate(tmp_path, "keys", "revoke", fingerprint)
    sources, trail = operate(tmp_path, "sources").stdout, operate(tmp_path, "audit").stdout

    assert added.stdout.startswith("acct_")
    assert "This is not a ProsperStack API key" in wrong.stderr
    assert sent.returncode == 0, sent.stdout
    assert "nothing" in shown[0]
    assert "issued" in shown[1]
    assert "webhook" in shown[2]
    assert not any(hidden in text for text in shown for hidden in (issued, secret, KEY))
    assert (revoked.returncode, again.returncode) == (0, 1)
    assert "source" in sources
    for action in ("register account", "issue key", "issue secret", "set", "revoke key"):
        assert action in trail
