"""Configuration of a sandbox."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """Subscribers, rate limit, latency, keys and journal of a sandbox."""

    #: Number of subscribers in each account.
    subscribers: int = 1000
    #: Requests in a window, for each account.
    rate_limit: int = 100
    window_seconds: float = 60.0
    #: Minimum time of each response, in milliseconds.
    latency_ms: float = 0.0
    #: Seed of the generated subscribers. Equal seeds give equal subscribers.
    seed: int = 1
    #: API keys, each with an account of its own.
    keys: tuple[str, ...] = ("key_test_sandbox",)
    #: File that keeps all writes for the next start; None to keep them in memory only.
    journal: Path | None = None
