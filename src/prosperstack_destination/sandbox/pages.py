"""Lists in pages with opaque cursors, and their filters by time."""

import base64
import binascii
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Final, Protocol

from prosperstack_destination.sandbox.store import Record, Refused

#: A page without a limit has this many, and at most that many.
DEFAULT_LIMIT = 10
MAX_LIMIT = 100

_TIME_FILTER: Final = re.compile(r"(created_at|updated_at)\[(gt|lt|gte|lte)\]")
_COMPARE: Final[dict[str, Callable[[datetime, datetime], bool]]] = {
    "gt": operator.gt,
    "lt": operator.lt,
    "gte": operator.ge,
    "lte": operator.le,
}


class Listed(Protocol):
    """What lists are made of."""

    @property
    def number(self) -> int:
        """Its place in the order of creation."""

    def shown(self) -> dict[str, object]:
        """It as the API shows it."""


def read_limit(text: str | None) -> int:
    """The size of a page; raises `Refused` (400) for what is none."""
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT):
        raise Refused(400, f"limit must be a number from 1 to {MAX_LIMIT}")
    return int(text)


def read_cursor(text: str | None) -> int:
    """The number after which a page begins; raises `Refused` (400) for a cursor that is none of ours."""
    if text is None:
        return 0
    try:
        return int(base64.urlsafe_b64decode(text.encode()).decode().removeprefix("after:"))
    except (binascii.Error, ValueError):
        raise Refused(400, "cursor is invalid") from None


def page(items: Iterator[Listed], limit: int) -> dict[str, object]:
    """A page as the API shows it, of items that come in order and begin where the page does."""
    found = list(islice(items, limit + 1))
    more = len(found) > limit
    cursor = f"after:{found[limit - 1].number}" if more else None
    return {
        "data": [item.shown() for item in found[:limit]],
        "next_cursor": None if cursor is None else base64.urlsafe_b64encode(cursor.encode()).decode(),
    }


def time_filter(query: Iterable[tuple[str, str]]) -> Callable[[Record], bool]:
    """Whether a record passes the filters of a query such as ``updated_at[gte]``; `Refused` (400) for no date."""
    filters: list[tuple[str, Callable[[datetime, datetime], bool], datetime]] = []
    for name, text in query:
        match = _TIME_FILTER.fullmatch(name)
        if match is not None:
            filters.append((match[1], _COMPARE[match[2]], _moment(name, text)))

    def passes(record: Record) -> bool:
        return all(compare(_moment(name, getattr(record, name)), bound) for name, compare, bound in filters)

    return passes


def _moment(name: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(400, f"{name} must be an ISO 8601 date") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
