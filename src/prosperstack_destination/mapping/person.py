"""What is known of a person, as expressions see them."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from pydantic import JsonValue

#: Nobody is in any audience, as far as is known.
NO_AUDIENCES: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MappingInput:
    """One person."""

    traits: Mapping[str, JsonValue]
    user_id: str | None = None
    anonymous_id: str | None = None

    def context(self, audiences: Set[str] = NO_AUDIENCES) -> dict[str, JsonValue]:
        """What expressions see: of ``audiences``, those that the person is in, in order."""
        joined: list[JsonValue] = [name for name in sorted(audiences) if _is_in(self.traits.get(name))]
        return {
            "traits": self.traits if isinstance(self.traits, dict) else dict(self.traits),
            "userId": self.user_id,
            "anonymousId": self.anonymous_id,
            "audiences": joined,
        }


def _is_in(membership: JsonValue) -> bool:
    """Whether an audience's trait says that the person is in; journeys send the text "true"."""
    return membership is True or (isinstance(membership, str) and membership.strip().lower() == "true")
