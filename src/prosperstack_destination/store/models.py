"""Domain types: calls, profiles, and their statuses and lanes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final

from pydantic import JsonValue

#: Trait value and its event time, in microseconds since the epoch.
Stamped = tuple[JsonValue, int]
#: Traits by event time, in microseconds since the epoch. A trait has one time.
TimedTraits = Mapping[int, Mapping[str, JsonValue]]


class IdKind(StrEnum):
    """Kind of an external ID: the customer's own user ID, or Segment's anonymous ID of a browser."""

    USER = "user"
    ANONYMOUS = "anonymous"


#: Kinds of external IDs by their values in the tables.
ID_KINDS: Final[Mapping[str, IdKind]] = {kind.value: kind for kind in IdKind}


class Lane(IntEnum):
    """Priority of a profile's delivery; lower values go first."""

    #: The person is in a cancel flow that shows their properties, or an operator waits for the delivery.
    CANCELLING = 0
    #: An event of the person has just happened.
    LIVE = 1
    #: One of many: an Engage audience, a computed trait, an import, another mapping.
    BULK = 2


class SourceKind(StrEnum):
    """Kind of origin of a call."""

    #: Segment source.
    SOURCE = "source"
    #: Engage audience; its trait says whether the person is a member.
    AUDIENCE = "audience"
    #: Engage computed trait.
    TRAIT = "trait"


@dataclass(slots=True)  # not frozen: creating a frozen one takes five times as long, for each call
class CallSource:
    """Origin of a call."""

    kind: SourceKind
    #: ``projectId`` of a Segment source, or name of the trait that Engage computes.
    key: str
    #: Name of the library that sent the call.
    name: str = ""


@dataclass(slots=True)
class Identify:
    """Parsed Identify call."""

    account_id: str
    #: Trimmed and in lower case: the person's key within the account. None: the IDs resolve to it.
    email: str | None
    #: Email in its original case, since ProsperStack may compare case-sensitively.
    address: str
    traits: Mapping[str, JsonValue]
    #: Event time, in microseconds since the epoch; never later than `received_at`.
    at: int
    #: Arrival time, in microseconds since the epoch.
    received_at: int
    user_id: str | None = None
    anonymous_id: str | None = None
    source: CallSource | None = None
    #: Memory that the call holds: the length of its body in bytes.
    size: int = 0
    #: One of very many calls without a waiting sender, as from an import.
    in_bulk: bool = False
    #: The user ID in its original case if it is an email address: used where no email is known for the IDs.
    id_email: str | None = None
    #: The former ID of an Alias call, which leads to the same email from then on.
    previous_id: str | None = None
    #: The call is held if no email is known for its IDs, as Engage's calls are.
    may_be_held: bool = False

    @property
    def ids(self) -> tuple[tuple[IdKind, str], ...]:
        """The external IDs, the user ID first."""
        if self.previous_id is not None:
            former = ((kind, self.previous_id) for kind in IdKind)
            return ((IdKind.USER, self.user_id or self.previous_id), *former)
        if self.user_id is None:
            return () if self.anonymous_id is None else ((IdKind.ANONYMOUS, self.anonymous_id),)
        user = (IdKind.USER, self.user_id)
        return (user,) if self.anonymous_id is None else (user, (IdKind.ANONYMOUS, self.anonymous_id))

    @property
    def lane(self) -> Lane:
        """Priority: Engage sends whole audiences at once."""
        return Lane.BULK if self.from_engage or self.in_bulk else Lane.LIVE

    @property
    def from_engage(self) -> bool:
        """True if Engage sent the call. It sends each person twice, with and without the email."""
        return self.source is not None and self.source.kind is not SourceKind.SOURCE


@dataclass(frozen=True, slots=True)
class Delete:
    """Parsed Delete call (GDPR, CCPA)."""

    account_id: str
    user_id: str
    #: Event time, in microseconds since the epoch; never later than `received_at`.
    at: int
    received_at: int
    size: int = 0


Call = Identify | Delete


class Outcome(StrEnum):
    """Result of a call whose transaction is on disk."""

    #: Merged into a profile, whether it changed anything or not.
    ACCEPTED = "accepted"
    #: Stored under its external ID until an email is known for it.
    HELD = "held"
    #: Contains no email, and none is known for its IDs: nothing is stored.
    UNKNOWN = "unknown"
    #: Older than the person's deletion: nothing is stored.
    OUTDATED = "outdated"
    #: The person is erased, whether they were known or not.
    ERASED = "erased"


class Status(StrEnum):
    """Delivery status of a profile."""

    #: Changed since the reconciler's last evaluation.
    PENDING = "pending"
    #: A subscriber differs from the desired values: an update waits for its turn. (Rarely a lookup does, for a
    #: subscriber that ProsperStack reported as missing.)
    READY = "ready"
    #: Waits for a lookup or listing: whether a subscriber exists, or its values, are unknown.
    UNKNOWN = "unknown"
    #: Every matching subscriber has the desired values, or was edited in ProsperStack since.
    IN_SYNC = "in_sync"
    #: No subscriber has this email, as of the last lookup.
    UNMATCHED = "unmatched"
    #: ProsperStack rejects the email itself; retried with the person's next call. (Stored as ``set_aside``.)
    REJECTED = "set_aside"


#: Statuses that need work of the reconciler. An unmatched profile that is due is only looked up again.
UNSETTLED = (Status.PENDING, Status.READY, Status.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Profile:
    """Profile of one email: all traits received for it, merged per trait."""

    id: int
    account_id: str
    email: str
    address: str
    user_id: str | None
    traits: Mapping[str, Stamped]
    #: Grows with every change of a value. `profiles.settle` names the version that it settles.
    version: int
    status: Status
    #: Reason of a rejection, or of the latest failed attempt.
    status_reason: str | None
    #: Arrival time of the oldest change that is not delivered, in microseconds; None: nothing is pending.
    pending_since: int | None
    #: Time of the newest change, or of the moment when the observed values proved wrong, in microseconds. Older
    #: observations say nothing about the present values.
    changed_at: int
    lane: Lane
    #: Time of the last subscriber lookup, in microseconds; None: never.
    looked_up_at: int | None
    #: Number of consecutive attempts without result: no subscriber found, or a failure of ProsperStack.
    attempts: int
    #: Anonymous ID of the email's latest call that had one.
    anonymous_id: str | None = None
    #: Time when a subscriber with this email was forgotten, in microseconds; None: never. Only a full listing or a
    #: lookup finds it again.
    lost_at: int | None = None
    #: Parts of calls that rules read besides the traits: see `facts`.
    facts: Mapping[str, Stamped] = field(default_factory=dict)

    def values(self) -> dict[str, JsonValue]:
        """Return the traits without their times, as the mapping takes them."""
        return {name: value for name, (value, _) in self.traits.items()}
