"""What Segment says of one person, and one call's contribution to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from pydantic import JsonValue

#: A trait's value and its event time, in microseconds since the epoch.
Stamped = tuple[JsonValue, int]


class IdKind(StrEnum):
    """Whose id it is: the customer's own of a person, or Segment's of a browser."""

    USER = "user"
    ANONYMOUS = "anonymous"


#: By their values, as they stand in the tables.
ID_KINDS: Final[Mapping[str, IdKind]] = {kind.value: kind for kind in IdKind}


class Lane(IntEnum):
    """How urgent it is to deliver a profile; the lower, the sooner."""

    #: The person is about to cancel, and what is shown to them depends on it; or an operator waits for it.
    CANCELLING = 0
    #: Something just happened to the person.
    LIVE = 1
    #: One of many: an audience of Engage's, a computed trait, another mapping.
    BULK = 2


class SourceKind(StrEnum):
    """What calls come from."""

    #: A source of Segment's.
    SOURCE = "source"
    #: An audience of Engage: its trait says who is in.
    AUDIENCE = "audience"
    #: A computed trait of Engage.
    TRAIT = "trait"


@dataclass(slots=True)  # frozen, it and `Identify` would take five times as long to make, for each call
class CallSource:
    """Where a call comes from."""

    kind: SourceKind
    #: A source's ``projectId``; the name of the trait that Engage computes.
    key: str
    #: The library that sent it.
    name: str = ""


@dataclass(slots=True)
class Identify:
    """One Identify call, understood: whose, about whom, what, and when."""

    account_id: str
    #: Trimmed and in lower case: the person's identity within the account. None: the ids have to tell it.
    email: str | None
    #: The email as it was sent; ProsperStack may tell cases apart.
    address: str
    traits: Mapping[str, JsonValue]
    #: The event's own time, in microseconds since the epoch; never later than `received_at`.
    at: int
    #: When it got here, in microseconds since the epoch.
    received_at: int
    user_id: str | None = None
    anonymous_id: str | None = None
    source: CallSource | None = None
    #: How much memory it holds, by the length of its body in bytes.
    size: int = 0
    #: It is one of very many that nobody waits for, as those of a file are.
    in_bulk: bool = False

    @property
    def ids(self) -> tuple[tuple[IdKind, str], ...]:
        """Its ids, the one that tells more first."""
        if self.user_id is None:
            return () if self.anonymous_id is None else ((IdKind.ANONYMOUS, self.anonymous_id),)
        user = (IdKind.USER, self.user_id)
        return (user,) if self.anonymous_id is None else (user, (IdKind.ANONYMOUS, self.anonymous_id))

    @property
    def lane(self) -> Lane:
        """How urgent it is: Engage sends whole audiences at once."""
        return Lane.BULK if self.from_engage or self.in_bulk else Lane.LIVE

    @property
    def from_engage(self) -> bool:
        """Engage sends every person twice, with and without the email: the latter is no fault."""
        return self.source is not None and self.source.kind is not SourceKind.SOURCE


@dataclass(frozen=True, slots=True)
class Delete:
    """One Delete call (GDPR, CCPA), understood."""

    account_id: str
    user_id: str
    #: The event's own time, in microseconds since the epoch; never later than `received_at`.
    at: int
    received_at: int
    size: int = 0


Call = Identify | Delete


class Outcome(StrEnum):
    """What became of a call, once its transaction is on disk."""

    #: Merged into a profile; also where it said nothing new.
    ACCEPTED = "accepted"
    #: Kept under its id until an email is known for it.
    HELD = "held"
    #: It names no email, and none is known for its ids: nothing was kept.
    UNKNOWN = "unknown"
    #: It is older than the person's deletion: nothing was kept.
    OUTDATED = "outdated"
    #: The person was erased, if they were known at all.
    ERASED = "erased"


class Status(StrEnum):
    """How a profile stands with ProsperStack."""

    #: Something changed that the reconciler has not looked at yet.
    PENDING = "pending"
    #: A subscriber has something else than is desired: an update waits for its turn. (Or, rarely, a look-up does,
    #: of somebody whose subscriber was said to be gone.)
    READY = "ready"
    #: Whether there is a subscriber, or what one has by now, has to be learned first.
    UNKNOWN = "unknown"
    #: Every matching subscriber has what is desired, or had it edited there since.
    IN_SYNC = "in_sync"
    #: No subscriber has this email, as of the last look.
    UNMATCHED = "unmatched"
    #: ProsperStack rejects the email itself; tried again when the person's next call comes.
    SET_ASIDE = "set_aside"


#: Profiles that the reconciler has to do something for; an unmatched one that is due is only looked at again.
UNSETTLED = (Status.PENDING, Status.READY, Status.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Profile:
    """What Segment says of one email, merged."""

    id: int
    account_id: str
    email: str
    address: str
    user_id: str | None
    traits: Mapping[str, Stamped]
    #: Grows with every change of a value. What is settled names the version that it settled.
    version: int
    status: Status
    #: Why it is set aside, or why the latest attempt failed.
    status_reason: str | None
    #: When the oldest change that is not settled came in, in microseconds; None: nothing is pending.
    pending_since: int | None
    #: When the newest change came in, or what was known of its subscribers proved wrong, in microseconds: what was
    #: observed before that tells nothing against it.
    changed_at: int
    lane: Lane
    #: When its subscribers were last looked up, in microseconds; None: never.
    looked_up_at: int | None
    #: How many attempts in a row came to nothing: nobody was found, or ProsperStack failed.
    attempts: int
    #: The anonymous id that came with the email last.
    anonymous_id: str | None = None
    #: When a subscriber with the email was forgotten that only a listing of all, or a look-up, would show again, in
    #: microseconds; None: never.
    lost_at: int | None = None

    def values(self) -> dict[str, JsonValue]:
        """The traits without their times, as the mapping takes them."""
        return {name: value for name, (value, _) in self.traits.items()}
