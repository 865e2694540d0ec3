"""Merge of calls into a profile: last write wins per trait, by event time, in any order of arrival.

Each trait is a last-writer-wins register. The merge is commutative, associative and idempotent, so any order and
any repetition of the same calls give the same profile. (Segment retries for four hours and guarantees no order.)
"""

import json
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.clock import DAY, SKEW, real_time
from prosperstack_destination.store.json_codec import dump
from prosperstack_destination.store.models import IdKind, Lane, Status, TimedTraits
from prosperstack_destination.store.timed_traits import by_name, by_time

#: Maximum number of traits of a profile. Beyond it, traits without a reader are dropped first, the oldest event
#: times first: a script that invents trait names must neither grow a profile without bound nor displace mapped
#: traits. The result is independent of the order of calls, too.
MAX_TRAITS: Final = 1_000
#: Maximum number of IDs in a profile; beyond it the oldest is dropped.
MAX_IDS: Final = 50
#: Function that returns whether a property or rule reads a trait. Called only for full profiles.
Reads = Callable[[str], bool]
#: Types whose values are equal exactly if their JSON texts are.
_PLAIN: Final = frozenset({str, int, bool, type(None)})


@dataclass(slots=True)
class Merge:
    """Result of a merge: a profile's traits after a call."""

    traits: TimedTraits
    #: True if a trait has another value, so the desired properties may differ.
    value_changed: bool = False
    #: True if anything must be written: a value, or only a newer event time.
    touched: bool = False
    #: Number of dropped traits.
    dropped: int = 0


def reads_none(_trait: str) -> bool:
    """`Reads` of an account without a mapping."""
    return False


def merge(known: TimedTraits, new: TimedTraits, reads: Reads = reads_none) -> Merge:
    """Merge new traits into known ones.

    A later event time replaces a value. Of two values with equal times the one with the greater JSON text wins, so
    the order of arrival does not matter. Beyond `MAX_TRAITS`, traits that ``reads`` names are kept first, then the
    newest.
    """
    merged = Merge(known)
    for at, traits in new.items():
        _add(merged, traits, at)
    if sum(map(len, merged.traits.values())) > MAX_TRAITS:
        return _bounded(known, merged.traits, reads)
    return merged


def _add(merged: Merge, traits: Mapping[str, JsonValue], at: int) -> None:
    """Merge traits of one event time."""
    groups = dict(merged.traits)
    winners, count_new = traits, len(traits)
    for time, group in merged.traits.items():
        common = group.keys() & traits.keys()
        if not common:
            continue
        count_new -= len(common)
        lost = _losers(common, group, traits, time - at)
        if lost:
            winners = {name: value for name, value in winners.items() if name not in lost}
            common -= lost
        merged.value_changed = merged.value_changed or not _are_same(common, group, traits)
        if len(common) == len(group):
            del groups[time]
        elif common:
            groups[time] = {name: value for name, value in group.items() if name not in common}
    if winners:
        groups[at] = {**groups[at], **winners} if at in groups else winners
        merged.traits, merged.touched = groups, True
        merged.value_changed = merged.value_changed or count_new > 0


def _losers(names: Set[str], old: Mapping[str, JsonValue], new: Mapping[str, JsonValue], newer: int) -> Set[str]:
    """Return the names whose old values stay. ``newer``: the time by which the old values are newer."""
    if newer:
        return names if newer > 0 else frozenset()
    return {
        name for name in names if same_value(old[name], new[name]) or _canonical(new[name]) < _canonical(old[name])
    }


def _are_same(names: Set[str], old: Mapping[str, JsonValue], new: Mapping[str, JsonValue]) -> bool:
    # Values that differ in Python's eyes are the usual case, and cheap to find.
    return all(old[name] == new[name] for name in names) and all(same_value(old[name], new[name]) for name in names)


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


