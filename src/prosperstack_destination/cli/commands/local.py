"""Commands that run the service, run the sandbox, and send example calls."""

import gc
from pathlib import Path
from typing import Annotated

import typer

from prosperstack_destination.cli.options import SANDBOX_KEY, SANDBOX_PORT, Json
from prosperstack_destination.settings import Role


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
    # Imports create no garbage, and collecting took a tenth of the start time. `run` enables the collector again.
    gc.disable()
    from prosperstack_destination.cli.serve import run

    run(host=host, port=port, role=role, sandbox_port=sandbox_port if with_sandbox else None)


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
    """Run a stand-in for ProsperStack's API, with generated subscribers."""
    from prosperstack_destination.cli.sandbox import run
    from prosperstack_destination.sandbox import SandboxConfig

    config = SandboxConfig(
        subscribers=subscribers,
        rate_limit=rate_limit,
        window_seconds=window,
        latency_ms=latency,
        seed=seed,
        keys=tuple(key or [SANDBOX_KEY]),
        journal=journal,
    )
    run(host, port, config)


def send(
    file: Annotated[
        Path | None,
        typer.Argument(help="JSON file (one call, or an array) or JSONL file. Default: the documented example."),
    ] = None,
    to: Annotated[str, typer.Option(help="URL to post the calls to.")] = "http://127.0.0.1:8700/identify",
    key: Annotated[str, typer.Option(envvar="SEGMENT_KEY", help="API key to authenticate with.")] = SANDBOX_KEY,
    prosperstack_url: Annotated[
        str, typer.Option(help="URL of the sandbox, to show the properties before and after.")
    ] = f"http://127.0.0.1:{SANDBOX_PORT}/v1",
    wait: Annotated[
        float, typer.Option(min=0, help="Time to wait for the properties to change, in seconds.")
    ] = 10.0,
    json: Json = False,
) -> None:
    """Post Identify calls to the service and show the answers and the changed properties."""
    from prosperstack_destination.cli.send import run

    if not run(file, to=to, key=key, prosperstack_url=prosperstack_url, wait=wait, as_json=json):
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (serve, sandbox, send):
        app.command()(command)
