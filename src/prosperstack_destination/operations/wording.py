"""How people are told how long something takes, or took."""

from prosperstack_destination.clock import SECOND


def span(seconds: float) -> str:
    """How long, in words: ``about 3 h 20 min``'s second half."""
    if seconds < 1:
        return "less than a second"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // (24 * 60)} days {minutes // 60 % 24} h"


def ago(at: int, now: int) -> str:
    """How long since a time (microseconds), in words."""
    return span(max(now - at, 0) / SECOND)
