"""Merging a call into a profile: per trait the newest event wins, in whatever order calls come.

The merge is a last-writer-wins register for each trait. It is commutative, associative and idempotent, so any
order and any repetition of the same calls give the same profile (Segment retries for four hours, and promises
no order).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.store.json_codec import dump
from prosperstack_destination.store.models import Stamped

#: The most traits that a profile keeps. Past it those go that nothing reads, those with the oldest event times
#: first: a script that makes up trait names must not make a profile grow for ever, nor push out what is mapped.
#: What is kept is independent of the order of calls as well.
MAX_TRAITS: Final = 1_000
#: Whether a property or a rule reads a trait. Asked only where a profile is full.
Reads = Callable[[str], bool]
#: Of two values of one of these types the JSON texts are the same if the values are.
_PLAIN: Final = frozenset({str, int, bool, type(None)})


@dataclass(slots=True)
class Merge:
    """A profile's traits after a call."""

    traits: dict[str, Stamped]
    #: Some trait has another value now, so the desired properties may differ.
    value_changed: bool
    #: Something has to be written: a value, or only the newer time of the same value.
    touched: bool
    #: How many traits there was no room for.
    dropped: int = 0


def stamped(traits: Mapping[str, JsonValue], at: int) -> dict[str, Stamped]:
    """A call's traits, all true at one time."""
    return {name: (value, at) for name, value in traits.items()}


def reads_none(_trait: str) -> bool:
    """`Reads` where nothing is mapped."""
    return False


def merge(known: Mapping[str, Stamped], new: Mapping[str, Stamped], reads: Reads = reads_none) -> Merge:
    """Merge new values into those that are known.

    Of more than `MAX_TRAITS` those that ``reads`` names are kept first, then the newest.
    A known value is replaced by one of a later time. Of two values with the very same time the one with the
    greater JSON text wins, so that the order of arrival does not decide.
    """
    if not known and len(new) <= MAX_TRAITS:  # as with everybody's first call
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
    """Whether two JSON values are the same: 1 is neither true nor 1.0, as Python's ``==`` would have it."""
    kind = type(one)
    if kind is type(other) and kind in _PLAIN:
        return one == other
    if one != other:
        return False
    # The same text is the usual case, and is made much faster than one with sorted keys.
    return dump(one) == dump(other) or _canonical(one) == _canonical(other)


def _canonical(value: JsonValue) -> str:
    return json.dumps(value, sort_keys=True)


def _bounded(known: Mapping[str, Stamped], merged: Mapping[str, Stamped], reads: Reads) -> Merge:
    """The `MAX_TRAITS` that are read, then those with the latest times (then those first in the alphabet)."""
    ranked = sorted(merged.items(), key=lambda item: (not reads(item[0]), -item[1][1], item[0]))
    kept = dict(ranked[:MAX_TRAITS])
    changed = kept.keys() != known.keys() or not all(same_value(kept[name][0], known[name][0]) for name in kept)
    return Merge(kept, changed, changed or kept != known, dropped=len(merged) - MAX_TRAITS)
