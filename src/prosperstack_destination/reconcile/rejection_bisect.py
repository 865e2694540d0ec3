"""Bisection of a rejected update: the search for the property that ProsperStack rejects."""

from collections.abc import Mapping
from dataclasses import dataclass

from prosperstack_destination.mapping.coercion import PropertyValue

Properties = Mapping[str, PropertyValue]


@dataclass(frozen=True, slots=True)
class Fault:
    """The rejected property, with ProsperStack's reason for the smallest update that contained it."""

    key: str
    value: PropertyValue
    reason: str


@dataclass(frozen=True, slots=True)
class RejectionBisect:
    """A search for one rejected property among those of a rejected update.

    Send `attempt`, call `accepted` or `rejected`, until `fault` is set. Accepted attempts are delivered already;
    what was never tried is still to be sent. For n properties this takes at most ceil(log2 n) requests after the
    rejected one.
    """

    #: One of these is rejected.
    candidates: Properties
    #: ProsperStack's reason for the latest rejection.
    reason: str

    @property
    def fault(self) -> Fault | None:
        """The rejected property, once it is known."""
        if len(self.candidates) != 1:
            return None
        [(key, value)] = self.candidates.items()
        return Fault(key, value, self.reason)

    @property
    def attempt(self) -> Properties:
        """The next update to send: half of the candidates."""
        keys = list(self.candidates)[: len(self.candidates) // 2]
        return {key: self.candidates[key] for key in keys}

    def accepted(self) -> "RejectionBisect":
        """Return the search after the attempt was accepted: the fault is in the other half."""
        attempt = self.attempt
        rest = {key: value for key, value in self.candidates.items() if key not in attempt}
        return RejectionBisect(rest, self.reason)

    def rejected(self, reason: str) -> "RejectionBisect":
        """Return the search after the attempt was rejected: it contains a fault."""
        return RejectionBisect(self.attempt, reason)
