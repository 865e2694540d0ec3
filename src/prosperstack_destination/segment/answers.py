"""What Segment and its users are answered: a status that Segment acts on, a message that a person reads."""

from collections.abc import Mapping, Sequence
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
    RateExceeded,
    TemporaryError,
    UnsupportedCall,
    UnsupportedEncoding,
)
from prosperstack_destination.retry_after import retry_after_header
from prosperstack_destination.security_headers import with_security_headers
from prosperstack_destination.segment.results import IngestResult, Result
from prosperstack_destination.state.json_text import dump

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


def rejected_batch(results: Sequence[object], refused: Sequence[Mapping[str, JsonValue]]) -> Response:
    """The answer for a batch of which every event is refused: the least of their statuses, and their reasons."""
    statuses = [status_of(each) for each in results if isinstance(each, DestinationError)]
    text = f"All {len(results):,} events are refused. The first: {refused[0]['message']}"
    return Response(dump({"message": text, "refused": list(refused)}), min(statuses), media_type="application/json")


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
