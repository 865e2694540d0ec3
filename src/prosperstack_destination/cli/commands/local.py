"""Running the service, and trying it out."""

import gc
from pathlib import Path
from typing import Annotated

import typer

from prosperstack_destination.cli.options import Json
from prosperstack_destination.cli.sandbox_defaults import SANDBOX_KEY, SANDBOX_PORT
from prosperstack_destination.settings import Role


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; overrides HOST.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; overrides PORT.")] = None,
    role: Annotated[
        Role | None, typer.Option(help="Take calls, write to ProsperStack, or both; overrides ROLE.")
    ] = None,
    with_sandbox: Annotated[
        bool,
        typer.Option(
            "--with-sandbox",
            help="Where neither PROSPERSTACK_API_KEY nor PROSPERSTACK_BASE_URL is set, "
            "start a ProsperStack sandbox and use it.",
        ),
    ] = False,
    sandbox_port: Annotated[int, typer.Option(min=1, max=65535, help="Where that sandbox listens.")] = SANDBOX_PORT,
) -> None:
    """Run the service: it takes Identify calls and keeps ProsperStack's subscribers up to date."""
    gc.disable()  # none of what is imported is garbage: looking for it took a tenth of the start; `run` ends this
    from prosperstack_destination.cli.serve import run

    run(host=host, port=port, role=role, sandbox_port=sandbox_port if with_sandbox else None)


def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = SANDBOX_PORT,
    subscribers: Annotated[int, typer.Option(min=1, help="How many there are in each account.")] = 1000,
    rate_limit: Annotated[int, typer.Option(min=1, help="Requests a window.")] = 100,
    window: Annotated[float, typer.Option(min=0.1, help="How long a window is, in seconds.")] = 60.0,
    latency: Annotated[float, typer.Option(min=0, help="How long each answer takes, in milliseconds.")] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same subscribers.")] = 1,
    key: Annotated[
        list[str] | None, typer.Option(help=f"An API key, each with an account of its own; {SANDBOX_KEY}.")
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="Keep what is written in this file, for the next start.")
    ] = None,
) -> None:
    """Run a stand-in for ProsperStack's API, with subscribers to write to."""
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
        typer.Argument(help="A JSON file (one call, or an array of them) or JSONL; else the documented example."),
    ] = None,
    to: Annotated[str, typer.Option(help="Where to post.")] = "http://127.0.0.1:8700/identify",
    key: Annotated[str, typer.Option(envvar="SEGMENT_KEY", help="The API key to show.")] = SANDBOX_KEY,
    prosperstack_url: Annotated[
        str, typer.Option(help="The sandbox, to see what came of it.")
    ] = f"http://127.0.0.1:{SANDBOX_PORT}/v1",
    wait: Annotated[
        float, typer.Option(min=0, help="How long to wait for the properties to change, in seconds.")
    ] = 10.0,
    json: Json = False,
) -> None:
    """Post Identify calls to the service and show what came of them."""
    from prosperstack_destination.cli.send import run

    if not run(file, to=to, key=key, prosperstack_url=prosperstack_url, wait=wait, as_json=json):
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (serve, sandbox, send):
        app.command()(command)
