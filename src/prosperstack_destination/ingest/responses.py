"""What one call comes to: an answer, or the error that it is refused with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from pydantic import JsonValue
from starlette.responses import Response

from prosperstack_destination.errors import (
    ApiKeyForbidden,
    CallNotPermitted,
    CallTooLarge,
    DestinationError,
    InvalidApiKey,
    InvalidCall,
    MissingEmail,
    RateExceeded,
    TemporaryError,
    UnsupportedCall,
    UnsupportedEncoding,
)
from prosperstack_destination.retry_after import retry_after_header
from prosperstack_destination.security_headers import with_security_headers
from prosperstack_destination.store.json_codec import dump
from prosperstack_destination.store.models import Outcome
from prosperstack_destination.store.recent_calls import CallOutcome


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


def result_of(outcome: Outcome, invalid_emails: Mapping[str, str] | None = None) -> Result:
    """The result of a call with this outcome; an error where its sender has to do something.

    ``no_emails`` are the values that the call has in place of an email: see `ingest.parser.Understood`.
    """
    if outcome is Outcome.UNKNOWN:
        return MissingEmail(has_ids=True, invalid_emails=invalid_emails)
    return _ANSWERS[outcome]


def outcome_of(result: Result) -> CallOutcome:
    """What became of a call that came to this."""
    if isinstance(result, IngestResult):
        return result.outcome
    return CallOutcome.LATER if isinstance(result, TemporaryError) else CallOutcome.REFUSED


#: Segment's contract: of these it sends again only what gets 503.
STATUS: Final[Mapping[type[DestinationError], int]] = {
    InvalidCall: 400,
    InvalidApiKey: 401,
    ApiKeyForbidden: 403,
    CallNotPermitted: 403,
    CallTooLarge: 413,
    UnsupportedEncoding: 415,
    UnsupportedCall: 501,
    RateExceeded: 429,
    TemporaryError: 503,
}


def status_of(error: DestinationError) -> int:
    """The HTTP status of an error, by the nearest of its classes; 500 for one that no caller should see."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def json_message(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with ``{"message": …}``, which Segment shows in its debugger."""
    return Response(dump({"message": text}), status, headers, "application/json")


def rejected_batch(results: Sequence[object], rejected: Sequence[Mapping[str, JsonValue]]) -> Response:
    """The answer for a batch of which every event is refused: the least of their statuses, and their reasons."""
    statuses = [status_of(each) for each in results if isinstance(each, DestinationError)]
    text = f"All {len(results):,} events are refused. The first: {rejected[0]['message']}"
    return Response(
        dump({"message": text, "refused": list(rejected)}), min(statuses), media_type="application/json"
    )


def response_of(result: Result) -> Response:
    """The answer for what one event comes to."""
    return _said(result) if isinstance(result, IngestResult) else error_response(result)


@cache
def _said(answer: IngestResult) -> Response:
    """The response of an answer, prepared once with all of its headers: there are a handful of them."""
    response = json_message(answer.status, answer.message)
    response.raw_headers = list(with_security_headers(response.raw_headers))
    return response


def error_response(error: DestinationError) -> Response:
    """The answer for an error."""
    return json_message(status_of(error), str(error), error_headers(error))


def error_headers(error: DestinationError) -> dict[str, str]:
    """What an error says in the headers: how to authenticate, or when to come back (in seconds)."""
    headers: dict[str, str] = {}
    if isinstance(error, InvalidApiKey):
        headers["WWW-Authenticate"] = 'Basic realm="ProsperStack Destination"'
    if isinstance(error, TemporaryError):
        headers["Retry-After"] = retry_after_header(error.retry_after)
    if isinstance(error, UnsupportedEncoding):
        headers["Accept-Encoding"] = "gzip, deflate"
    return headers
