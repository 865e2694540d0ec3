"""What is around every request."""

from pathlib import Path

import pytest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from prosperstack_destination.watching.scope import RequestScope, with_the_usual
from support.service import KEY, running, settings

pytestmark = pytest.mark.anyio


async def test_every_answer_is_safe_in_a_browser(tmp_path: Path) -> None:
    """Whatever is asked for, the answer may be neither framed, guessed at nor kept; and it names its request."""
    async with running(settings(tmp_path)) as service:
        for path in ("/healthz", "/metrics", "/no/such/page", "/identify", "/data-connector/x", "/docs"):
            answer = await service.client.get(path)
            assert answer.headers["x-content-type-options"] == "nosniff", path
            assert answer.headers["x-frame-options"] == "DENY", path
            assert answer.headers["cache-control"] == "no-store", path
            assert len(answer.headers["x-request-id"]) == 16, path
            assert ("content-security-policy" in answer.headers) == (path != "/docs"), path


def test_what_an_answer_says_itself_is_not_said_twice() -> None:
    """Its own headers stay as they are, and in their order; what it leaves out comes after them."""
    own = [(b"cache-control", b"max-age=60"), (b"content-type", b"text/html"), (b"set-cookie", b"a=b")]

    headers = with_the_usual([*own, (b"set-cookie", b"c=d")])

    assert headers[:4] == (*own, (b"set-cookie", b"c=d"))
    assert [name for name, _ in headers[4:]] == [b"x-content-type-options", b"referrer-policy", b"x-frame-options"]


@pytest.mark.parametrize(
    ("given", "taken"), [("abc-1", True), ("a b", False), ('x","level":"', False), ("a" * 65, False)]
)
async def test_the_callers_own_id(tmp_path: Path, given: str, taken: bool) -> None:
    """A caller may name its request, by what cannot be anything else in a log."""
    async with running(settings(tmp_path)) as service:
        answer = await service.client.get("/healthz", headers={"X-Request-Id": given})

    assert (answer.headers["x-request-id"] == given) is taken


async def test_a_line_a_call(tmp_path: Path) -> None:
    """Each request is one line at debug: its route, its status and its time, and nothing that may be a secret."""
    async with running(settings(tmp_path)) as service:
        with capture_logs() as lines:
            await service.identify("ann@example.com", key=KEY, query="?explain=true")
            await service.client.get(f"/{KEY}/ann@example.com")
            await service.client.post("/data-connector/psc_secret")
    answered = [line for line in lines if line["event"] == "answered"]

    assert [(each["method"], each["route"], each["status"]) for each in answered] == [
        ("POST", "/identify", 200),
        ("GET", "other", 404),
        ("POST", "/data-connector", 401),
    ]
    assert {each["log_level"] for each in answered} == {"debug"}
    assert not any(secret in str(lines) for secret in ("ann@", KEY, "psc_secret"))


@pytest.mark.parametrize("began", [False, True])
async def test_an_application_that_fails(began: bool) -> None:
    """Who asked is answered once, in words, and the fault is raised for the server's log all the same."""
    sent: list[Message] = []

    async def broken(_scope: Scope, _receive: Receive, send: Send) -> None:
        if began:
            await send({"type": "http.response.start", "status": 202, "headers": []})
        raise ZeroDivisionError

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/identify", "headers": []}
    around = RequestScope(broken, lambda error: Response(type(error).__name__, 500))
    with pytest.raises(ZeroDivisionError):
        await around(scope, _nothing, send)

    statuses = [message["status"] for message in sent if message["type"] == "http.response.start"]
    assert statuses == ([202] if began else [500])
    assert any(name == b"x-request-id" for name, _ in sent[0]["headers"])
    assert began or sent[1]["body"] == b"ZeroDivisionError"


async def _nothing() -> Message:
    raise AssertionError("nobody reads the request")
