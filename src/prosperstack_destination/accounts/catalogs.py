"""An account's catalog of properties: listed from ProsperStack, kept in its row."""

from collections.abc import Awaitable, Callable, Iterable

from pydantic import TypeAdapter

from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.prosperstack.models import Page, PropertyDefinition
from prosperstack_destination.prosperstack.paging import all_items

_STORED = TypeAdapter(list[Property])
_TYPES = frozenset(PropertyType)


async def fetch_catalog(
    fetch: Callable[[str | None], Awaitable[Page[PropertyDefinition]]], entity: str = "subscriber"
) -> Catalog:
    """List all of an account's properties of subscribers or subscriptions; ``fetch`` gets the page at a cursor."""
    return catalog_of(await all_items(fetch), entity)


def catalog_of(properties: Iterable[PropertyDefinition], entity: str = "subscriber") -> Catalog:
    """The catalog of what was listed: the properties of subscribers or of subscriptions."""
    # A type that ProsperStack adds one day is not ours to guess at: such a property is left alone.
    return Catalog(
        Property(each.key, each.name, PropertyType(each.type))
        for each in properties
        if each.entity == entity and each.type in _TYPES
    )


def dump_catalog(catalog: Catalog) -> str:
    """A catalog as it stands in an account's row."""
    return _STORED.dump_json(list(catalog)).decode()


def load_catalog(text: str | None) -> Catalog:
    """What `dump_catalog` was given; None, not listed yet, is an empty catalog."""
    return Catalog(_STORED.validate_json(text)) if text else Catalog()
