"""Reading all pages of a list."""

import asyncio
from itertools import count

import pytest

from prosperstack_destination.errors import ProsperStackUnavailable
from prosperstack_destination.prosperstack.client import LIST_SECONDS, MAX_PAGES, all_items
from prosperstack_destination.prosperstack.models import Page, PropertyDefinition
from support.clocks import VIRTUAL_TIME

pytestmark = pytest.mark.anyio


def page(key: str, next_cursor: str | None) -> Page[PropertyDefinition]:
    item = PropertyDefinition(id=key, key=key, name=key, entity="subscriber", type="text")
    return Page[PropertyDefinition](data=(item,), next_cursor=next_cursor)


@pytest.mark.parametrize("end", [None, ""])
async def test_all_pages_are_read(end: str | None) -> None:
    """Pages are requested one after another, until a cursor is missing."""
    pages = {None: page("a", "1"), "1": page("b", "2"), "2": page("c", end)}

    async def fetch(cursor: str | None) -> Page[PropertyDefinition]:
        return pages[cursor]

    assert [each.key for each in await all_items(fetch)] == ["a", "b", "c"]


async def test_repeated_cursor_is_an_error() -> None:
    """A repeated cursor would be followed forever."""

    async def fetch(_: str | None) -> Page[PropertyDefinition]:
        return page("a", "again")

    with pytest.raises(ProsperStackUnavailable, match="does not end"):
        await all_items(fetch)


async def test_too_many_pages_are_an_error() -> None:
    """Pages, and with them requests, are bounded."""
    numbers = count(1)

    async def fetch(_: str | None) -> Page[PropertyDefinition]:
        return page("a", f"cursor {next(numbers)}")

    with pytest.raises(ProsperStackUnavailable, match=f"within {MAX_PAGES} pages"):
        await all_items(fetch)

    assert next(numbers) == MAX_PAGES + 1


@pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])
async def test_slow_list_is_an_error() -> None:
    """The time of all pages is bounded, also in the middle of one."""
    numbers = count(1)

    async def fetch(_: str | None) -> Page[PropertyDefinition]:
        await asyncio.sleep(LIST_SECONDS * 0.4)
        return page("a", f"cursor {next(numbers)}")

    begun = asyncio.get_running_loop().time()
    with pytest.raises(ProsperStackUnavailable, match="10 minutes"):
        await all_items(fetch)

    assert asyncio.get_running_loop().time() - begun == pytest.approx(LIST_SECONDS)
    assert next(numbers) == 3
