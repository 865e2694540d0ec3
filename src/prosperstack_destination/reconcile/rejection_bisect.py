"""Finding the property that makes ProsperStack reject a whole update, in few requests."""

from collections.abc import Mapping
from dataclasses import dataclass

from prosperstack_destination.mapping.coercion import PropertyValue

Properties = Mapping[str, PropertyValue]


@dataclass(frozen=True, slots=True)
class Fault:
    """The property at fault, and ProsperStack's words about the smallest update that had it."""

    key: str
    value: PropertyValue
    reason: str


@dataclass(frozen=True, slots=True)
class RejectionBisect:
    """A search for one property at fault among those of a rejected update.

    Halving: send `attempt`, tell the search what came of it, until `fault` is there. What was accepted on the
    way is delivered already; what was never tried is simply still to be sent. For n properties this takes at
    most ceil(log2 n) requests after the rejected one.
    """

    #: One of these is at fault.
    candidates: Properties
    #: ProsperStack's words about the latest update that was rejected.
    reason: str

    @property
    def fault(self) -> Fault | None:
        """The property at fault, once it is known."""
        if len(self.candidates) != 1:
            return None
        [(key, value)] = self.candidates.items()
        return Fault(key, value, self.reason)

    @property
    def attempt(self) -> Properties:
        """What to send next: half of the suspects."""
        keys = list(self.candidates)[: len(self.candidates) // 2]
        return {key: self.candidates[key] for key in keys}

    def accepted(self) -> "RejectionBisect":
        """The attempt went through: the fault is in the other half."""
        attempt = self.attempt
        rest = {key: value for key, value in self.candidates.items() if key not in attempt}
        return RejectionBisect(rest, self.reason)

    def rejected(self, reason: str) -> "RejectionBisect":
        """The attempt was rejected: a fault is in it, and nothing is known of the other half."""
        return RejectionBisect(self.attempt, reason)
