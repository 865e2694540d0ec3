"""How long to leave ProsperStack alone after it failed."""

import random
from collections.abc import Callable
from typing import Final

#: The first wait and the longest, in seconds.
FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 60.0
#: One person who has failed so often is tried more rarely: after up to this, in seconds.
OFTEN: Final = 12
LONGEST_OF_PERSON_SECONDS: Final = 600.0
#: The longest time that ProsperStack is believed when it names one, in seconds.
LONGEST_NAMED_SECONDS: Final = 300.0


def backoff_seconds(
    failures: int,
    retry_after: float | None = None,
    jitter: Callable[[], float] = random.random,
    longest: float = LONGEST_SECONDS,
) -> float:
    """Exponential, from half to the whole of 1, 2, 4, … 60 s, so that accounts do not come back as a herd.

    ``failures`` counts from 1. A time that ProsperStack named is a lower bound, up to 300 s. ``jitter`` gives a
    number in [0, 1). ``longest`` may bound the wait further, where an attempt costs next to nothing.
    """
    ceiling = min(FIRST_SECONDS * 2 ** min(failures - 1, 30), longest)
    wait: float = ceiling * (0.5 + 0.5 * jitter())
    return max(wait, min(retry_after or 0.0, LONGEST_NAMED_SECONDS))


def person_backoff_seconds(failures: int, jitter: Callable[[], float] = random.random) -> float:
    """The wait of one person or subscriber whose requests fail, as `backoff_seconds`; up to 10 min for the 12th.

    Many who never succeed must not use up the requests of all others.
    """
    longest = LONGEST_OF_PERSON_SECONDS if failures >= OFTEN else LONGEST_SECONDS
    return backoff_seconds(failures, jitter=jitter, longest=longest)
