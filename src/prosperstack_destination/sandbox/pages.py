"""Lists in pages with opaque cursors, and their filters by time.

Pages follow the order of creation, and a cursor names the last one shown. Neither is moved by an update, so that
who pages while others write sees what stays exactly once, and comes to an end; by ``updated_at`` a record that is
updated meanwhile would move behind the cursor and be shown again, for as long as it is updated.
"""

import base64
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

_CURSOR: Final = re.compile(r"after:([0-9]{1,18})")
_LIMIT: Final = re.compile(r"[0-9]{1,3}")
_TIME_FILTER: Final = re.compile(r"(created_at|updated_at)(?:\[(.*)\])?", re.DOTALL)
_COMPARE: Final[dict[str, Callable[[datetime, datetime], bool]]] = {
    "gt": operator.gt,
    "lt": operator.lt,
    "gte": operator.ge,
    "lte": operator.le,
}

#: Whether a record belongs to a list.
Condition = Callable[[Record], bool]


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
    if _LIMIT.fullmatch(text) is None or not 1 <= int(text) <= MAX_LIMIT:
        raise Refused(400, f"limit must be a number from 1 to {MAX_LIMIT}")
    return int(text)


def read_cursor(text: str | None) -> int:
    """The number after which a page begins; raises `Refused` (400) for a cursor that is none of ours."""
    if text is None:
        return 0
    try:
        match = _CURSOR.fullmatch(base64.urlsafe_b64decode(text.encode()).decode())
    except ValueError:  # neither base64 nor text
        match = None
    if match is None:
        raise Refused(400, "cursor is invalid")
    return int(match[1])


def page(items: Iterator[Listed], limit: int) -> dict[str, object]:
    """A page as the API shows it, of items that come in order and begin where the page does."""
    found = list(islice(items, limit + 1))
    more = len(found) > limit
    cursor = f"after:{found[limit - 1].number}" if more else None
    return {
        "data": [item.shown() for item in found[:limit]],
        "next_cursor": None if cursor is None else base64.urlsafe_b64encode(cursor.encode()).decode(),
    }


def time_filters(query: Iterable[tuple[str, str]]) -> list[Condition]:
    """The filters of a query such as ``updated_at[gte]``; a date stands for its first moment in UTC.

    Raises `Refused` (400) for no date, and for a comparison that is not documented: to pass over it would be to
    answer with everything.
    """
    return [
        _compared(match[1], match[2], text)
        for name, text in query
        if (match := _TIME_FILTER.fullmatch(name)) is not None
    ]


def _compared(field: str, comparison: str | None, text: str) -> Condition:
    compare = _COMPARE.get(comparison or "")
    if compare is None:
        raise Refused(400, f"{field} takes one of {', '.join(f'{field}[{each}]' for each in _COMPARE)}")
    try:
        bound = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(400, f"{field}[{comparison}] must be an ISO 8601 date") from None
    if bound.tzinfo is None:
        bound = bound.replace(tzinfo=UTC)
    value = operator.attrgetter(field)
    return lambda record: compare(value(record), bound)
