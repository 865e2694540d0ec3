"""Implementation of `sandbox`."""

from rich.console import Console

from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.sandbox import JournalMismatch, SandboxConfig
from prosperstack_destination.sandbox.app import run_sandbox
from prosperstack_destination.server import url_of


def run(host: str, port: int, config: SandboxConfig) -> None:
    """Run the sandbox until interrupted. Raises `ConfigurationError` for a journal of other subscribers."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        f"ProsperStack sandbox at {url_of(host, port)}/v1: {config.subscribers} subscribers, "
        f"{config.rate_limit} requests in {config.window_seconds:g} s, keys {', '.join(config.keys)}"
    )
    try:
        run_sandbox(host, port, config, "warning")
    except JournalMismatch as error:
        raise ConfigurationError(str(error)) from None
