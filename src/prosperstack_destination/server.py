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

#: Time for requests in flight when the service stops, in seconds; then it commits and closes.
GRACEFUL_SECONDS: Final = 3
#: Time that an idle connection stays open, in seconds: longer than a load balancer's time-out, which is often 60.
KEEP_ALIVE_SECONDS: Final = 65
#: Number of new objects that starts a garbage collection. With Python's default, 700, it runs every few calls; with
#: 20,000 it took up to 27 ms, which delayed cancel flows.
GARBAGE_THRESHOLD: Final = 2_000
#: Interval at which threads that merge calls or map profiles give way to the event loop, in seconds. The default,
#: 5 ms, is half of a cancel flow's time limit, at each wake-up of the event loop.
SWITCH_SECONDS: Final = 0.0004
#: The most open connections: a share of the open-file limit, which leaves the rest to the database and to requests
#: to ProsperStack; and an absolute limit, at about 15 KB a connection.
CONNECTION_SHARE: Final = 0.8
MAX_CONNECTIONS: Final = 10_000
#: Interval at which a slow start checks for a signal to stop, in seconds.
_STOP_POLL_SECONDS: Final = 0.1


def listen(host: str, port: int, setting: str = "--port or PORT") -> socket.socket:
    """Return a socket bound to an address. Raises `ConfigurationError` that names the ``setting``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        address = url_of(host, port).removeprefix("http://")
        raise ConfigurationError(f"Cannot listen on {address}: {_bind_error(error, host, setting)}") from None
    return listening


def url_of(host: str, port: int) -> str:
    """Return the URL of an address, with brackets around an IPv6 address."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bind_error(error: OSError, host: str, setting: str) -> str:
    """Return why a socket cannot listen, and what to change."""
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine. Use 127.0.0.1, or 0.0.0.0 for all of its addresses."
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

    Calls ``on_started`` once requests are answered, and ``on_stopping`` before the graceful stop, to end endless
    responses. Exits with status 1 where the application does not start; the log has the reason.
    """
    limits = Limits(connections=connection_limit(raise_file_limit()), idle_seconds=KEEP_ALIVE_SECONDS)
    server = _Server(configuration(app, limits), on_started=on_started, on_stopping=on_stopping)
    sys.setswitchinterval(SWITCH_SECONDS)
    # The garbage collector need not traverse objects of the start again every few hundred calls.
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    gc.enable()  # the command ``serve`` disables it during imports
    server.run(sockets=list(sockets))
    if server.failed:
        sys.exit(1)


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
    """Return the most open connections for a limit of open files (None: no limit)."""
    if files is None:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, int(files * CONNECTION_SHARE)))


class _Server(uvicorn.Server):
    """uvicorn server with callbacks for start and stop, which a signal can stop while it starts."""

    def __init__(
        self, config: uvicorn.Config, *, on_started: Callable[[], None], on_stopping: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._on_stopping = on_stopping
        #: True if the application failed to start.
        self.failed = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        starting = asyncio.ensure_future(self._start(sockets))
        while not starting.done() and not self.should_exit:
            await asyncio.wait((starting,), timeout=_STOP_POLL_SECONDS)
        if not starting.done():  # the application waits for something, such as its database
            starting.cancel()
            await asyncio.wait((starting,))
            return
        await starting
        if self.started:
            self._on_started()

    async def _start(self, sockets: list[socket.socket] | None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:  # in a task it would end the loop, which logs a traceback
            self.failed = self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stopping()
        await super().shutdown(sockets)
