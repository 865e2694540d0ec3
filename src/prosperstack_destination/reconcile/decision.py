"""The decision for one profile, as a pure function of its state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from prosperstack_destination.clock import DAY, MINUTE
from prosperstack_destination.mapping.catalog import Catalog
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.mapping.projection import Projection
from prosperstack_destination.reconcile.three_way_diff import diff
from prosperstack_destination.store.models import Profile, Status
from prosperstack_destination.store.subscribers import Subscriber

#: First and longest interval between lookups of an unmatched profile before the first complete listing, in
#: microseconds; it doubles each time.
FIRST_LOOKUP_RETRY: Final = 10 * MINUTE
MAX_LOOKUP_RETRY: Final = 1 * DAY


@dataclass(frozen=True, slots=True)
class NeedsLookup:
    """The subscribers of the profile's email, or their properties, have to be read again."""

    #: Only a lookup shows the subscribers: a listing of updates since then does not.
    by_email: bool = False


@dataclass(frozen=True, slots=True)
class NeedsUpdate:
    """One subscriber differs from the desired values: one request."""

    subscriber: Subscriber
    #: Values by property key; None deletes.
    send: dict[str, PropertyValue]


@dataclass(frozen=True, slots=True)
class NeedsSubscriptionUpdate:
    """Only subscriptions differ: one request to list them, and one for each that differs."""

    subscribers: tuple[Subscriber, ...]


@dataclass(frozen=True, slots=True)
class InSync:
    """Nothing has to be sent."""

    #: Values found in place, by subscriber id, to be stored as applied.
    already_there: dict[str, dict[str, PropertyValue]]


@dataclass(frozen=True, slots=True)
class Unmatched:
    """No subscriber has the email."""

    #: Time of the next lookup, in microseconds; None: when a listing shows a subscriber.
    lookup_at: int | None


Decision = NeedsLookup | NeedsUpdate | NeedsSubscriptionUpdate | InSync | Unmatched


def decide(
    profile: Profile,
    projection: Projection,
    subscribers: Sequence[Subscriber],
    catalog: Catalog,
    as_of: int | None,
    now: int,
) -> Decision:
    """Return the cheapest step that brings a profile's subscribers closer to the desired values.

    ``as_of`` is the time of the latest complete listing, None for none; ``profile.lost_at`` is None where a listing
    would show the lost subscribers again. No request is sent where nothing could be written. A difference is sent
    without a lookup. A value that seems to be in place counts only if it was observed after the profile changed: it
    may have been edited before, and Segment's value is newer.
    """
    desired = projection.values()
    if not (desired or projection.subscription):  # nothing could be written to any subscriber
        return InSync({})
    known_at = max(as_of or -1, profile.looked_up_at or -1)
    if not subscribers:
        if profile.lost_at is not None:
            lookup_at = lost_lookup_at(profile.lost_at, profile.looked_up_at)
            return NeedsLookup(by_email=True) if lookup_at <= now else Unmatched(lookup_at)
        is_retry_due = profile.status is Status.UNMATCHED and as_of is None
        if known_at < profile.changed_at or is_retry_due:
            return NeedsLookup()
        return Unmatched(now + lookup_retry_delay(profile.attempts) if as_of is None else None)
    already_there: dict[str, dict[str, PropertyValue]] = {}
    for subscriber in subscribers:
        difference = diff(desired, subscriber, catalog)
        if difference.send:
            return NeedsUpdate(subscriber, dict(difference.send))
        if difference.settled:
            if not is_observed_after(profile, subscriber, as_of):
                return NeedsLookup()
            already_there[subscriber.id] = dict(difference.settled)
    return InSync(already_there)


def is_observed_after(profile: Profile, subscriber: Subscriber, as_of: int | None) -> bool:
    """Return whether a subscriber was observed after the profile's latest change."""
    return max(subscriber.observed_at, as_of or -1, profile.looked_up_at or -1) >= profile.changed_at


def lookup_retry_delay(attempts: int) -> int:
    """Return the wait before the next lookup of an unmatched profile, in microseconds.

    10 min, 20, 40, … up to a day: a person may subscribe after the call.
    """
    return min(FIRST_LOOKUP_RETRY << min(attempts, 16), MAX_LOOKUP_RETRY)


def lost_lookup_at(lost_at: int, looked_up_at: int | None) -> int:
    """Return when to look up lost subscribers who were missing at the last lookup.

    At once if that lookup was before they were lost; then 10 min, 40 min, … after the loss, and once a day until a
    sweep finds them or shows them gone. Further calls do not add lookups.
    """
    if looked_up_at is None or looked_up_at < lost_at:
        return lost_at
    return looked_up_at + min(max(3 * (looked_up_at - lost_at), FIRST_LOOKUP_RETRY), MAX_LOOKUP_RETRY)
