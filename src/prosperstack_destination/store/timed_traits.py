"""Traits by event time, in memory and as stored.

Most traits of a profile come from one call, so a time is kept once for all of them. Profiles of earlier versions
have an array of the value and the time for each trait. Both forms are read: rewriting every profile at an upgrade
would take minutes.
"""

from collections.abc import Mapping

from pydantic import JsonValue

from prosperstack_destination.store import json_codec
from prosperstack_destination.store.models import Stamped, TimedTraits


def by_time(traits: Mapping[str, Stamped]) -> TimedTraits:
    """Return traits with their times, by time."""
    groups: dict[int, dict[str, JsonValue]] = {}
    for name, (value, at) in traits.items():
        groups.setdefault(at, {})[name] = value
    return groups


def by_name(traits: TimedTraits) -> dict[str, Stamped]:
    """Return traits with their times, by name."""
    return {name: (value, at) for at, group in traits.items() for name, value in group.items()}


def find_trait(traits: TimedTraits, name: str) -> Stamped | None:
    """Return a trait with its time, or None."""
    return next(((group[name], at) for at, group in traits.items() if name in group), None)


def dump_traits(traits: TimedTraits) -> str:
    """Return the stored form of traits."""
    return json_codec.dump(traits)


def load_traits(text: str) -> TimedTraits:
    """Return stored traits."""
    loaded = json_codec.load(text)
    if all(type(entry) is dict for entry in loaded.values()):
        return {int(at): group for at, group in loaded.items()}
    return by_time(loaded)


def load_values(text: str) -> dict[str, JsonValue]:
    """Return stored traits without their times."""
    return {name: value for group in load_traits(text).values() for name, value in group.items()}
