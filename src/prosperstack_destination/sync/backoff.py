"""How long to leave ProsperStack alone after it failed."""

import random
from collections.abc import Callable
from typing import Final

#: The first wait and the longest, in seconds.
FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 300.0


def backoff_seconds(
    failures: int, retry_after: float | None = None, jitter: Callable[[], float] = random.random
) -> float:
    """Exponential, from half to the whole of 1, 2, 4, … 300 s, so that accounts do not come back as a herd.

    ``failures`` counts from 1. A time that ProsperStack named is a lower bound, up to the longest wait.
    ``jitter`` gives a number in [0, 1).
    """
    ceiling = min(FIRST_SECONDS * 2 ** min(failures - 1, 30), LONGEST_SECONDS)
    wait: float = ceiling * (0.5 + 0.5 * jitter())
    return max(wait, min(retry_after or 0.0, LONGEST_SECONDS))
