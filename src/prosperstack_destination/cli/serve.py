"""Implementation of `serve`: start the service, and a sandbox for a first trial."""

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
from prosperstack_destination.cli import serving_record
from prosperstack_destination.cli.options import SANDBOX_KEY
from prosperstack_destination.cli.serving_record import ServingRecord
from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.ingest.documented_call import DOCUMENTED_CALL, DOCUMENTED_EMAIL
from prosperstack_destination.server import listen, serve, url_of
from prosperstack_destination.settings import LogFormat, Role, Settings, read_settings
from prosperstack_destination.store.private_files import make_private_folder

#: Timeout of the sandbox's start, in seconds.
SANDBOX_START_SECONDS: Final = 15.0
_SANDBOX_HOST: Final = "127.0.0.1"


def run(*, host: str | None, port: int | None, role: Role | None, sandbox_port: int | None) -> None:
    """Serve until the process is stopped, with a sandbox on ``sandbox_port`` unless that is None.

    Raises `ConfigurationError` for invalid settings.
    """
    options = {"host": host, "port": port, "role": role}
    overrides = {name: value for name, value in options.items() if value is not None}
    settings = read_settings().model_copy(update=overrides)
    logs.configure(settings.log_format, settings.log_level)
    # After a graceful stop, uvicorn raises the signal again. Exit with 0 then, so that the sandbox is stopped and
    # a supervisor sees no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if sandbox_port is None or serving_record.names_a_prosperstack(settings):
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
    record = ServingRecord(serving_record.local_url(settings.host, port), settings.prosperstack_base_url)
    serving_record.save(settings, record)
    url = admin_url = url_of(settings.host, port)
    if settings.admin_port is not None:
        if settings.admin_port == port:
            raise ConfigurationError("ADMIN_PORT equals PORT: remove ADMIN_PORT, or choose another port.")
        admin_host = settings.admin_host or settings.host
        sockets.append(listen(admin_host, settings.admin_port, "ADMIN_PORT"))
        admin_url = url_of(admin_host, settings.admin_port)
    serve(
        app,
        sockets,
        on_started=lambda: _print_welcome(
            url, admin_url, settings, sandbox=sandbox, password=app.state.sessions.generated_password
        ),
        on_stopping=app.state.live.close,
    )


@contextmanager
def _sandbox(settings: Settings, url: str, port: int) -> Iterator[None]:
    """Run the sandbox in a process of its own, with a journal in DATA_DIR that keeps its writes."""
    listen(_SANDBOX_HOST, port, "--sandbox-port").close()  # a process left on this port would be mistaken for it
    make_private_folder(settings.data_dir)
    command = [sys.executable, "-m", "prosperstack_destination", "sandbox"]
    command += ["--host", _SANDBOX_HOST, "--port", str(port)]
    command += ["--journal", str(settings.data_dir / "sandbox.jsonl")]
    # A session of its own: an interrupt at the terminal reaches the service first, which may still send requests.
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
    raise ConfigurationError(f"The sandbox did not start on {url}. Its output above has the reason.")


def _print_welcome(
    url: str, admin_url: str, settings: Settings, *, sandbox: str | None, password: str | None
) -> None:
    """Print the URLs, the key of the sandbox and commands to paste.

    Nothing is printed with JSON logs, which hold no secrets; `password` prints the dashboard's password there.
    """
    if settings.log_format is LogFormat.JSON:
        return
    show = Console(stderr=True, highlight=False, soft_wrap=True).print
    show(f"\n[bold]ProsperStack Destination {__version__}[/bold]")
    show(f"  Identify calls  {url}/identify")
    show(f"  API document    {admin_url}/docs")
    show(f"  Dashboard       {admin_url}/dashboard")
    if password is not None:
        show(f"  Password        {password} (generated; set ADMIN_PASSWORD to choose your own)", markup=False)
    if sandbox is None:
        show(f"  ProsperStack    {settings.prosperstack_base_url}\n")
        return
    call = shlex.quote(json.dumps(DOCUMENTED_CALL))
    find = shlex.quote(f"{sandbox}/v1/subscribers?email={DOCUMENTED_EMAIL}")
    show(f"  ProsperStack    {sandbox}/v1 (a sandbox; set PROSPERSTACK_API_KEY for your account)")
    show(f"  API key         {SANDBOX_KEY}")
    show("\nTo send the documented example, paste:")
    header = "-H 'Content-Type: application/json'"
    show(f"  curl -u {SANDBOX_KEY}: {header} {url}/identify -d {call}", markup=False)
    show("\nTo see the subscriber's properties before and after, paste:")
    show(f"  curl -s -u {SANDBOX_KEY}: {find}\n", markup=False)
