"""``serve``: the service in a process, and for a newcomer a sandbox beside it."""

import gc
import json
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import httpx
import uvicorn
from rich.console import Console

from prosperstack_destination import __version__, logs
from prosperstack_destination.application import create_app
from prosperstack_destination.cli.example import SANDBOX_KEY
from prosperstack_destination.cli.short_way import ShortWay
from prosperstack_destination.errors import Misconfigured
from prosperstack_destination.segment.example import DOCUMENTED_CALL, DOCUMENTED_EMAIL
from prosperstack_destination.settings import LogFormat, Role, Settings, read_settings

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
#: The sandbox has this long to start, in seconds.
SANDBOX_START_SECONDS: Final = 15.0
_SANDBOX_HOST: Final = "127.0.0.1"


def run(*, host: str | None, port: int | None, role: Role | None, sandbox_port: int | None) -> None:
    """Serve until the process is told to stop; ``sandbox_port`` is where a sandbox is wanted, if it is.

    Raises `Misconfigured` for settings that make no service.
    """
    asked = {"host": host, "port": port, "role": role}
    given = {name: value for name, value in asked.items() if value is not None}
    settings = read_settings().model_copy(update=given)
    logs.configure(settings.log_format, settings.log_level)
    # The server, once it has stopped, passes on the signal that stopped it. It did what it was told: what is open
    # here is closed, and that is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if sandbox_port is None or _names_a_prosperstack(settings):
        _serve(settings, sandbox=None)
        return
    sandbox = f"http://{_SANDBOX_HOST}:{sandbox_port}"
    with _sandbox(settings, sandbox, sandbox_port):
        _serve(settings.model_copy(update={"prosperstack_base_url": f"{sandbox}/v1"}), sandbox=sandbox)


def _names_a_prosperstack(settings: Settings) -> bool:
    return settings.prosperstack_api_key is not None or "prosperstack_base_url" in settings.model_fields_set


def _serve(settings: Settings, *, sandbox: str | None) -> None:
    app = create_app(settings)
    listening = _listen(settings.host, settings.port)
    config = uvicorn.Config(
        app,
        # A class is asked for, and called.
        http=partial(ShortWay, take_plain=app.state.take_plain, other_port=settings.admin_port),  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here depends on who calls, or on the scheme
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    port = listening.getsockname()[1]
    sockets = [listening]
    url = admin_url = f"http://{settings.host}:{port}"
    if settings.admin_port is not None:
        if settings.admin_port == port:
            raise Misconfigured("ADMIN_PORT is PORT: leave it out, or choose another one.")
        admin_host = settings.admin_host or settings.host
        sockets.append(_listen(admin_host, settings.admin_port, "ADMIN_PORT"))
        admin_url = f"http://{admin_host}:{settings.admin_port}"
    server = _Server(
        config,
        announce=lambda: _welcome(
            url, admin_url, settings, sandbox=sandbox, password=app.state.sessions.made_password
        ),
        stopping=app.state.live.close,
    )
    sys.setswitchinterval(SWITCH_SECONDS)
    # What is there by now stays: collecting garbage need not look at it again with every few hundred calls.
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    gc.enable()  # see the command ``serve``
    server.run(sockets=sockets)
    if not server.started:
        raise Misconfigured("The service could not start; the log above says why.")


class _Server(uvicorn.Server):
    """A server that says where it is once it is there, and when it is about to stop."""

    def __init__(
        self, config: uvicorn.Config, *, announce: Callable[[], None], stopping: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._announce = announce
        self._stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()  # or answers that have no end would have to be cut off
        await super().shutdown(sockets)


def _listen(host: str, port: int, setting: str = "--port or PORT") -> socket.socket:
    """A socket on an address. Raises `Misconfigured`, which names the ``setting``, where it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise Misconfigured(
            f"Cannot listen on {host}:{port} ({error.strerror}): is the service running already? "
            f"Choose another port with {setting}."
        ) from None
    return listening


@contextmanager
def _sandbox(settings: Settings, url: str, port: int) -> Iterator[None]:
    """Run the sandbox in a process of its own, as ProsperStack is one. It keeps what is written to it."""
    _listen(_SANDBOX_HOST, port).close()  # or another one, left over, would be taken for it
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "prosperstack_destination", "sandbox"]
    command += ["--host", _SANDBOX_HOST, "--port", str(port)]
    command += ["--journal", str(settings.data_dir / "sandbox.jsonl")]
    # A session of its own: an interrupt at the terminal is ours to pass on, after the last request to it.
    process = subprocess.Popen(command, start_new_session=True)  # noqa: S603 -- our own command
    try:
        _await_sandbox(process, url)
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


def _await_sandbox(process: "subprocess.Popen[bytes]", url: str) -> None:
    deadline = time.monotonic() + SANDBOX_START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(url, trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise Misconfigured(f"The sandbox did not start on {url}; what it said stands above.")


def _welcome(url: str, admin_url: str, settings: Settings, *, sandbox: str | None, password: str | None) -> None:
    """Print what a newcomer needs: where it is, which key to show, what to paste.

    Machines read the log alone, which has no secrets: there the command ``password`` tells the dashboard's.
    """
    if settings.log_format is LogFormat.JSON:
        return
    show = Console(stderr=True, highlight=False, soft_wrap=True).print
    show(f"\n[bold]ProsperStack Destination {__version__}[/bold]")
    show(f"  Identify calls  {url}/identify")
    show(f"  API document    {admin_url}/docs")
    show(f"  Dashboard       {admin_url}/dashboard")
    if password is not None:
        show(f"  its password    {password} (made here: set ADMIN_PASSWORD for one of your own)", markup=False)
    if sandbox is None:
        show(f"  ProsperStack    {settings.prosperstack_base_url}\n")
        return
    call = shlex.quote(json.dumps(DOCUMENTED_CALL))
    find = shlex.quote(f"{sandbox}/v1/subscribers?email={DOCUMENTED_EMAIL}")
    show(f"  ProsperStack    {sandbox}/v1 (a sandbox: set PROSPERSTACK_API_KEY for the real one)")
    show(f"  API key         {SANDBOX_KEY}")
    show("\nPaste this to send the documented example:")
    header = "-H 'Content-Type: application/json'"
    show(f"  curl -u {SANDBOX_KEY}: {header} {url}/identify -d {call}", markup=False)
    show("\nand this, before and after, to see the subscriber's properties change:")
    show(f"  curl -s -u {SANDBOX_KEY}: {find}\n", markup=False)
