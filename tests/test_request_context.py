"""What is around every request."""

from pathlib import Path

import pytest
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from prosperstack_destination.middleware import RequestContextMiddleware
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
            assert "content-security-policy" in answer.headers, path


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


async def failing(*messages: Message) -> list[Message]:
    """Run an application that sends messages and fails; return what was sent."""
    sent: list[Message] = []

    async def broken(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        raise ZeroDivisionError

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/identify", "headers": []}
    await RequestContextMiddleware(broken, lambda error: Response(type(error).__name__, 500))(scope, _nothing, send)
    return sent


START: Message = {"type": "http.response.start", "status": 202, "headers": []}


async def test_an_application_that_fails_is_answered() -> None:
    """A fault before the answer is logged with its traceback, and answered; the connection goes on."""
    with capture_logs() as lines:
        start, body = await failing()

    assert (start["status"], body["body"]) == (500, b"ZeroDivisionError")
    assert any(name == b"x-request-id" for name, _ in start["headers"])
    [logged] = [line for line in lines if line["log_level"] == "error"]
    assert isinstance(logged["exc_info"], ZeroDivisionError)


async def test_an_application_that_fails_after_its_answer() -> None:
    """A fault after a complete answer is logged, and the connection goes on."""
    with capture_logs() as lines:
        sent = await failing(START, {"type": "http.response.body", "body": b""})

    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert [line["error"] for line in lines if line["log_level"] == "error"] == ["ZeroDivisionError"]


async def test_a_client_that_leaves() -> None:
    """A request of which the client sends no end is no fault of the application, and is not logged as one."""

    async def reads(_: Scope, __: Receive, ___: Send) -> None:
        raise ClientDisconnect

    async def send(_: Message) -> None:
        raise AssertionError

    scope = {"type": "http", "method": "POST", "path": "/identify", "headers": []}
    with capture_logs() as lines:
        await RequestContextMiddleware(reads, lambda _: Response(""))(scope, _nothing, send)

    assert {line["log_level"] for line in lines} == {"debug"}


@pytest.mark.parametrize("body", [[], [{"type": "http.response.body", "body": b"x", "more_body": True}]])
async def test_an_application_that_fails_within_its_answer(body: list[Message]) -> None:
    """A fault that cuts an answer off is raised: the server has to close the connection."""
    with pytest.raises(ZeroDivisionError):
        await failing(START, *body)


async def _nothing() -> Message:
    raise AssertionError("nobody reads the request")
