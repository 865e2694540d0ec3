"""Running the sandbox as a server."""

import uvicorn

from prosperstack_destination.sandbox.app import create_sandbox
from prosperstack_destination.sandbox.config import SandboxConfig


def run_sandbox(host: str, port: int, config: SandboxConfig, log_level: str = "warning") -> None:
    """Serve a sandbox until it is interrupted or terminated."""
    uvicorn.run(
        create_sandbox(config),
        host=host,
        port=port,
        log_level=log_level,
        access_log=False,
        timeout_graceful_shutdown=2,
    )
