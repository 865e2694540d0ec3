"""Commands that run the service, and a sandbox of ProsperStack for a first trial."""

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import httpx
import typer

from prosperstack_destination import __version__, logs, serving_record
from prosperstack_destination.cli import output
from prosperstack_destination.cli.session import SANDBOX_KEY, SANDBOX_PORT
from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.ingest.documented_call import DOCUMENTED_CALL, DOCUMENTED_EMAIL
from prosperstack_destination.sandbox import JournalMismatch, SandboxConfig
from prosperstack_destination.sandbox.app import run_sandbox
from prosperstack_destination.server import listen, url_of
from prosperstack_destination.server import serve as run_server
from prosperstack_destination.serving_record import ServingRecord
from prosperstack_destination.settings import LogFormat, Role, Settings, read_settings

app = typer.Typer()

#: Timeout of the sandbox's start, in seconds.
SANDBOX_START_SECONDS: Final = 15.0
_SANDBOX_HOST: Final = "127.0.0.1"


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; overrides HOST.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; overrides PORT.")] = None,
    role: Annotated[
        Role | None, typer.Option(help="Receive calls, write to ProsperStack, or both; overrides ROLE.")
    ] = None,
    with_sandbox: Annotated[
        bool,
        typer.Option(
            "--with-sandbox",
            help="Start a ProsperStack sandbox and use it, "
            "if neither PROSPERSTACK_API_KEY nor PROSPERSTACK_BASE_URL is set.",
        ),
    ] = False,
    sandbox_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of that sandbox.")] = SANDBOX_PORT,
) -> None:
    """Run the service: receive Identify calls and keep ProsperStack's subscribers up to date."""
    options = {"host": host, "port": port, "role": role}
    overrides = {name: value for name, value in options.items() if value is not None}
    settings = read_settings().model_copy(update=overrides)
    logs.configure(settings.log_format, settings.log_level)
    # After a graceful stop, uvicorn raises the signal again. Exit with 0 then, so that the sandbox is stopped and
    # a supervisor sees no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if not with_sandbox or serving_record.names_a_prosperstack(settings):
        _serve(settings, sandbox=None)
        return
    url = f"http://{_SANDBOX_HOST}:{sandbox_port}"
    with _sandbox(settings, url, sandbox_port):
        _serve(settings.model_copy(update={"prosperstack_base_url": f"{url}/v1"}), sandbox=url)


@app.command()
def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = SANDBOX_PORT,
    subscribers: Annotated[int, typer.Option(min=1, help="Number of subscribers in each account.")] = 1000,
    rate_limit: Annotated[int, typer.Option(min=1, help="Requests in a rate limit window.")] = 100,
    window: Annotated[float, typer.Option(min=0.1, help="Length of a window, in seconds.")] = 60.0,
    latency: Annotated[float, typer.Option(min=0, help="Delay of each response, in milliseconds.")] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same subscribers.")] = 1,
    key: Annotated[
        list[str] | None,
        typer.Option(help=f"API key of an account; repeatable. Default: {SANDBOX_KEY}."),
    ] = None,
    journal: Annotated[Path | None, typer.Option(help="Keep all writes in this file, for the next start.")] = None,
) -> None:
    """Simulate ProsperStack's API, with generated subscribers."""
    config = SandboxConfig(
        subscribers=subscribers,
        rate_limit=rate_limit,
        window_seconds=window,
        latency_ms=latency,
        seed=seed,
        keys=tuple(key or [SANDBOX_KEY]),
        journal=journal,
    )
    output.errors.print(
        f"ProsperStack sandbox at {url_of(host, port)}/v1: {config.subscribers} subscribers, "
        f"{config.rate_limit} requests in {config.window_seconds:g} s, keys {', '.join(config.keys)}"
    )
    try:
        run_sandbox(host, port, config, "warning")
    except JournalMismatch as error:
        raise ConfigurationError(str(error)) from None


def _serve(settings: Settings, *, sandbox: str | None) -> None:
    from prosperstack_destination.app import create_app  # here, because `sandbox` needs none of it

    application = create_app(settings)
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
    run_server(
        application,
        sockets,
        on_started=lambda: _print_welcome(
            url, admin_url, settings, sandbox=sandbox, password=application.state.sessions.generated_password
        ),
        on_stopping=application.state.live.close,
    )


@contextmanager
def _sandbox(settings: Settings, url: str, port: int) -> Iterator[None]:
    """Run the sandbox in a process of its own, with a journal in DATA_DIR that keeps its writes."""
    listen(_SANDBOX_HOST, port, "--sandbox-port").close()  # a process left on this port would be mistaken for it
    command = [sys.executable, "-m", "prosperstack_destination", "sandbox"]
    command += ["--host", _SANDBOX_HOST, "--port", str(port)]
    command += ["--journal", str(serving_record.private_path(settings, "sandbox.jsonl"))]
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
    show = output.errors.print
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
