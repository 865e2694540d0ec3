"""What a sandbox is like."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """How many subscribers there are, how fast it may be asked, and who may ask."""

    #: In each account.
    subscribers: int = 1000
    #: Requests a window, for each account.
    rate_limit: int = 100
    window_seconds: float = 60.0
    #: How long each answer takes at least, in milliseconds.
    latency_ms: float = 0.0
    #: The same seed gives the same subscribers.
    seed: int = 1
    #: API keys; each has an account of its own.
    keys: tuple[str, ...] = ("key_test_sandbox",)
    #: What is written to the sandbox is kept in this file for its next start; None: in memory only.
    journal: Path | None = None
