"""Reading a list to its end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from pydantic import BaseModel

from prosperstack_destination.errors import ProsperStackUnavailable
from prosperstack_destination.prosperstack.models import Page

Item = TypeVar("Item", bound=BaseModel)

#: Pages of a list, each of which is a request: 5,000 properties, subscribers with one email, or subscriptions.
MAX_PAGES: Final = 50
#: All pages together, in seconds, with the waits for the account's budget: a budget of 10 requests a minute reads
#: `MAX_PAGES` in five minutes.
LIST_SECONDS: Final = 600.0


async def all_items(fetch: Callable[[str | None], Awaitable[Page[Item]]]) -> list[Item]:
    """The items of all pages; ``fetch`` gets the page at a cursor (None: the first).

    Raises what ``fetch`` raises, and `Unavailable` for a list that does not end within `MAX_PAGES` and
    `LIST_SECONDS`, or of which a cursor comes twice. It stops with the task that it runs in.
    """
    items: list[Item] = []
    seen: set[str] = set()
    cursor: str | None = None
    until = asyncio.get_running_loop().time() + LIST_SECONDS
    for _ in range(MAX_PAGES):
        try:
            async with asyncio.timeout_at(until):
                page = await fetch(cursor)
        except TimeoutError:
            break
        items.extend(page.data)
        cursor = page.next_cursor
        if not cursor:
            return items
        if cursor in seen:
            raise ProsperStackUnavailable("ProsperStack's list does not end: a cursor came twice.")
        seen.add(cursor)
    raise ProsperStackUnavailable(
        f"ProsperStack's list does not end within {MAX_PAGES} pages and {LIST_SECONDS / 60:.0f} minutes."
    )
