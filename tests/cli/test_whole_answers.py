"""Answers leave in one piece, and are what uvicorn would have sent."""

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from prosperstack_destination.cli.whole_answers import WholeAnswers
from support.wire import Wire

pytestmark = pytest.mark.anyio

#: What an application sends, one message after the other.
Messages = list[dict[str, Any]]

CHUNK = b"x" * 50_000


def head(status: int = 200, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(text: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": text, "more_body": more}


LENGTH = (b"content-length", b"5")
PLAIN: Messages = [head(202, LENGTH, (b"content-type", b"text/plain")), body(b"hello")]


async def sent(protocol: type[HttpToolsProtocol], messages: Messages, *requests: bytes) -> Wire:
    """What a server sends in answer to requests, of which each gets these messages from the application."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            await send(dict(message))

    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", interface="asgi3")
    config.load()
    state, wire = ServerState(), Wire()
    state.default_headers = [(b"date", b"Fri, 27 Nov 2026 09:00:00 GMT")]
    connection = protocol(config=config, server_state=state, app_state={})
    connection.connection_made(wire)
    for request in requests:
        if wire.closed:
            break
        connection.data_received(request)
        while state.tasks:
            await asyncio.gather(*state.tasks)
    connection.connection_lost(None)
    return wire


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"
EXPECTANT = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"


async def test_head_and_body_are_one_piece() -> None:
    """Each answer on a connection is one write, also where two requests came at once."""
    wire = await sent(WholeAnswers, PLAIN, GET, GET + LAST)

    assert len(wire.pieces) == 3
    assert all(piece.startswith(b"HTTP/1.1 202 Accepted\r\n") for piece in wire.pieces)
    assert all(piece.endswith(b"\r\n\r\nhello") for piece in wire.pieces)
    assert wire.closed


@pytest.mark.parametrize("request_text", [GET, LAST, OLD, EXPECTANT + b"x", b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"])
@pytest.mark.parametrize(
    "messages",
    [
        PLAIN,
        [head(200, LENGTH), body(b"he", more=True), body(b"llo")],
        [head(200), body(b"hello")],
        [head(200), body(CHUNK, more=True), body(CHUNK)],
        [head(204), body()],
        [head(304), body()],
        [head(200, LENGTH, (b"connection", b"close")), body(b"hello")],
        [head(200, LENGTH, (b"transfer-encoding", b"chunked")), body(b"hello")],
        [head(200, (b"content-length", b"4")), body(b"hello")],
        [head(200, (b"content-length", b"6")), body(b"hello")],
        [head(200, LENGTH, (b"x-odd", b"a\r\nb: c")), body(b"hello")],
        [head(200, LENGTH)],
        [head(200)],
        [body(b"hello")],
        [*PLAIN, body(b"again")],
        [head(200, LENGTH), head(200, LENGTH), body(b"hello")],
        [],
    ],
)
async def test_every_answer_is_what_uvicorn_would_have_sent(messages: Messages, request_text: bytes) -> None:
    """Whatever an application sends, the other end sees the same, but for what only fails after its head."""
    wire = await sent(WholeAnswers, messages, request_text, GET)
    expected = await sent(HttpToolsProtocol, messages, request_text, GET)

    if b"".join(wire.pieces) != b"".join(expected.pieces):
        # uvicorn had sent a head, with no way back, when the application broke off or said too much.
        assert messages[-1]["type"] == "http.response.start"
        assert b"500 Internal Server Error" in b"".join(wire.pieces)
    assert wire.closed == expected.closed


async def test_whoever_hangs_up_meanwhile_is_sent_nothing() -> None:
    """Between a request and its answer the connection may be gone: that is no fault of ours to be logged."""
    wire = Wire()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        wire.close()
        for message in PLAIN:
            await send(message)

    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", interface="asgi3")
    config.load()
    state = ServerState()
    connection = WholeAnswers(config=config, server_state=state, app_state={})
    connection.connection_made(wire)
    connection.data_received(GET)
    await asyncio.gather(*state.tasks)  # nothing is raised
    connection.connection_lost(None)

    assert wire.pieces == []
