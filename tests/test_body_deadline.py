"""A body that does not come in time."""

import asyncio
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prosperstack_destination.app import create_app
from prosperstack_destination.middleware import BodyDeadline
from support.service import settings

pytestmark = pytest.mark.anyio

PIECE: Message = {"type": "http.request", "body": b"x", "more_body": True}
LAST: Message = {"type": "http.request", "body": b"y", "more_body": False}


async def answered(app: ASGIApp, messages: list[Message], path: str = "/") -> list[Message]:
    """Send these messages and no more; return what is answered."""
    sent: list[Message] = []
    coming = iter(messages)

    async def receive() -> Message:
        message = next(coming, None)
        if message is None:
            await asyncio.Event().wait()
        return message or {}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "http_version": "1.1",
        "scheme": "http",
        "root_path": "",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8700),
    }
    await app(scope, receive, send)
    return sent


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(body)(scope, receive, send)


async def test_a_body_in_time_is_read() -> None:
    """A body that comes in pieces, in time, is the application's as it was sent."""
    [_, body] = await answered(BodyDeadline(echo, 20), [PIECE, LAST])

    assert body["body"] == b"xy"


async def test_the_end_of_the_connection_is_waited_for_without_limit() -> None:
    """After the body no time is limited: an answer without an end waits for its reader to leave."""

    async def waits(_: Scope, receive: Receive, __: Send) -> None:
        await receive()
        await asyncio.wait_for(receive(), 0.2)

    with pytest.raises(TimeoutError):
        await answered(BodyDeadline(waits, 0.01), [LAST])


async def test_a_slow_body() -> None:
    """A body of which the rest does not come in time is refused: 408."""
    with pytest.raises(HTTPException, match="did not come within") as raised:
        await answered(BodyDeadline(echo, 0.05), [PIECE])

    assert raised.value.status_code == 408


async def test_the_api_asks_for_the_token_before_it_reads(tmp_path: Path) -> None:
    """A request to the API without a good token is refused before any of its body has come."""
    app = create_app(settings(tmp_path))
    async with app.router.lifespan_context(app):
        start, _ = await answered(app, [], "/api/accounts")

    assert start["status"] == 403
