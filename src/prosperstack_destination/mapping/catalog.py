"""The properties that a ProsperStack account has: what there is to map to."""

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
    """One custom property of subscribers."""

    #: Its unique identifier, fixed once created, as in ``last_contacted``. Writes name it.
    key: str
    #: What people call it, as in ``Last contacted``. ProsperStack's documentation matches traits on it.
    name: str
    #: What its values are.
    type: PropertyType


class Catalog:
    """An account's subscriber properties, in ProsperStack's order, found by their keys."""

    def __init__(self, properties: Iterable[Property] = ()) -> None:
        self._by_key = {each.key: each for each in properties}

    def __iter__(self) -> Iterator[Property]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: str) -> Property | None:
        """The property with this key, or None."""
        return self._by_key.get(key)
