"""Result of one call, and the HTTP response of a result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from pydantic import JsonValue
from starlette.responses import Response

from prosperstack_destination.errors import DestinationError, MissingEmail, TemporaryError
from prosperstack_destination.http_responses import (
    error_response,
    json_message,
    sender_status_of,
    with_security_headers,
)
from prosperstack_destination.ingest.email_fields import places_of_emails
from prosperstack_destination.ingest.request_body import parse_object
from prosperstack_destination.mapping.call_rules import LeftOut
from prosperstack_destination.store.json_codec import dump
from prosperstack_destination.store.models import Outcome
from prosperstack_destination.store.recent_calls import CallOutcome


@dataclass(frozen=True, slots=True)
class IngestResult:
    """Result of a call that is not at fault: the status and the message for its sender."""

    status: int
    message: str
    outcome: CallOutcome


#: Result of one call: an `IngestResult`, or the error that rejects the call.
Result = IngestResult | DestinationError

SKIPPED: Final = IngestResult(200, "Skipped: the call's integrations switch ProsperStack off.", CallOutcome.SKIPPED)
IGNORED: Final = IngestResult(
    200, "Ignored: only Identify calls change a person's properties.", CallOutcome.IGNORED
)
#: Results of calls that the account's mapping leaves out.
LEFT_OUT: Final[Mapping[LeftOut, IngestResult]] = {
    LeftOut.FILTERED: IngestResult(
        200, "Left out: the account's mapping does not take this call (accept).", CallOutcome.FILTERED
    ),
    LeftOut.NO_CONSENT: IngestResult(
        200,
        "Left out: the person has not consented to what the mapping requires.",
        CallOutcome.NO_CONSENT,
    ),
}
EXPLAINED: Final = IngestResult(200, "Dry run: nothing was stored.", CallOutcome.EXPLAINED)
_RESULTS: Final[Mapping[Outcome, IngestResult]] = {
    Outcome.ACCEPTED: IngestResult(202, "Accepted.", CallOutcome.ACCEPTED),
    Outcome.HELD: IngestResult(
        202, "Accepted, and held until an Identify call names an email for this id.", CallOutcome.HELD
    ),
    Outcome.OUTDATED: IngestResult(200, "Ignored: the person was deleted after this event.", CallOutcome.OUTDATED),
    Outcome.ERASED: IngestResult(202, "Accepted: the person is forgotten.", CallOutcome.ERASED),
}


def result_of(outcome: Outcome, invalid_emails: Mapping[str, str], text: Callable[[], bytes]) -> Result:
    """Return the result of a call with this outcome; an error where the sender has to change the call.

    ``invalid_emails`` are the call's invalid values in email fields: see `ingest.parser.ParsedIdentify`. ``text``
    returns the call.
    """
    if outcome is Outcome.UNKNOWN:
        places = places_of_emails(parse_object(text()))
        return MissingEmail(has_ids=True, invalid_emails=invalid_emails, found_at=places)
    return _RESULTS[outcome]


def outcome_of(result: Result) -> CallOutcome:
    """Return the outcome of a result, as recent calls and rollups count it."""
    if isinstance(result, IngestResult):
        return result.outcome
    return CallOutcome.LATER if isinstance(result, TemporaryError) else CallOutcome.REFUSED


def rejected_batch(results: Sequence[object], rejected: Sequence[Mapping[str, JsonValue]]) -> Response:
    """Return the response of a batch with only rejected events: their lowest status, and their reasons."""
    statuses = [sender_status_of(result) for result in results if isinstance(result, DestinationError)]
    text = f"All {len(results):,} events are refused. The first: {rejected[0]['message']}"
    body = dump({"message": text, "refused": list(rejected)})
    return Response(body, min(statuses), media_type="application/json")


def response_of(result: Result) -> Response:
    """Return the response of one call's result."""
    return _prepared(result) if isinstance(result, IngestResult) else error_response(result)


@cache
def _prepared(result: IngestResult) -> Response:
    """Return the response of a result with all of its headers, built once: there are a handful of results."""
    response = json_message(result.status, result.message)
    response.raw_headers = list(with_security_headers(response.raw_headers))
    return response
