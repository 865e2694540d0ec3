"""Pages of lists with opaque cursors, and filters by time.

Pages follow the order of creation, and a cursor names the last record shown. Updates change neither: a client
that pages during writes sees every remaining record exactly once, and reaches the end. In the order of
``updated_at``, an updated record would move behind the cursor and be shown again, as often as it is updated.
"""

import base64
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Final, Protocol

from prosperstack_destination.sandbox.store import Record, Refused

#: Number of records on a page without a limit, and largest limit.
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

#: Function that returns True for the records of a list.
Condition = Callable[[Record], bool]


class ListItem(Protocol):
    """Item of a list."""

    @property
    def number(self) -> int:
        """Position in the order of creation."""

    def shown(self) -> dict[str, object]:
        """Return the item as JSON of the API."""


def read_limit(text: str | None) -> int:
    """Return the size of a page. Raises `Refused` (400) for an invalid one."""
    if text is None:
        return DEFAULT_LIMIT
    if _LIMIT.fullmatch(text) is None or not 1 <= int(text) <= MAX_LIMIT:
        raise Refused(400, f"limit must be a number from 1 to {MAX_LIMIT}")
    return int(text)


def read_cursor(text: str | None) -> int:
    """Return the number after which a page begins. Raises `Refused` (400) for an invalid cursor."""
    if text is None:
        return 0
    try:
        match = _CURSOR.fullmatch(base64.urlsafe_b64decode(text.encode()).decode())
    except ValueError:  # neither base64 nor text
        match = None
    if match is None:
        raise Refused(400, "cursor is invalid")
    return int(match[1])


def page(items: Iterator[ListItem], limit: int) -> dict[str, object]:
    """Return a page as JSON of the API. The items are in order, from the first of the page."""
    items_and_next = list(islice(items, limit + 1))
    more = len(items_and_next) > limit
    cursor = f"after:{items_and_next[limit - 1].number}" if more else None
    return {
        "data": [item.shown() for item in items_and_next[:limit]],
        "next_cursor": None if cursor is None else base64.urlsafe_b64encode(cursor.encode()).decode(),
    }


def time_filters(query: Iterable[tuple[str, str]]) -> list[Condition]:
    """Return the filters of a query such as ``updated_at[gte]``. A date means its first moment in UTC.

    Raises `Refused` (400) for an invalid date, and for an undocumented comparison: ignoring it would return every
    record.
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
