"""``Retry-After`` header: parsed from ProsperStack's and Segment's responses, formatted for the service's own."""

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

#: Number of seconds, with decimals or without.
_SECONDS: Final = re.compile(r"[0-9]+(\.[0-9]*)?", re.ASCII)


def read_retry_after(headers: Mapping[str, str], longest: float, name: str = "Retry-After") -> float | None:
    """Return the seconds in a header, at most ``longest``; None without a valid value.

    A date counts from the response's own ``Date``, which is independent of clock differences, or else from now. A
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
    """Return the value of a header: whole seconds, rounded up so that a retry is never early; at least 1."""
    return str(max(1, math.ceil(seconds)))


def _timestamp(date: str) -> float | None:
    """Return an HTTP date in seconds since the epoch; None for any other text."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None
