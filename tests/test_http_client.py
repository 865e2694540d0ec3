"""The HTTP client on the network: its errors, its addresses, and what it does not keep."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from prosperstack_destination.http_client import create_http_client, read_body
from support.processes import free_port

pytestmark = pytest.mark.anyio

Answer = Callable[[bytes], bytes]


@asynccontextmanager
async def _server(answer: Answer) -> AsyncIterator[str]:
    """Serve each request what ``answer`` returns for its head, and close the connection where that is nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await _head(reader):
                writer.write(answer(head))
                if not answer(head):
                    break
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def _ok(*headers: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", "Content-Length: 2", *headers, "", "{}"]).encode()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", httpx.RemoteProtocolError),
        (b"no HTTP at all\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", httpx.RemoteProtocolError),
    ],
    ids=["nothing", "no HTTP", "endless header", "invalid length"],
)
async def test_broken_answers_are_protocol_errors(answer: bytes, error: type[Exception]) -> None:
    """A server that closes the connection, or speaks no HTTP, raises an error of httpx."""
    async with _server(lambda _: answer) as url, create_http_client(None) as http:
        with pytest.raises(error):
            await http.patch(url)


async def test_short_body_is_an_error_of_httpx() -> None:
    """A body that ends early raises an error of httpx, and does not count as a shorter body."""
    short = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n{}"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _head(reader)
        writer.write(short)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, create_http_client(None) as http:
        with pytest.raises(httpx.TransportError):
            await http.get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")


async def test_refused_connection_is_a_connect_error() -> None:
    """A port that refuses raises `httpx.ConnectError`."""
    async with create_http_client(None) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(f"http://127.0.0.1:{free_port()}")


async def test_silent_server_is_a_timeout() -> None:
    """A server that accepts and never answers raises `httpx.TimeoutException`."""
    silent = asyncio.Event()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await silent.wait()
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, create_http_client(None) as http:
        with pytest.raises(httpx.TimeoutException):
            await http.get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=0.05)
        silent.set()


async def test_no_cookie_is_kept() -> None:
    """A cookie of one answer is not sent with the next request: all accounts share the client."""
    heads: list[bytes] = []

    def answer(head: bytes) -> bytes:
        heads.append(head)
        return _ok("Set-Cookie: session=secret; Path=/")

    async with _server(answer) as url, create_http_client(None) as http:
        await http.get(url)
        await http.get(url)

    assert len(heads) >= 2
    assert not any(b"cookie" in head.lower() for head in heads)


@pytest.mark.parametrize("path", ["/v1/subscribers/a%2Fb%20c", "/v1/subscribers?email=a%2Bb%40c.d&x%5Bgte%5D=1"])
async def test_address_arrives_as_it_was_written(path: str) -> None:
    """Escapes in a path and a query reach the server unchanged: ids and emails may have any character."""
    heads: list[bytes] = []

    def answer(head: bytes) -> bytes:
        heads.append(head)
        return _ok()

    async with _server(answer) as url, create_http_client(None) as http:
        await http.get(url + path)

    received = httpx.URL(url + heads[0].split()[1].decode())
    sent = httpx.URL(url + path)
    assert received.raw_path.partition(b"?")[0] == sent.raw_path.partition(b"?")[0]
    assert received.params == sent.params


async def test_compressed_body_is_not_inflated() -> None:
    """The client leaves a compressed body as it is, for `read_body` to refuse."""
    body = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"
    async with _server(lambda _: body) as url, create_http_client(None) as http:
        response = await http.send(http.build_request("GET", url), stream=True)
        with pytest.raises(Exception, match="compressed"):
            await read_body(response)
        await response.aclose()


async def test_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests go to the proxy that the environment names."""
    heads: list[bytes] = []

    def answer(head: bytes) -> bytes:
        heads.append(head)
        return _ok()

    async with _server(answer) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("NO_PROXY", "")
        async with create_http_client(None) as http:
            await http.get("http://prosperstack.invalid/v1")

    assert heads[0].startswith(b"GET http://prosperstack.invalid/v1")


_OK_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "flood"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2_000),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" * 1_000),
        (_OK_CHUNKED + b"1", b";a" * 30_000),
        (_OK_CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: y\r\n" * 10_000),
        (_ok(), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 1_000),
    ],
    ids=["interim responses", "early hints", "chunk extension", "trailers", "responses without a request"],
)
async def test_endless_framing_ends_the_connection(head: bytes, flood: bytes) -> None:
    """A server that sends without end what is no body loses its connection after some MB."""
    sent = 0
    lost = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await _head(reader)
        writer.write(head)
        try:
            while sent < 200 * 1024**2:
                writer.write(flood)
                await writer.drain()
                sent += len(flood)
        except ConnectionError:
            lost.set()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, create_http_client(None) as http:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with contextlib.suppress(httpx.TransportError):
            async with http.stream("PATCH", url) as response:
                await read_body(response)
        await asyncio.wait_for(lost.wait(), 20)

    assert sent < 64 * 1024**2


async def test_large_body_arrives_whole() -> None:
    """A body of nearly the largest size arrives, on a connection that has served others before."""
    body = b"[" + b" " * 8_000_000 + b"]"
    answers = [_ok(), b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body), _ok()]
    async with _server(lambda _: answers[0]) as url, create_http_client(None) as http:
        for expected in (b"{}", body, b"{}"):
            async with http.stream("GET", url) as response:
                assert await read_body(response) == expected
            answers.pop(0)
            if not answers:
                break
