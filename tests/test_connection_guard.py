"""Limits on connections, before a real uvicorn on a real socket."""

import asyncio
import re

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from prosperstack_destination.middleware import RequestContextMiddleware
from support.raw_http import PATIENCE_SECONDS, Client, chunked, post, serving

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Each kind of event loop: their transports differ."""
    return "asyncio", {"use_uvloop": request.param}


class App:
    """Answers each request with its path and body; counts those that have begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.release = asyncio.Event()
        self.release.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.begun += 1
        await self.release.wait()
        if scope["path"] == "/unread":
            await PlainTextResponse(b"not read")(scope, receive, send)
            return
        body = await Request(scope, receive).body()
        text = b"x" * 50_000 if scope["path"] == "/large" else scope["path"].encode() + b":" + body
        await PlainTextResponse(text)(scope, receive, send)


@pytest.mark.parametrize(
    "text",
    [
        post("/a", b"body") + post("/b", b"") + post("/c", b"GET / HTTP/1.1\r\n\r\n" * 3),
        b"\r\n\r\n" + post("/a", b"1") + b"\r\n" + post("/b", b"2"),
        b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
        post("/a", b"body").replace(b": 4\r\n", b": " + b"0" * 30 + b"4\r\n") + post("/b"),
        chunked("/a", b"4\r\nbody\r\n4;x=y\r\n\r\n\r\n\r\n0\r\nTrailer: x\r\n\r\n") + post("/b"),
        chunked("/a", b"0\r\n\r\n") + chunked("/b", b"1\r\nx\r\n0\r\n\r\n"),
        post("/a", b"body", "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAA\r\n"),
        post("/a", b"body", "Connection: Upgrade\r\nUpgrade: websocket\r\n") + post("/b"),
        chunked("/a", b"1\r\nx\r\n0\r\n\r\n", "Connection: upgrade\r\nupgrade: h2c\r\n") + post("/b"),
        post("/a", b"x" * 300_000) + post("/b"),
        post("/unread", b"x" * 300_000) + post("/b"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1_000, 1_000_000])
async def test_each_request_is_answered_whatever_pieces_it_comes_in(text: bytes, size: int) -> None:
    """Pipelined, chunked, upgrading: all requests of a connection are answered in order, with their own bodies."""
    size = max(size, len(text) // 500)
    expected = {"a": rb"/a:(body|1|x|\r\n\r\n)*", "b": rb"/b:[2x]?", "c": rb"/c:(GET / HTTP/1.1\r\n\r\n){3}"}
    paths = re.findall(rb"(?:POST|GET) /([a-z]+) ", text)
    async with serving(App()) as connect:
        client = await connect()
        await client.send(*(text[start : start + size] for start in range(0, len(text), size)))
        for path in paths:
            status, body = await client.answer()
            assert status == 200
            wanted = rb"not read" if path == b"unread" else expected[path.decode()]
            assert re.fullmatch(wanted, body), (path, body[:80])


async def test_many_connections_get_their_own_answers() -> None:
    """64 connections that pipeline 20 requests each get each answer where it belongs, and in order."""
    async with serving(App()) as connect:

        async def pipeline(number: int) -> None:
            client = await connect()
            texts = [post(f"/{number}/{n}", f"{number}-{n}".encode() * (n + 1)) for n in range(20)]
            await client.send(b"".join(texts))
            for n in range(20):
                assert await client.answer() == (
                    200,
                    f"/{number}/{n}:".encode() + f"{number}-{n}".encode() * (n + 1),
                )

        await asyncio.gather(*(pipeline(number) for number in range(64)))


async def test_a_fault_leaves_the_connection_open() -> None:
    """Requests that follow one that was answered by 500, on the same connection, are answered."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/fail":
            raise ZeroDivisionError
        await PlainTextResponse(scope["path"])(scope, receive, send)

    with capture_logs() as lines:
        async with serving(RequestContextMiddleware(app, lambda _: PlainTextResponse("fault", 500))) as connect:
            client = await connect()
            await client.send(post("/fail") + post("/next") + post("/fail"))
            answers = [await client.answer() for _ in range(3)]
            await client.send(post("/last"))
            assert await client.answer() == (200, b"/last")

    assert answers == [(500, b"fault"), (200, b"/next"), (500, b"fault")]
    assert len([line for line in lines if line["log_level"] == "error"]) == 2


async def flood(client: Client, text: bytes) -> None:
    """Send without end, as fast as the server reads, and read nothing."""
    while True:
        client.writer.write(text)
        await client.writer.drain()
        await asyncio.sleep(0)


@pytest.mark.parametrize("path", ["/", "/large"])
async def test_pipelined_requests_wait_outside(path: str) -> None:
    """Of a connection that pipelines without end and reads nothing only so much is taken in."""
    app = App()
    app.release.clear()
    async with serving(app) as connect:
        client = await connect()
        request = f"GET {path} HTTP/1.1\r\n\r\n".encode()
        with pytest.raises(TimeoutError):  # the server stops reading
            await asyncio.wait_for(flood(client, request * 5_000), 1)
        assert app.begun == 1
        app.release.set()
        if path == "/large":
            await asyncio.sleep(0.5)
            assert app.begun < 400  # what the sockets' buffers hold of their answers
        for _ in range(500):
            assert (await client.answer())[0] == 200


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, b"GET /" + b"x" * 70_000])
async def test_a_large_head(head: bytes) -> None:
    """A head past 64 KB is refused and its connection closed, whether its end has come or not."""
    for end in (b"", b"\r\n\r\n", b" HTTP/1.1\r\n\r\n"):
        async with serving(App()) as connect:
            client = await connect()
            await client.send(head + end)
            assert (await client.rest()).startswith(b"HTTP/1.1 431 ")


async def test_large_trailers() -> None:
    """Trailers of a chunked body count as its head does."""
    async with serving(App()) as connect:
        client = await connect()
        await client.send(chunked("/a", b"1\r\nx\r\n0\r\n"))
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(flood(client, b"X: " + b"x" * 10_000 + b"\r\n"), PATIENCE_SECONDS)
        assert b" 200 " not in await client.rest()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 "),
        (b"\x16\x03\x01\x02\x00\x01", b"HTTP/1.1 400 "),
        (b"GET / HTTP/1.1\nHost: x\n\n", b"HTTP/1.1 400 "),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.1 405 "),
        (b"CONNECT x:1 HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 "),
        (post("/a").replace(b"Length: 0", b"Length: 0\r\nContent-Length: 5"), b"HTTP/1.1 400 "),
        (post("/a").replace(b"Length: 0", b"Length: +0"), b"HTTP/1.1 400 "),
        (post("/a", headers="Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n", b"HTTP/1.1 400 "),
        (chunked("/a", b"zz\r\n"), b"HTTP/1.1 400 "),
    ],
)
async def test_what_is_no_request_is_refused_at_once(text: bytes, answer: bytes) -> None:
    """The server refuses what it cannot read, and closes."""
    async with serving(App()) as connect:
        client = await connect()
        await client.send(text)
        assert answer in await client.rest()


@pytest.mark.parametrize(
    ("text", "answer", "reason"),
    [
        (b"", b"", None),
        (b"\r\n", b"", None),
        (b"GET / HT", b"HTTP/1.1 408 ", "slow_head"),
        (post("/a", b"body")[:-2], b"", "slow_body"),
        (chunked("/a", b"1\r\n"), b"", "slow_body"),
        (post("/unread", b"body")[:-2], b"HTTP/1.1 200 ", "slow_body"),
    ],
)
async def test_slow_senders_are_closed(text: bytes, answer: bytes, reason: str | None) -> None:
    """A request that does not come in time ends its connection, and so does silence; the log counts the former."""
    limits = {"head_seconds": 0.2, "body_seconds": 0.2, "idle_seconds": 0.2}
    with capture_logs() as lines:
        async with serving(App(), **limits) as connect:
            client = await connect()
            await client.send(text)
            assert (await client.rest())[: len(answer) or 1] == answer
    assert [reason in line for line in lines if line["log_level"] == "warning"] == [True] * (reason is not None)


async def test_an_answer_that_nobody_reads() -> None:
    """A connection whose peer reads nothing of its answers is closed in the end."""
    app = App()
    async with serving(app, unread_seconds=0.5) as connect:
        client = await connect()
        with capture_logs() as lines, pytest.raises(ConnectionError):
            await asyncio.wait_for(flood(client, b"GET /large HTTP/1.1\r\n\r\n" * 1_000), PATIENCE_SECONDS)
        assert any(line.get("unread") for line in lines)


async def test_too_many_connections() -> None:
    """Past the limit the connection that has waited longest for a request makes room; those that work stay."""
    app = App()
    app.release.clear()
    with capture_logs() as lines:
        async with serving(app, connections=3) as connect:
            working = await connect()
            await working.send(post("/a"))
            waiting = [await connect(), await connect()]
            await waiting[0].send(b"GET /")
            while not app.begun:  # noqa: ASYNC110 -- the server's own time
                await asyncio.sleep(0.01)
            newest = await connect()
            assert await waiting[1].rest() == b""
            last = await connect()
            assert await newest.rest() == b""
            await last.send(post("/b"))
            app.release.set()
            assert [await each.answer() for each in (working, last)] == [(200, b"/a:"), (200, b"/b:")]
    assert [line["event"] for line in lines if line["log_level"] == "warning"]


async def test_a_limit_that_only_working_connections_reach() -> None:
    """Where no connection waits the newest is refused, and told to come again."""
    app = App()
    app.release.clear()
    async with serving(app, connections=1) as connect:
        working = await connect()
        await working.send(post("/a"))
        while not app.begun:  # noqa: ASYNC110 -- the server's own time
            await asyncio.sleep(0.01)
        refused = await connect()
        assert (await refused.rest()).startswith(b"HTTP/1.1 503 ")
        app.release.set()
        assert await working.answer() == (200, b"/a:")
