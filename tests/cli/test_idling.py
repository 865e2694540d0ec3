"""Idle connections are closed, when uvicorn would have closed them."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import pytest
import uvicorn
from hypothesis import example, given
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from prosperstack_destination.cli.idling import Idling
from support.timers import HandMovedLoop
from support.wire import Wire

pytestmark = pytest.mark.anyio

GET: Final = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE: Final = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000
KEPT_FOR: Final = 5


class Connection:
    """A connection to a server by whose clock time passes as it is told to."""

    def __init__(self, protocol: type[HttpToolsProtocol]) -> None:
        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            lifespan="off",
            interface="asgi3",
            timeout_keep_alive=KEPT_FOR,
        )
        config.load()
        self.loop = HandMovedLoop()
        self.state = ServerState()
        self.wire = Wire()
        self.answers = asyncio.Semaphore(0)
        loop: Any = self.loop
        self.protocol = protocol(config=config, server_state=self.state, app_state={}, _loop=loop)
        self.protocol.connection_made(self.wire)

    async def _app(self, _scope: Any, _receive: Any, send: Any) -> None:
        await self.answers.acquire()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def does(self, step: bytes | float | None) -> bool:
        """Send bytes, let seconds pass, or have the next request answered (None); whether it is open."""
        if step is None:
            self.answers.release()
        elif isinstance(step, float):
            self.loop.passes(step)
        elif not self.wire.closed:
            self.protocol.data_received(step)
        for _ in range(20):  # turns, in which tasks get as far as they can
            await asyncio.sleep(0)
        return not self.wire.closed

    async def ends(self) -> None:
        """Hang up."""
        self.protocol.connection_lost(None)
        for task in self.state.tasks:
            task.cancel()
        await asyncio.gather(*self.state.tasks, return_exceptions=True)


STEPS: Final = st.one_of(
    st.just(GET),
    st.just(GET + GET),
    st.just(LARGE),  # answered before it is there, it has more held back
    st.sampled_from([GET[:20], b"\r\n"]),  # which may break a request off, or spoil it
    st.sampled_from([0.5, 2.0, 4.5, 5.0, 6.0]),
    st.none(),
)


@given(steps=st.lists(STEPS, max_size=20))
@example(steps=[GET, None, GET, 6.0, None, 6.0])  # an answer takes longer than a connection may be idle
@example(steps=[GET, None, GET, 6.0])
@example(steps=[GET, None, GET + GET, None, 6.0])  # it is the second of two requests whose answer does
@example(steps=[GET, None, LARGE, None, GET])
async def test_it_is_closed_when_uvicorn_would_close_it(steps: Sequence[bytes | float | None]) -> None:
    """Whatever comes when, and however long answers take."""
    ours, theirs = Connection(Idling), Connection(HttpToolsProtocol)

    for step in steps:
        assert await ours.does(step) == await theirs.does(step)
        assert (ours.wire.pieces, ours.wire.reading) == (theirs.wire.pieces, theirs.wire.reading)
    assert ours.state.total_requests == theirs.state.total_requests
    await ours.ends()
    await theirs.ends()
    assert ours.loop.waiting == []


async def test_one_timer_for_many_requests() -> None:
    """A connection that is busy sets one about as often as it fires, and not for each request."""
    connection = Connection(Idling)

    for _ in range(100):
        assert await connection.does(GET)
        assert await connection.does(None)
        assert await connection.does(0.5)

    assert len(connection.loop.timers) <= 50 / KEPT_FOR * 2
    assert await connection.does(KEPT_FOR - 0.5 - 0.1)
    assert not await connection.does(0.1)
    await connection.ends()
