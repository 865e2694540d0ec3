"""Reading a list to its end."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import BaseModel

from prosperstack_destination.errors import Unavailable
from prosperstack_destination.prosperstack.models import Page

Item = TypeVar("Item", bound=BaseModel)


async def all_items(fetch: Callable[[str | None], Awaitable[Page[Item]]]) -> list[Item]:
    """The items of all pages; ``fetch`` gets the page at a cursor (None: the first).

    Raises what ``fetch`` raises, and `Unavailable` where a cursor comes twice: that list has no end.
    """
    items: list[Item] = []
    seen: set[str] = set()
    cursor: str | None = None
    while True:
        page = await fetch(cursor)
        items.extend(page.data)
        cursor = page.next_cursor
        if not cursor:
            return items
        if cursor in seen:
            raise Unavailable("ProsperStack's list does not end: a cursor came twice.")
        seen.add(cursor)
