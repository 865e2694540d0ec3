"""Reading a list to its end."""

import pytest

from prosperstack_destination.errors import Unavailable
from prosperstack_destination.prosperstack.models import Page, PropertyDefinition
from prosperstack_destination.prosperstack.paging import all_items

pytestmark = pytest.mark.anyio


def page(key: str, next_cursor: str | None) -> Page[PropertyDefinition]:
    item = PropertyDefinition(id=key, key=key, name=key, entity="subscriber", type="text")
    return Page[PropertyDefinition](data=(item,), next_cursor=next_cursor)


@pytest.mark.parametrize("end", [None, ""])
async def test_all_pages_are_read(end: str | None) -> None:
    """The pages are asked for one after another, until a cursor is missing."""
    pages = {None: page("a", "1"), "1": page("b", "2"), "2": page("c", end)}

    async def fetch(cursor: str | None) -> Page[PropertyDefinition]:
        return pages[cursor]

    assert [each.key for each in await all_items(fetch)] == ["a", "b", "c"]


async def test_a_list_without_end_is_given_up() -> None:
    """A cursor that comes twice would be followed for ever."""

    async def fetch(_: str | None) -> Page[PropertyDefinition]:
        return page("a", "again")

    with pytest.raises(Unavailable, match="does not end"):
        await all_items(fetch)
