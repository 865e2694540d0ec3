"""Stored form of traits: JSON with one object of traits for each event time.

Most traits of a profile come from one call, so a time is stored once for all of them. The form before was an array
of the value and the time for each trait. Both are read: rewriting every profile at an upgrade would take minutes.
"""

from collections.abc import Mapping

from pydantic import JsonValue

from prosperstack_destination.store import json_codec
from prosperstack_destination.store.models import Stamped


def dump_traits(traits: Mapping[str, Stamped]) -> str:
    """Return the stored form of traits."""
    by_time: dict[int, dict[str, JsonValue]] = {}
    for name, (value, at) in traits.items():
        group = by_time.get(at)
        if group is None:
            group = by_time[at] = {}
        group[name] = value
    return json_codec.dump(by_time)


def load_traits(text: str) -> dict[str, Stamped]:
    """Return stored traits with their times, in microseconds since the epoch."""
    traits: dict[str, Stamped] = {}
    for key, entry in json_codec.load(text).items():
        if isinstance(entry, dict):
            at = int(key)
            for name, value in entry.items():
                traits[name] = (value, at)
        else:
            value, at = entry
            traits[key] = (value, at)
    return traits


def load_values(text: str) -> dict[str, JsonValue]:
    """Return stored traits without their times."""
    values: dict[str, JsonValue] = {}
    for key, entry in json_codec.load(text).items():
        if isinstance(entry, dict):
            values.update(entry)
        else:
            values[key] = entry[0]
    return values
