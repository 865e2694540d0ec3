"""What Segment says of one person, and one call's contribution to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import JsonValue

#: A trait's value and its event time, in microseconds since the epoch.
Stamped = tuple[JsonValue, int]


@dataclass(frozen=True, slots=True)
class Identify:
    """One Identify call, understood: whose, about whom, what, and when."""

    account_id: str
    #: Trimmed and in lower case: the person's identity within the account.
    email: str
    #: The email as it was sent; ProsperStack may tell cases apart.
    address: str
    traits: Mapping[str, JsonValue]
    #: The event's own time, in microseconds since the epoch; never later than `received_at`.
    at: int
    #: When it got here, in microseconds since the epoch.
    received_at: int
    user_id: str | None = None
    #: How much memory it holds, by the length of its body in bytes.
    size: int = 0


class Status(StrEnum):
    """How a profile stands with ProsperStack."""

    #: Something changed that the reconciler has not settled yet.
    PENDING = "pending"
    #: Every matching subscriber has what is desired, or had it edited there since.
    IN_SYNC = "in_sync"
    #: No subscriber has this email, as of the last look.
    UNMATCHED = "unmatched"
    #: ProsperStack rejects the email itself; tried again when the person's next call comes.
    SET_ASIDE = "set_aside"


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
    #: When its subscribers were last looked up, in microseconds; None: never.
    looked_up_at: int | None
    #: How many attempts in a row came to nothing: nobody was found, or ProsperStack failed.
    attempts: int

    def values(self) -> dict[str, JsonValue]:
        """The traits without their times, as the mapping takes them."""
        return {name: value for name, (value, _) in self.traits.items()}
