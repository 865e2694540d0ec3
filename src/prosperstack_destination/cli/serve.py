"""``serve``: the service in a process, and for a newcomer a sandbox beside it."""

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx
from rich.console import Console

from prosperstack_destination import __version__, logs
from prosperstack_destination.app import create_app
from prosperstack_destination.cli import connected
from prosperstack_destination.cli.sandbox_defaults import SANDBOX_KEY
from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.ingest.documented_call import DOCUMENTED_CALL, DOCUMENTED_EMAIL
from prosperstack_destination.server import listen, serve, url_of
from prosperstack_destination.settings import LogFormat, Role, Settings, read_settings
from prosperstack_destination.store.private_files import make_private_folder

#: The sandbox has this long to start, in seconds.
SANDBOX_START_SECONDS: Final = 15.0
_SANDBOX_HOST: Final = "127.0.0.1"


def run(*, host: str | None, port: int | None, role: Role | None, sandbox_port: int | None) -> None:
    """Serve until the process is told to stop; ``sandbox_port`` is where a sandbox is wanted, if it is.

    Raises `ConfigurationError` for settings that make no service.
    """
    asked = {"host": host, "port": port, "role": role}
    given = {name: value for name, value in asked.items() if value is not None}
    settings = read_settings().model_copy(update=given)
    logs.configure(settings.log_format, settings.log_level)
    # The server, once it has stopped, passes on the signal that stopped it. It did what it was told: what is open
    # here is closed, and that is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if sandbox_port is None or connected.names_a_prosperstack(settings):
        _serve(settings, sandbox=None)
        return
    sandbox = f"http://{_SANDBOX_HOST}:{sandbox_port}"
    with _sandbox(settings, sandbox, sandbox_port):
        _serve(settings.model_copy(update={"prosperstack_base_url": f"{sandbox}/v1"}), sandbox=sandbox)


def _serve(settings: Settings, *, sandbox: str | None) -> None:
    app = create_app(settings)
    listening = listen(settings.host, settings.port)
    port = listening.getsockname()[1]
    sockets = [listening]
    here = connected.local_url(settings.host, port)
    connected.record(settings, connected.Connection(here, settings.prosperstack_base_url))
    url = admin_url = url_of(settings.host, port)
    if settings.admin_port is not None:
        if settings.admin_port == port:
            raise ConfigurationError("ADMIN_PORT is PORT: leave it out, or choose another one.")
        admin_host = settings.admin_host or settings.host
        sockets.append(listen(admin_host, settings.admin_port, "ADMIN_PORT"))
        admin_url = url_of(admin_host, settings.admin_port)
    serve(
        app,
        sockets,
        on_started=lambda: _print_welcome(
            url, admin_url, settings, sandbox=sandbox, password=app.state.sessions.made_password
        ),
        on_stopping=app.state.live.close,
    )


@contextmanager
def _sandbox(settings: Settings, url: str, port: int) -> Iterator[None]:
    """Run the sandbox in a process of its own, as ProsperStack is one. It keeps what is written to it."""
    listen(_SANDBOX_HOST, port, "--sandbox-port").close()  # or another one, left over, would be taken for it
    make_private_folder(settings.data_dir)
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
    raise ConfigurationError(f"The sandbox did not start on {url}; what it said stands above.")


def _print_welcome(
    url: str, admin_url: str, settings: Settings, *, sandbox: str | None, password: str | None
) -> None:
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
