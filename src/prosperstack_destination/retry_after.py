"""The header ``Retry-After``, read from others' answers and written in ours."""

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

#: Seconds, as most write them, and with decimals, as some do.
_SECONDS: Final = re.compile(r"[0-9]+(\.[0-9]*)?", re.ASCII)


def read_retry_after(headers: Mapping[str, str], longest: float, name: str = "Retry-After") -> float | None:
    """The seconds that a header names, up to ``longest``; None where it names none.

    A date counts from the answer's own ``Date``, so that a clock that differs does not matter, else from now. A
    date in the past is 0.
    """
    text = headers.get(name, "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), longest)
    until = _timestamp(text)
    if until is None:
        return None
    since = _timestamp(headers.get("Date", ""))
    return min(max(until - (time.time() if since is None else since), 0.0), longest)


def retry_after_header(seconds: float) -> str:
    """The value of our own header: whole seconds, rounded up, so that a retry is never too early; at least 1."""
    return str(max(1, math.ceil(seconds)))


def _timestamp(date: str) -> float | None:
    """The seconds since the epoch of an HTTP date; None for anything else."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None