def _bounded(known: TimedTraits, merged: TimedTraits, reads: Reads) -> Merge:
    """Keep `MAX_TRAITS` traits: those with a reader first, then the latest, then in alphabetical order."""
    before, after = by_name(known), by_name(merged)
    ranked = sorted(after.items(), key=lambda item: (not reads(item[0]), -item[1][1], item[0]))
    kept = dict(ranked[:MAX_TRAITS])
    changed = kept.keys() != before.keys() or not all(same_value(kept[name][0], before[name][0]) for name in kept)
    return Merge(by_time(kept), changed, changed or kept != before, dropped=len(after) - MAX_TRAITS)


@dataclass(slots=True)
class ProfileDraft:
    """Profile that calls are being merged into."""

    email: str
    #: None: a new profile.
    row_id: int | None
    address: str
    user_id: str | None
    #: External IDs of the email by kind, with their latest event times, as stored.
    ids: dict[str, dict[str, int]]
    traits: TimedTraits
    version: int
    status: str
    pending_since: int | None
    changed_at: int
    lane: int
    due_at: int | None
    #: Time of the latest call about the person, to the day.
    touched_at: int | None
    #: See `Profile.lost_at`. Stored for new profiles only.
    lost_at: int | None = None
    touched: bool = False

    def record_call(self, received_at: int) -> None:
        """Record, once a day, that a call was about the person."""
        if self.touched_at is None or received_at - self.touched_at >= DAY:
            self.touched_at = received_at
            self.touched = True

    def record_id(self, key: tuple[IdKind, str], at: int) -> None:
        """Record that a call had the email and this ID at an event time."""
        kind, external_id = key
        of_kind = self.ids.get(kind)
        if of_kind is None:
            of_kind = self.ids[kind.value] = {}  # the plain name: encoding an enum member is slow
        known = of_kind.get(external_id)
        if known is not None and known >= at:
            return
        of_kind[external_id] = at
        self.touched = True
        if known is None and sum(map(len, self.ids.values())) > MAX_IDS:
            self._forget_an_id()

    def correct_times(self, now: int) -> None:
        """Date future times, from a clock that was ahead, just before now: a call that arrives now is newer."""
        if any(at > now + SKEW for at in self.traits):
            times = by_name(self.traits).items()
            self.traits = by_time({name: (value, real_time(at, now)) for name, (value, at) in times})
            self.touched = True
        if any(at > now + SKEW for of_kind in self.ids.values() for at in of_kind.values()):
            self.ids = {
                kind: {each: real_time(at, now) for each, at in of_kind.items()}
                for kind, of_kind in self.ids.items()
            }
            self.touched = True
        if self.touched_at is not None and self.touched_at > now + SKEW:
            self.touched_at = None  # a future time would delay retention

    def id_time(self, key: tuple[IdKind, str]) -> int | None:
        """Return the latest event time of an ID of the email; None: not recorded."""
        kind, external_id = key
        return self.ids.get(kind, {}).get(external_id)

    def merge_traits(
        self, new: TimedTraits, received_at: int, lane: Lane = Lane.LIVE, reads: Reads = reads_none
    ) -> int:
        """Merge traits that arrived at ``received_at`` (microseconds). Return the number of dropped traits.

        The more urgent of the old and the new lane stays.
        """
        merged = merge(self.traits, new, reads)
        if not (merged.touched or self.version == 0):
            return merged.dropped
        self.touched = True
        self.traits = merged.traits
        if merged.value_changed or self.version == 0:
            self.version += 1
            self.status = Status.PENDING
            self.lane = lane if self.pending_since is None else min(self.lane, lane)
            self.pending_since = self.pending_since or received_at
            self.changed_at = self.due_at = received_at
        return merged.dropped

    def _forget_an_id(self) -> None:
        """Drop the ID with the oldest event time."""
        _, kind, each = min((at, kind, each) for kind, ids in self.ids.items() for each, at in ids.items())
        del self.ids[kind][each]
        if not self.ids[kind]:
            del self.ids[kind]


def new_draft(email: str, address: str, lost_at: int | None = None) -> ProfileDraft:
    """Create a draft of a new profile. ``lost_at``: see `Profile.lost_at`."""
    return ProfileDraft(
        email, None, address, None, {}, {}, 0, Status.PENDING, None, 0, Lane.LIVE, None, None, lost_at
    )
