"""Catalog: the custom properties of a ProsperStack account."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class PropertyType(StrEnum):
    """ProsperStack's four types of custom property."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"


@dataclass(frozen=True, slots=True)
class Property:
    """One custom property."""

    #: Unique identifier, fixed at creation, e.g. ``last_contacted``. Requests that write values use it.
    key: str
    #: Name for people, e.g. ``Last contacted``. ProsperStack's documentation matches traits by it.
    name: str
    #: Type of its values.
    type: PropertyType


class Catalog:
    """An account's properties by key, in ProsperStack's order."""

    def __init__(self, properties: Iterable[Property] = ()) -> None:
        self._by_key = {prop.key: prop for prop in properties}

    def __iter__(self) -> Iterator[Property]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: str) -> Property | None:
        """Return the property with this key, or None."""
        return self._by_key.get(key)
