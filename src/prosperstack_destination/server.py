"""uvicorn's configuration and start."""

import asyncio
import errno
import gc
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from prosperstack_destination.connection_guard import ConnectionGuard, Limits
from prosperstack_destination.errors import ConfigurationError

if sys.platform != "win32":
    import resource

#: Requests in flight have this long when the service stops, in seconds; then it commits and closes.
GRACEFUL_SECONDS: Final = 3
#: Segment keeps connections open. Longer than a load balancer's time-out (often 60), in seconds.
KEEP_ALIVE_SECONDS: Final = 65
#: Objects more than before that make Python look for garbage. With its default, 700, it does so every few calls;
#: with 20,000 it took up to 27 ms at once, and a cancel flow waited that long.
GARBAGE_THRESHOLD: Final = 2_000
#: A thread that merges a batch of calls, or judges profiles, gives way this soon to the one that answers, in
#: seconds. The default, 5 ms, is half of what a cancel flow may wait, each time that the event loop wakes up.
SWITCH_SECONDS: Final = 0.0004
#: Connections that may be open at once: a share of the files that may be, which leaves the rest to the database and
#: to requests to ProsperStack; and never more than so many, each of which takes some 15 KB.
CONNECTION_SHARE: Final = 0.8
MAX_CONNECTIONS: Final = 10_000
#: How often a start that takes long looks for a signal to stop, in seconds.
_STOP_POLL_SECONDS: Final = 0.1


def listen(host: str, port: int, setting: str = "--port or PORT") -> socket.socket:
    """Open a socket on an address. Raises `ConfigurationError`, which names the ``setting``, where that fails."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        address = url_of(host, port).removeprefix("http://")
        raise ConfigurationError(f"Cannot listen on {address}: {_why_not(error, host, setting)}") from None
    return listening


def url_of(host: str, port: int) -> str:
    """Return the URL of an address; an IPv6 address is in brackets there."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _why_not(error: OSError, host: str, setting: str) -> str:
    """Return a sentence on why a socket cannot listen, with what to change."""
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine. Use 127.0.0.1, or 0.0.0.0 for all of its addresses."
    if error.errno == errno.EACCES:
        return f"the port is reserved for the system ({error.strerror}). Choose one from 1024 on with {setting}."
    return f"{error.strerror}: is the service running already? Choose another port with {setting}."


def serve(
    app: ASGIApp,
    sockets: Sequence[socket.socket],
    *,
    on_started: Callable[[], None] = lambda: None,
    on_stopping: Callable[[], None] = lambda: None,
) -> None:
    """Serve an application until the process receives SIGTERM or SIGINT.

    Calls ``announce`` once requests are answered, and ``stopping`` before the graceful stop: it ends answers that
    have no end of their own. Raises `ConfigurationError` where the application does not start; its log says why.
    """
    limits = Limits(connections=connection_limit(raise_file_limit()), idle_seconds=KEEP_ALIVE_SECONDS)
    server = _Server(configuration(app, limits), announce=on_started, stopping=on_stopping)
    sys.setswitchinterval(SWITCH_SECONDS)
    # Freeze what exists by now: the garbage collector need not traverse it again every few hundred calls.
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    gc.enable()  # the command ``serve`` disables it during imports
    server.run(sockets=list(sockets))
    if not server.started and not server.should_exit:
        raise ConfigurationError("The service could not start; the log above says why.")


def configuration(app: ASGIApp, limits: Limits) -> uvicorn.Config:
    """Return uvicorn's configuration: its own protocol on httptools, behind limits, and uvloop."""
    guard = ConnectionGuard(app, limits, HttpToolsProtocol)
    return uvicorn.Config(
        guard,
        http=guard.protocol,  # type: ignore[arg-type] # uvicorn asks for a class, and calls it
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        ws="none",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the application reads the forwarded headers that it trusts
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        # The guard closes idle connections. uvicorn does not see the beginning of a head, and must not close on it.
        timeout_keep_alive=int(limits.idle_seconds + 2 * limits.head_seconds) + 1,
    )


def raise_file_limit() -> int | None:
    """Raise the limit of open files to the hard limit; return it. None where the platform has no such limit."""
    if sys.platform == "win32":
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS refuses "unlimited"
        return soft
    return hard


def connection_limit(files: int | None) -> int:
    """Return how many connections may be open where so many files may be (None: any number)."""
    if files is None:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, int(files * CONNECTION_SHARE)))


class _Server(uvicorn.Server):
    """Reports when it has started and when it is about to stop, and can be stopped while it starts."""

    def __init__(
        self, config: uvicorn.Config, *, announce: Callable[[], None], stopping: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._announce = announce
        self._stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        starting = asyncio.ensure_future(super().startup(sockets))
        while not starting.done() and not self.should_exit:
            await asyncio.wait((starting,), timeout=_STOP_POLL_SECONDS)
        if not starting.done():  # the application waits for something, such as its database
            starting.cancel()
            await asyncio.wait((starting,))
            return
        await starting
        if self.started:
            self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()
        await super().shutdown(sockets)
