"""What one call comes to: an answer, or the error that it is refused with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prosperstack_destination.errors import DestinationError, MissingEmail, TryLater
from prosperstack_destination.state.profile import Outcome
from prosperstack_destination.state.recent_calls import Fate


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sender is told of one event that was no fault of theirs."""

    status: int
    message: str
    fate: Fate


#: What one event comes to.
Result = Answer | DestinationError

SKIPPED: Final = Answer(200, "Skipped: the call's integrations switch ProsperStack off.", Fate.SKIPPED)
IGNORED: Final = Answer(200, "Ignored: only Identify calls say something of a person.", Fate.IGNORED)
EXPLAINED: Final = Answer(200, "Dry run: nothing was stored.", Fate.EXPLAINED)
_ANSWERS: Final[Mapping[Outcome, Answer]] = {
    Outcome.ACCEPTED: Answer(202, "Accepted.", Fate.ACCEPTED),
    Outcome.HELD: Answer(202, "Accepted, and held until an Identify call names an email for this id.", Fate.HELD),
    Outcome.OUTDATED: Answer(200, "Ignored: the person was deleted after this event.", Fate.OUTDATED),
    Outcome.ERASED: Answer(202, "Accepted: the person is forgotten.", Fate.ERASED),
}


def result_of(outcome: Outcome, no_emails: Mapping[str, str] | None = None) -> Result:
    """The result of a call with this outcome; an error where its sender has to do something.

    ``no_emails`` are the values that the call has in place of an email: see `segment.call.Understood`.
    """
    if outcome is Outcome.UNKNOWN:
        return MissingEmail(has_ids=True, no_emails=no_emails)
    return _ANSWERS[outcome]


def fate_of(result: Result) -> Fate:
    """What became of a call that came to this."""
    if isinstance(result, Answer):
        return result.fate
    return Fate.LATER if isinstance(result, TryLater) else Fate.REFUSED
