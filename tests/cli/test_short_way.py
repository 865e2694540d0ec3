"""Plain calls take a short way, on which everything is as on the long one."""

import logging
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
import uvicorn
from pydantic_core import to_json
from uvicorn.server import ServerState

from prosperstack_destination.cli.short_way import ShortWay
from prosperstack_destination.settings import Settings
from support.service import running, settings
from support.wire import Wire

pytestmark = pytest.mark.anyio

#: Basic authentication with the key that the sandbox knows.
KEY = b"Authorization: Basic a2V5X3Rlc3Rfc2FuZGJveDo=\r\n"
BAD_KEY = b"Authorization: Basic a2V5X3Rlc3RfYmFkOg==\r\n"


@pytest.fixture(autouse=True)
def _log_as_in_production() -> Iterator[None]:
    """With a line for each request at debug none takes the short way: its line has to be the same."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    yield
    structlog.reset_defaults()


def call(email: str | None = "ann@example.com", **fields: Any) -> bytes:
    traits = {} if email is None else {"email": email, "plan": "pro"}
    return to_json({"type": "identify", "traits": traits, **fields})


def post(
    body: bytes, *headers: bytes, key: bytes = KEY, path: bytes = b"/identify", method: bytes = b"POST"
) -> bytes:
    head = b"%b %b HTTP/1.1\r\nHost: x\r\n%b" % (method, path, key)
    return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, b"".join(headers), len(body), body)


class Server:
    """The service behind uvicorn's protocol, without a network."""

    def __init__(self, app: Any, *, short: bool, other_port: int | None = None) -> None:
        self._config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
        self._config.load()
        self._take_plain = app.state.take_plain
        self._short = short
        #: Requests that took the short way.
        self.taken = 0
        self._other_port = other_port
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"today")]

    def connect(self) -> tuple[ShortWay, Wire]:
        """A new connection."""
        wire = Wire()
        connection = ShortWay(
            config=self._config,
            server_state=self.state,
            app_state={},
            take_plain=self._take if self._short else None,
            other_port=self._other_port,
        )
        connection.connection_made(wire)
        return connection, wire

    def _take(self, *request: Any) -> bool:
        taken: bool = self._take_plain(*request)
        self.taken += taken
        return taken

    async def ask(self, *pieces: bytes, answers: int = 1) -> tuple[bytes, int]:
        """What is answered on a new connection to what comes in these pieces; how many took the short way."""
        connection, wire = self.connect()
        before = self.taken
        for piece in pieces:
            connection.data_received(piece)
        await wire.answered(answers)
        said = re.sub(rb"x-request-id: [0-9a-f]{16}\r\n", b"", b"".join(wire.pieces))
        if wire.closed:
            said += b"(hung up)"
        connection.connection_lost(None)
        return said, self.taken - before


@asynccontextmanager
async def serving(folder: Path, *, short: bool, other_port: int | None = None) -> AsyncIterator[Server]:
    async with running(settings(folder)) as service:
        assert isinstance(service.transport, httpx.ASGITransport)
        server = Server(service.transport.app, short=short, other_port=other_port)
        first, taken = await server.ask(post(call("first@example.com")))
        assert (b" 202 " in first, taken) == (True, 0)  # who has the key has to be found out
        yield server


def stored(configured: Settings) -> list[Any]:
    """What is known of people, but for when it came."""
    with sqlite3.connect(configured.data_dir / "destination.db") as database:
        profiles = database.execute("SELECT email, user_id, json_extract(traits, '$.plan[0]') FROM profiles")
        ids = database.execute("SELECT kind, external_id, email FROM identities")
        outcomes = database.execute("SELECT outcome, way, message, size FROM recent_calls")
        return [sorted(rows, key=repr) for rows in (profiles, ids, outcomes)]


