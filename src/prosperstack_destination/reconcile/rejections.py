"""Rejected updates: bisection to the rejected property, and redaction of ProsperStack's reason."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.errors import DestinationError, ProsperStackError
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.store.json_codec import dump

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


#: Longest text that is kept, in characters.
MAX_LENGTH: Final = 200
#: Placeholder for what is removed.
ELLIPSIS: Final = "…"

_EMAIL: Final = re.compile(r"""[^\s@"'`<>(),:;]+@[^\s@"'`<>(),:;]+""")
#: Text between two quotation marks that are no apostrophes.
_QUOTED: Final = re.compile(r"""(?<!\w)(["'`])(.*?)\1(?!\w)""", re.DOTALL)


def redact(text: str, values: Iterable[JsonValue], keys: Collection[str]) -> str:
    """Return a text cut to `MAX_LENGTH`, without emails, the sent values, and quotations except property keys.

    A number or name of ProsperStack's own stays: it could equal a sent value only by chance.
    """
    if not text:  # the usual case: skip compiling a pattern for each value
        return text
    text = _EMAIL.sub(ELLIPSIS, text)
    texts = {each if isinstance(each, str) else dump(each) for each in values if not isinstance(each, bool | None)}
    for value in sorted(texts - {""}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", ELLIPSIS, text, flags=re.IGNORECASE)
    text = _QUOTED.sub(lambda found: found[0] if found[2] in keys else f"{found[1]}{ELLIPSIS}{found[1]}", text)
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + ELLIPSIS


def reason_of(error: Exception) -> str:
    """Return an error's text for logs and for rows that outlive a person, without personal data."""
    if isinstance(error, ProsperStackError):
        return redact(str(error), (), ())
    return str(error) if isinstance(error, DestinationError) else f"{type(error).__name__} (see the log)"
