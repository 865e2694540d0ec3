"""Facts: parts of a call that rules read besides its traits.

A profile stores them among its traits under reserved names, so that each keeps the value of the newest call by the
same merge. No list of traits shows them.
"""

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

#: First character of a fact's name.
_MARK: Final = "\x01"
_SEPARATOR: Final = "\x1f"
#: Beginning of a fact's name in JSON text.
_MARK_IN_JSON: Final = '"\\u0001'
#: Fact with the source of the newest call.
SOURCE_FACT: Final = f"{_MARK}source"
_CONTEXT: Final = f"{_MARK}context{_SEPARATOR}"
_BY_SOURCE: Final = f"{_MARK}said{_SEPARATOR}"

Value = TypeVar("Value")


def context_fact(path: Sequence[str]) -> str:
    """Return the name of the fact with a part of the newest context, e.g. ``("campaign", "name")``."""
    return _CONTEXT + _SEPARATOR.join(path)


def source_trait_fact(source: str, trait: str) -> str:
    """Return the name of the fact with a trait's value as one source sent it."""
    return f"{_BY_SOURCE}{source}{_SEPARATOR}{trait}"


def context_path(name: str) -> list[str] | None:
    """Return the path in the context that a fact has, or None for other facts."""
    return name.removeprefix(_CONTEXT).split(_SEPARATOR) if name.startswith(_CONTEXT) else None


def has_facts(text: str) -> bool:
    """Return whether stored traits, as JSON text, may contain facts."""
    return _MARK_IN_JSON in text


def facts_of(traits: Mapping[str, Value]) -> dict[str, Value]:
    """Return the facts among stored traits."""
    return {name: value for name, value in traits.items() if name.startswith(_MARK)}


def without_facts(traits: Mapping[str, Value]) -> dict[str, Value]:
    """Return stored traits without the facts."""
    return {name: value for name, value in traits.items() if not name.startswith(_MARK)}
