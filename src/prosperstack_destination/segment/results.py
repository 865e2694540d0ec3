"""What one call comes to: an answer, or the error that it is refused with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prosperstack_destination.errors import DestinationError, MissingEmail, TemporaryError
from prosperstack_destination.state.profile import Outcome
from prosperstack_destination.state.recent_calls import CallOutcome


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What a sender is told of one event that was no fault of theirs."""

    status: int
    message: str
    outcome: CallOutcome


#: What one event comes to.
Result = IngestResult | DestinationError

SKIPPED: Final = IngestResult(200, "Skipped: the call's integrations switch ProsperStack off.", CallOutcome.SKIPPED)
IGNORED: Final = IngestResult(200, "Ignored: only Identify calls say something of a person.", CallOutcome.IGNORED)
EXPLAINED: Final = IngestResult(200, "Dry run: nothing was stored.", CallOutcome.EXPLAINED)
_ANSWERS: Final[Mapping[Outcome, IngestResult]] = {
    Outcome.ACCEPTED: IngestResult(202, "Accepted.", CallOutcome.ACCEPTED),
    Outcome.HELD: IngestResult(
        202, "Accepted, and held until an Identify call names an email for this id.", CallOutcome.HELD
    ),
    Outcome.OUTDATED: IngestResult(200, "Ignored: the person was deleted after this event.", CallOutcome.OUTDATED),
    Outcome.ERASED: IngestResult(202, "Accepted: the person is forgotten.", CallOutcome.ERASED),
}


def result_of(outcome: Outcome, no_emails: Mapping[str, str] | None = None) -> Result:
    """The result of a call with this outcome; an error where its sender has to do something.

    ``no_emails`` are the values that the call has in place of an email: see `segment.call.Understood`.
    """
    if outcome is Outcome.UNKNOWN:
        return MissingEmail(has_ids=True, no_emails=no_emails)
    return _ANSWERS[outcome]


def outcome_of(result: Result) -> CallOutcome:
    """What became of a call that came to this."""
    if isinstance(result, IngestResult):
        return result.outcome
    return CallOutcome.LATER if isinstance(result, TemporaryError) else CallOutcome.REFUSED
