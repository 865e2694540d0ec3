"""Merge of a call into a profile: last write wins per trait, by event time, in any order of arrival.

Each trait is a last-writer-wins register. The merge is commutative, associative and idempotent, so any order and
any repetition of the same calls give the same profile. (Segment retries for four hours and guarantees no order.)
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.store.json_codec import dump
from prosperstack_destination.store.models import Stamped

#: Maximum number of traits of a profile. Beyond it, traits without a reader are dropped first, the oldest event
#: times first: a script that invents trait names must neither grow a profile without bound nor displace mapped
#: traits. The result is independent of the order of calls, too.
MAX_TRAITS: Final = 1_000
#: Function that returns whether a property or rule reads a trait. Called only for full profiles.
Reads = Callable[[str], bool]
#: Types whose values are equal exactly if their JSON texts are.
_PLAIN: Final = frozenset({str, int, bool, type(None)})


@dataclass(slots=True)
class Merge:
    """Result of a merge: a profile's traits after a call."""

    traits: dict[str, Stamped]
    #: Whether a trait has another value, so the desired properties may differ.
    value_changed: bool
    #: Whether anything must be written: a value, or only a newer event time.
    touched: bool
    #: Number of dropped traits.
    dropped: int = 0


def stamped(traits: Mapping[str, JsonValue], at: int) -> dict[str, Stamped]:
    """Return a call's traits with their common event time."""
    return {name: (value, at) for name, value in traits.items()}


def reads_none(_trait: str) -> bool:
    """`Reads` of an account without a mapping."""
    return False


def merge(known: Mapping[str, Stamped], new: Mapping[str, Stamped], reads: Reads = reads_none) -> Merge:
    """Merge new traits into known ones.

    A later event time replaces a value. Of two values with equal times the one with the greater JSON text wins, so
    the order of arrival does not matter. Beyond `MAX_TRAITS`, traits that ``reads`` names are kept first, then the
    newest.
    """
    if not known and len(new) <= MAX_TRAITS:  # the first call of a person
        return Merge(dict(new), bool(new), bool(new))
    traits = dict(known)
    value_changed = touched = False
    for name, stamp in new.items():
        old = traits.get(name)
        if old is None:
            traits[name] = stamp
            value_changed = touched = True
            continue
        value, at = stamp
        old_value, old_at = old
        if at < old_at:
            continue
        same = same_value(value, old_value)
        if at == old_at and (same or _canonical(value) < _canonical(old_value)):
            continue
        traits[name] = stamp
        touched = True
        value_changed = value_changed or not same
    if len(traits) > MAX_TRAITS:
        return _bounded(known, traits, reads)
    return Merge(traits, value_changed, touched)


def same_value(one: JsonValue, other: JsonValue) -> bool:
    """Return whether two JSON values are equal; unlike Python's ``==``, 1 equals neither true nor 1.0."""
    kind = type(one)
    if kind is type(other) and kind in _PLAIN:
        return one == other
    if one != other:
        return False
    # Equal texts are the usual case, and much cheaper than texts with sorted keys.
    return dump(one) == dump(other) or _canonical(one) == _canonical(other)


def _canonical(value: JsonValue) -> str:
    return json.dumps(value, sort_keys=True)


def _bounded(known: Mapping[str, Stamped], merged: Mapping[str, Stamped], reads: Reads) -> Merge:
    """Keep `MAX_TRAITS` traits: those with a reader first, then the latest, then in alphabetical order."""
    ranked = sorted(merged.items(), key=lambda item: (not reads(item[0]), -item[1][1], item[0]))
    kept = dict(ranked[:MAX_TRAITS])
    changed = kept.keys() != known.keys() or not all(same_value(kept[name][0], known[name][0]) for name in kept)
    return Merge(kept, changed, changed or kept != known, dropped=len(merged) - MAX_TRAITS)
