"""What is known of a person, as expressions see them."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from pydantic import JsonValue

#: Nobody is in any audience, as far as is known.
NO_AUDIENCES: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Person:
    """One person."""

    traits: Mapping[str, JsonValue]
    user_id: str | None = None
    anonymous_id: str | None = None

    def context(self, audiences: Set[str] = NO_AUDIENCES) -> dict[str, JsonValue]:
        """What expressions see: of ``audiences``, those that the person is in, in order."""
        joined: list[JsonValue] = [name for name in sorted(audiences) if self.traits.get(name) is True]
        return {
            "traits": self.traits if isinstance(self.traits, dict) else dict(self.traits),
            "userId": self.user_id,
            "anonymousId": self.anonymous_id,
            "audiences": joined,
        }
