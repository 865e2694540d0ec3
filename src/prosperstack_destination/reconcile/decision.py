"""What a profile needs: a pure function of what is known of it."""

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

#: While the directory is not complete an unmatched profile is looked up again after this, then after twice as
#: long, up to the second, in microseconds.
FIRST_LOOKUP_RETRY: Final = 10 * MINUTE
MAX_LOOKUP_RETRY: Final = 1 * DAY


@dataclass(frozen=True, slots=True)
class NeedsLookup:
    """It has to be learned who has the profile's email, or what they have by now."""

    #: Only a look-up would show it: no listing of what was updated since does.
    by_email: bool = False


@dataclass(frozen=True, slots=True)
class NeedsUpdate:
    """One subscriber has something else than is desired: one request."""

    subscriber: Subscriber
    #: By property key; None deletes.
    send: dict[str, PropertyValue]


@dataclass(frozen=True, slots=True)
class NeedsSubscriptionUpdate:
    """The subscribers have what is desired, and subscriptions of theirs do not: one request each, and one more."""

    subscribers: tuple[Subscriber, ...]


@dataclass(frozen=True, slots=True)
class InSync:
    """Nothing has to be sent."""

    #: By subscriber id: values that are there already, to be noted as applied.
    found: dict[str, dict[str, PropertyValue]]


@dataclass(frozen=True, slots=True)
class Unmatched:
    """Nobody has the email."""

    #: Look again then (microseconds); None: when the directory learns of somebody.
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
    """What brings a profile's subscribers nearer to what is desired, at the least cost.

    ``as_of`` is when the directory was complete, None: never; ``profile.lost_at`` is None where the directory shows
    again whoever was lost then. Nothing is asked where nothing could be written. A
    difference is sent without asking first. What seems to be there already is believed only if it was observed
    after the profile changed: somebody may have edited it before, and what Segment says is newer.
    """
    desired = projection.values()
    if not (desired or projection.subscription):  # nothing could be written, whoever they are
        return InSync({})
    known_at = max(as_of or -1, profile.looked_up_at or -1)
    if not subscribers:
        if profile.lost_at is not None:
            again_at = lost_lookup_at(profile.lost_at, profile.looked_up_at)
            return NeedsLookup(by_email=True) if again_at <= now else Unmatched(again_at)
        its_time_has_come = profile.status is Status.UNMATCHED and as_of is None
        if known_at < profile.changed_at or its_time_has_come:
            return NeedsLookup()
        return Unmatched(now + lookup_retry_delay(profile.attempts) if as_of is None else None)
    found: dict[str, dict[str, PropertyValue]] = {}
    for subscriber in subscribers:
        difference = diff(desired, subscriber, catalog)
        if difference.send:
            return NeedsUpdate(subscriber, dict(difference.send))
        if difference.settled:
            if not is_observed_after(profile, subscriber, as_of):
                return NeedsLookup()
            found[subscriber.id] = dict(difference.settled)
    return InSync(found)


def is_observed_after(profile: Profile, subscriber: Subscriber, as_of: int | None) -> bool:
    """Whether what is known of a subscriber was seen after the profile's newest change."""
    return max(subscriber.observed_at, as_of or -1, profile.looked_up_at or -1) >= profile.changed_at


def lookup_retry_delay(attempts: int) -> int:
    """How long an unmatched profile waits for its next look-up, in microseconds.

    10 min, 20, 40, … up to a day: somebody may become a subscriber after the call.
    """
    return min(FIRST_LOOKUP_RETRY << min(attempts, 16), MAX_LOOKUP_RETRY)


def lost_lookup_at(lost_at: int, looked_up_at: int | None) -> int:
    """When to look again for subscribers who were forgotten, and were not there when they were looked up last.

    At once if that was before; then 10 min, 40 min, … after they were lost, and once a day until a sweep shows them
    or that they are gone. However many calls come meanwhile, it costs no more.
    """
    if looked_up_at is None or looked_up_at < lost_at:
        return lost_at
    return looked_up_at + min(max(3 * (looked_up_at - lost_at), FIRST_LOOKUP_RETRY), MAX_LOOKUP_RETRY)