#: What is sent, in pieces; how many answers there are to that; and how many of them took the short way.
ASKED: list[tuple[list[bytes], int, int]] = [
    ([post(call())], 1, 1),
    ([post(call(userId="u1", anonymousId="a1"))], 1, 1),
    ([post(call(None, userId="u1"))], 1, 1),
    ([post(call(None, userId="nobody"))], 1, 1),
    ([post(call(), b"X-Request-Id: abc\r\n")], 1, 1),
    ([post(call(), b"X-Request-Id: a b\r\n")], 1, 1),
    ([post(call(), b"Connection: close\r\n")], 1, 1),
    ([post(call(), b"Connection: keep-alive\r\n")], 1, 1),
    ([post(to_json({"type": "delete", "userId": "u1"}))], 1, 1),
    # Two on one connection, one after the other and at once.
    ([post(call()) + post(call())], 2, 1),
    ([post(call()) + post(b"{") + post(call(), b"Connection: close\r\n")], 3, 1),
    # What comes in pieces.
    ([post(call())[:30], post(call())[30:]], 1, 1),
    ([post(call())[:-10], post(call())[-10:]], 1, 0),
    ([post(call())[:-10], post(call())[-10:-5], post(call())[-5:]], 1, 0),
    ([post(call(), b"Expect: 100-continue\r\n")[: -len(call())], call()], 2, 0),
    ([post(call(), b"Expect: 100-continue\r\n")], 2, 0),
    (
        [
            b"POST /identify HTTP/1.1\r\nHost: x\r\n"
            + KEY
            + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        ],
        1,
        0,
    ),
    # What is refused, skipped or asks for more.
    ([post(b"")], 1, 0),
    ([post(b"{")], 1, 0),
    ([post(b"[]")], 1, 0),
    ([post(b"[%b]" % call())], 1, 0),
    ([post(call("no address"))], 1, 0),
    ([post(call(type="track"))], 1, 0),
    ([post(call(integrations={"ProsperStack": False}))], 1, 0),
    ([post(call(filler="x" * 70_000))], 1, 0),
    ([post(call(), b"X-Signature: 00\r\n")], 1, 0),
    ([post(call(), key=b"")], 1, 0),
    ([post(call(), key=BAD_KEY)], 1, 0),
    ([post(call(), key=b"Authorization: Bearer x\r\n")], 1, 0),
    ([post(call(), path=b"/identify?explain=perhaps")], 1, 0),
    ([post(call(), path=b"/identify/")], 1, 0),
    ([post(call(), path=b"/v1/identify")], 1, 0),
    ([post(call(), method=b"PUT")], 1, 0),
    ([post(b"", method=b"GET")], 1, 0),
    ([post(call(), b"Upgrade: h2c\r\nConnection: Upgrade\r\n")], 1, 0),
    ([post(call()).replace(b"HTTP/1.1", b"HTTP/1.0")], 1, 0),
    ([b"nonsense\r\n\r\n"], 1, 0),
]


async def test_both_ways_give_the_same_answers(tmp_path: Path) -> None:
    """Whatever is asked, the answer is the same on the short way as on the long one, and so is what is stored."""
    told: dict[bool, list[tuple[bytes, int]]] = {}
    for short in (False, True):
        async with serving(tmp_path / str(short), short=short) as server:
            told[short] = [await server.ask(*pieces, answers=answers) for pieces, answers, _ in ASKED]

    for (pieces, _, plain), (expected, _), (said, taken) in zip(ASKED, told[False], told[True], strict=True):
        assert (said, taken) == (expected, plain), pieces
    assert stored(settings(tmp_path / "True")) == stored(settings(tmp_path / "False"))


@pytest.mark.parametrize("short", [False, True])
async def test_a_database_that_is_away_is_told(tmp_path: Path, short: bool) -> None:
    """A call that could not be written is to be sent again; afterwards all goes on."""
    async with serving(tmp_path, short=short) as server:
        with sqlite3.connect(settings(tmp_path).data_dir / "destination.db") as database:
            database.execute("ALTER TABLE profiles RENAME TO hidden")
        refused, _ = await server.ask(post(call()))
        with sqlite3.connect(settings(tmp_path).data_dir / "destination.db") as database:
            database.execute("ALTER TABLE hidden RENAME TO profiles")
        accepted, _ = await server.ask(post(call()))

    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: " in refused
    assert accepted.startswith(b"HTTP/1.1 202 ")


async def test_a_port_for_operators_takes_no_calls(tmp_path: Path) -> None:
    """At a port of the operators' own a plain call is what any other is: the application's business."""
    async with serving(tmp_path, short=True, other_port=8700) as server:
        _, taken = await server.ask(post(call()))

    assert taken == 0


async def test_whoever_hangs_up_is_told_nothing(tmp_path: Path) -> None:
    """A call whose sender is gone is kept all the same, and nothing is written to the connection."""
    async with serving(tmp_path, short=True) as server:
        gone, wire = server.connect()
        gone.data_received(post(call("gone@example.com")))
        gone.connection_lost(None)
        await server.ask(post(call()))  # it is answered after the other one, with the same commit

    assert server.taken == 2
    assert wire.pieces == []
    assert ("gone@example.com", None, "pro") in stored(settings(tmp_path))[0]


async def test_a_server_that_stops_answers_first(tmp_path: Path) -> None:
    """A call that was taken in when the server stops is answered, and then the connection is closed."""
    async with serving(tmp_path, short=True) as server:
        connection, wire = server.connect()
        connection.data_received(post(call()))
        connection.shutdown()
        assert not wire.closed
        await wire.answered(1)

    assert b"\r\nconnection: close\r\n" in wire.pieces[0]
    assert wire.closed


async def test_who_takes_in_no_answers_goes_the_long_way(tmp_path: Path) -> None:
    """While answers pile up for a sender that does not read them, the next waits for that as any other does."""
    async with serving(tmp_path, short=True) as server:
        connection, wire = server.connect()
        connection.pause_writing()
        connection.data_received(post(call()))
        taken = server.taken
        connection.resume_writing()
        await wire.answered(1)
        connection.data_received(post(call()))
        await wire.answered(2)

    assert (taken, server.taken) == (0, 1)
