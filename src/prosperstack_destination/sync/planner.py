"""What to do next for a profile: a pure function of what is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from prosperstack_destination.clock import DAY, MINUTE
from prosperstack_destination.mapping.catalog import Catalog
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.mapping.projection import Projection
from prosperstack_destination.state.directory import Subscriber
from prosperstack_destination.state.profile import Profile
from prosperstack_destination.sync.difference import differences

#: What was observed longer ago than this is looked up again before a write relies on it, in microseconds.
OBSERVED_FOR: Final = 5 * MINUTE
#: A profile that nobody matches is looked up again after this, then after twice as long, up to the second.
FIRST_LOOK_AGAIN: Final = 10 * MINUTE
LONGEST_LOOK_AGAIN: Final = 1 * DAY
#: A new call about a person who was not found does not look again sooner than this, in microseconds.
MISSED_FOR: Final = 1 * MINUTE


@dataclass(frozen=True, slots=True)
class LookUp:
    """Ask which subscribers have the profile's email. One request (one more for each further hundred)."""


@dataclass(frozen=True, slots=True)
class Update:
    """Send properties to one subscriber: one request."""

    subscriber: Subscriber
    #: By property key; None deletes.
    send: dict[str, PropertyValue]


@dataclass(frozen=True, slots=True)
class Settle:
    """Nothing has to be sent."""

    #: By subscriber id: values that are there already, to be noted as applied.
    found: dict[str, dict[str, PropertyValue]]


@dataclass(frozen=True, slots=True)
class Miss:
    """Nobody has the email: look again then (microseconds)."""

    look_again_at: int


Step = LookUp | Update | Settle | Miss


def next_step(
    profile: Profile,
    projection: Projection,
    subscribers: Sequence[Subscriber],
    catalog: Catalog,
    now: int,
) -> Step:
    """The cheapest step that brings a profile's subscribers nearer to what is desired.

    Looking up comes first where nobody is known, or where a write would rely on an old observation; nothing
    is asked where nothing has to be written.
    """
    desired = projection.values()
    if not desired:  # nothing could be written, whoever they are
        return Settle({})
    age = None if profile.looked_up_at is None else now - profile.looked_up_at
    if not subscribers:
        if age is None or not 0 <= age < MISSED_FOR:
            return LookUp()
        return Miss(now + look_again_after(profile.attempts))
    found: dict[str, dict[str, PropertyValue]] = {}
    for subscriber in subscribers:
        difference = differences(desired, subscriber, catalog)
        if difference.send:
            if age is None or not 0 <= age < OBSERVED_FOR:
                return LookUp()
            return Update(subscriber, dict(difference.send))
        if difference.settled:
            found[subscriber.id] = dict(difference.settled)
    return Settle(found)


def look_again_after(attempts: int) -> int:
    """How long an unmatched profile waits for its next look-up, in microseconds.

    10 min, 20, 40, … up to a day: somebody may become a subscriber after the call.
    """
    return min(FIRST_LOOK_AGAIN << min(attempts, 16), LONGEST_LOOK_AGAIN)
