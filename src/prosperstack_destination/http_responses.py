"""JSON responses: the status of each error, its headers, and the headers that protect browsers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from starlette.responses import Response

from prosperstack_destination.errors import (
    AccessDenied,
    AlreadyConnected,
    ApiKeyForbidden,
    CallNotPermitted,
    CallTooLarge,
    ConfigurationError,
    DestinationError,
    InvalidApiKey,
    InvalidCall,
    InvalidInput,
    InvalidToken,
    MappingConflict,
    MappingError,
    NotFoundError,
    NoTokensIssued,
    ProblemsRise,
    RateExceeded,
    SegmentApiError,
    TemporaryError,
    UnsupportedCall,
    UnsupportedEncoding,
)
from prosperstack_destination.http_client import retry_after_header
from prosperstack_destination.store.json_codec import dump

#: HTTP statuses of errors. The nearest class of an error counts.
#: Segment repeats a call only after 503; API clients may repeat a request only after 503 or 429.
STATUSES: Final[Mapping[type[DestinationError], int]] = {
    InvalidCall: 400,
    InvalidApiKey: 401,
    InvalidToken: 401,
    AccessDenied: 403,
    ApiKeyForbidden: 403,
    CallNotPermitted: 403,
    NoTokensIssued: 403,
    NotFoundError: 404,
    AlreadyConnected: 409,
    MappingConflict: 409,
    ProblemsRise: 409,
    CallTooLarge: 413,
    UnsupportedEncoding: 415,
    ConfigurationError: 422,
    InvalidInput: 422,
    MappingError: 422,
    SegmentApiError: 422,
    RateExceeded: 429,
    UnsupportedCall: 501,
    TemporaryError: 503,
}
#: Errors that an operator can correct in the request, but a sender of calls cannot: 500 for a sender.
OPERATOR_ERRORS: Final = (ConfigurationError, InvalidInput, MappingError, NotFoundError, SegmentApiError)

Header = tuple[bytes, bytes]

#: Headers of HTML pages.
_PAGE_HEADERS: Final[tuple[Header, ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
)
#: Headers of all other responses: a browser loads nothing from them.
_DATA_HEADERS: Final[tuple[Header, ...]] = (
    *_PAGE_HEADERS,
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


def status_of(error: DestinationError) -> int:
    """Return the HTTP status of an error, by the nearest of its classes; 500 for an error without a status."""
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


def sender_status_of(error: DestinationError) -> int:
    """Return the HTTP status of an error for a sender of calls; 500 for `OPERATOR_ERRORS`."""
    return 500 if isinstance(error, OPERATOR_ERRORS) else status_of(error)


def json_message(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with the body ``{"message": …}``, which Segment shows in its debugger."""
    return Response(dump({"message": text}), status, headers, "application/json")


def error_response(error: DestinationError) -> Response:
    """Return the response of an error to a sender of calls."""
    return json_message(sender_status_of(error), str(error), error_headers(error))


def error_headers(error: DestinationError) -> dict[str, str]:
    """Return the headers of an error: the authentication scheme, the seconds to wait, or the accepted encodings."""
    headers: dict[str, str] = {}
    if isinstance(error, InvalidApiKey):
        headers["WWW-Authenticate"] = 'Basic realm="ProsperStack Destination"'
    if isinstance(error, TemporaryError):
        headers["Retry-After"] = retry_after_header(error.retry_after)
    if isinstance(error, UnsupportedEncoding):
        headers["Accept-Encoding"] = "gzip, deflate"
    return headers


def with_security_headers(headers: Iterable[Header]) -> Sequence[Header]:
    """Return the headers of a response and the security headers that it lacks.

    The headers of a prepared response, which this function returned before, come back unchanged.
    """
    own = headers if isinstance(headers, list) else list(headers)
    if own and own[-1] is _DATA_HEADERS[-1]:
        return own
    named = dict(own)
    defaults = _PAGE_HEADERS if b"text/html" in named.get(b"content-type", b"") else _DATA_HEADERS
    return [*own, *(header for header in defaults if header[0] not in named)]
