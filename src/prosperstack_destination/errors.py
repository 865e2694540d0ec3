"""What can go wrong, grouped by what happens next.

    DestinationError
    ├── CallRefused            the call is at fault: give up, and tell its sender why
    │   ├── BadCall              it is malformed, or says nothing we can act on
    │   │   ├── MissingEmail     nobody can be found by it
    │   │   └── InvalidTime      a row of a file has a time that cannot be used
    │   ├── CallTooLarge         it is larger than one event may be
    │   ├── CallNotPermitted     its key may not send calls of this type
    │   ├── UnsupportedEncoding  its body is compressed in a way that is not understood
    │   └── UnsupportedCall      a type of call that this destination does not take
    ├── AccessDenied           the key is at fault: give up until somebody mends the key
    │   ├── KeyRefused           it is no key, or no longer one
    │   ├── KeyNotPermitted      it is a key, but not for this
    │   ├── TokenRefused         it is no token of an operator's, or no longer one
    │   ├── LoginRefused         it is not the operator's password
    │   └── ApiClosed            no operator has a token yet
    ├── NotHere                what is asked for is not here
    ├── TryLater               nobody is at fault: the same again later will work
    │   ├── StoreUnavailable     the database cannot take a commit now
    │   ├── Overloaded           more is waiting than we promised to hold
    │   ├── RateExceeded         an address sends more calls than it may with a public key
    │   ├── KeyUnverified        ProsperStack could not be asked about the key
    │   ├── CallerLeft           the caller left before the answer was there
    │   └── SegmentUnavailable   Segment's Public API gave no answer, or is asked too often
    ├── ProsperStackError      an answer of ProsperStack's that is not the one asked for
    │   ├── Unavailable          retry: no answer, a 5xx, or nothing that can be read
    │   ├── RateLimited          retry: the account's requests for this window are spent
    │   ├── CredentialsRefused   stop the account: its key is refused, or may not do this
    │   ├── NotFound             look again: what we knew by this id is gone
    │   └── Rejected             give up and show: what we sent is not acceptable
    ├── SegmentRefused         Segment's Public API will not do what it was asked: tell the operator why
    │   ├── SegmentTokenRefused  the token is at fault: another one has to be made
    │   ├── SegmentNotPermitted  the token is good, but its role may not do this
    │   └── SegmentNotFound      there is no such thing in the workspace, or no longer
    ├── AlreadyConnected       the source is connected: nothing is to be done
    ├── MappingRefused         a mapping is at fault: give up, and tell whoever wrote it why
    │   ├── BadMapping           it cannot be applied to anything (see `mapping.mapping_file`)
    │   ├── MappingConflict      somebody else applied another one meanwhile
    │   └── ProblemsRise         it makes more problems than there are, and nobody confirmed that
    ├── LeaseLost              stop at this account: another replica works at it
    └── Misconfigured          stop: an operator has to change something first

An error carries its evidence as attributes, so that faces format fields and never take a text apart. It knows
nothing of HTTP: the receiving routes have one table that turns errors into statuses.
"""

from collections.abc import Mapping


class DestinationError(Exception):
    """Everything that this service raises on purpose. ``str()`` of it is a sentence for a person."""


class CallError(DestinationError):
    """The call is at fault; sending it again unchanged gives the same."""


class InvalidCall(CallError):
    """The call is malformed. ``field`` names the part at fault, as in ``context.traits``; None: the whole."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class MissingEmail(InvalidCall):
    """The call names no email, and none is known for its ids. ``has_ids`` says whether it has any.

    ``no_emails`` are the reasons why values at an email's places are none, by their places.
    """

    def __init__(self, *, has_ids: bool, invalid_emails: Mapping[str, str] | None = None) -> None:
        unknown = ", and no email is known for the ids of this call" if has_ids else ""
        reasons = "".join(f" {reason}" for reason in (invalid_emails or {}).values())
        super().__init__(
            f"Missing email address: ProsperStack's subscribers are matched by it{unknown}. Add the trait "
            f"'email' to the Identify call (traits.email or context.traits.email).{reasons}",
            field="traits.email",
        )
        self.has_ids = has_ids


class InvalidTime(InvalidCall):
    """A row of a file has a time that cannot be used; ``column`` and ``value`` are as they stand in the file."""

    def __init__(self, column: str, value: object, reason: str) -> None:
        text = value if isinstance(value, str) else str(value)
        quoted = text if len(text) <= 60 else f"{text[:60]}…"
        super().__init__(f"the time {quoted!r} in {column!r} cannot be used: {reason}", field=column)
        self.column = column
        self.value = value


class CallTooLarge(CallError):
    """The call has more than ``limit_bytes``."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"The call is larger than {_format_size(limit_bytes)}, the most that is taken: send fewer or shorter "
            "traits, or smaller batches."
        )
        self.limit_bytes = limit_bytes


class CallNotPermitted(CallError):
    """The key is public, and the call is none that it may send."""

    def __init__(self) -> None:
        super().__init__("A public key may only identify: send Delete calls from a server, with a secret key.")


class UnsupportedEncoding(CallError):
    """The body is encoded in a way that is not understood (``encoding``, as the header names it)."""

    def __init__(self, encoding: str) -> None:
        super().__init__(
            f"The Content-Encoding {encoding!r} is not understood: send the body as it is, or compressed once by "
            "gzip or deflate."
        )
        self.encoding = encoding


def _format_size(count: int) -> str:
    return f"{count // 1024**2} MB" if count >= 1024**2 else f"{count // 1024} KB"


class UnsupportedCall(CallError):
    """A call of a type that this destination does not take (``call_type``)."""

    def __init__(self, call_type: str) -> None:
        super().__init__(
            f"Calls of type {call_type!r} are not supported: this destination takes 'identify' and 'delete'. "
            "Switch the others off in the destination's settings in Segment."
        )
        self.call_type = call_type


class AccessDenied(DestinationError):
    """The key is at fault."""


class InvalidApiKey(AccessDenied):
    """The key is missing, malformed, unknown, revoked, or refused by ProsperStack."""


class ApiKeyForbidden(AccessDenied):
    """The key is good, but what was asked for is not permitted to it."""


class InvalidToken(AccessDenied):
    """The token of an operator is missing, unknown or revoked."""


class LoginFailed(AccessDenied):
    """It is not the operator's password; after too many none is looked at for ``retry_after`` seconds."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NoTokensIssued(AccessDenied):
    """Nobody may use the API: no token was issued."""

    def __init__(self) -> None:
        super().__init__(
            "The API is closed, because no token was issued yet: "
            "`prosperstack-destination tokens issue --name you` prints one."
        )


class NotFoundError(DestinationError):
    """What is asked for is not here; the text says what was asked for."""


class TemporaryError(DestinationError):
    """The same again later will work. ``retry_after`` is in seconds."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoreUnavailable(TemporaryError):
    """The database did not take a transaction: full, read-only, locked for too long, or away."""


class Overloaded(TemporaryError):
    """More calls wait for the database than the service promised to hold in memory."""


class RateExceeded(TemporaryError):
    """A client's network sent more calls than it may with a public key."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("Too many calls from this address: send them again later.", retry_after=retry_after)


class KeyUnverified(TemporaryError):
    """A key is new to us, and ProsperStack could not be asked about it."""


class CallerLeft(TemporaryError):
    """The caller left before the answer was there, and what was done for it was cut off."""

    def __init__(self) -> None:
        super().__init__("The caller left before the answer was there.", retry_after=1)


class ProsperStackError(DestinationError):
    """ProsperStack did not do what it was asked. ``status_code`` is None where no answer came."""

    def __init__(self, message: str, *, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code


class ProsperStackUnavailable(ProsperStackError):
    """No answer, or none that means anything. ``retry_after`` (seconds) where ProsperStack named a time."""

    def __init__(self, message: str, *, status_code: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, status_code=status_code)
        self.retry_after = retry_after


class ProsperStackRateLimited(ProsperStackError):
    """429: nothing is left of the window. ``retry_after`` is in seconds, None where it was not said."""

    def __init__(self, message: str, *, retry_after: float | None) -> None:
        super().__init__(message, status_code=429)
        self.retry_after = retry_after


class ProsperStackAuthError(ProsperStackError):
    """401 or 403 (``status_code`` says which): nothing more can be done for this account with its key."""


class ProsperStackNotFound(ProsperStackError):
    """404: there is no such thing, or no longer."""


class ProsperStackRejected(ProsperStackError):
    """Another 4xx: what was sent is not acceptable, and never will be. The text is ProsperStack's own."""


class SegmentApiError(DestinationError):
    """Segment's Public API refused something, and will again.

    ``status_code`` is its answer's; ``said`` are Segment's own words, "" where it gave none.
    """

    def __init__(self, message: str, *, status_code: int | None = None, segment_message: str = "") -> None:
        super().__init__(message)
        self.status_code = status_code
        self.segment_message = segment_message


class SegmentInvalidToken(SegmentApiError):
    """401, or a text that cannot be a token: the operator has to paste another one."""


class SegmentNotPermitted(SegmentApiError):
    """403: the token's role does not allow it, or the workspace's plan has no such feature."""


class SegmentNotFound(SegmentApiError):
    """404: there is no such thing, or not for this token."""


class SegmentUnavailable(TemporaryError):
    """No answer of Segment's Public API, none that means anything, or 429 (``status_code`` says which, if any)."""

    def __init__(self, message: str, *, retry_after: float, status_code: int | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.status_code = status_code


class AlreadyConnected(DestinationError):
    """The account has this source already: by the connection ``connection_id``."""

    def __init__(self, source_name: str, connection_id: str) -> None:
        super().__init__(
            f"The source {source_name!r} is connected to this account already: disconnect it first to connect it "
            "anew."
        )
        self.connection_id = connection_id


class MappingError(DestinationError):
    """A mapping was not applied; what is in force stays."""


class MappingConflict(MappingError):
    """Another mapping than the one that a new one is based on is in force: ``version``, applied by ``author``."""

    def __init__(self, *, based_on: int, version: int, author: str) -> None:
        super().__init__(
            f"Version {version} is in force, applied by {author or 'nobody'}, and this mapping is based on version "
            f"{based_on}: nothing was applied. Look at what changed (`mappings show`, `mappings diff`), and apply "
            f"yours anew, based on version {version}."
        )
        self.based_on = based_on
        self.version = version
        self.author = author


class ProblemsRise(MappingError):
    """A mapping makes more problems than the one in force, and that was not confirmed."""

    def __init__(self, *, before: int, after: int) -> None:
        super().__init__(
            f"With this mapping problems rise from {before:,} to {after:,} for the properties that it changes: "
            "nothing was applied. Look at its preview, and correct it; or confirm that it is applied all the same."
        )
        self.before = before
        self.after = after


class LeaseLost(DestinationError):
    """An account's lease ran out, or another replica has it by now. Nothing was written."""


class ConfigurationError(DestinationError):
    """A setting or a stored secret makes it impossible to go on; the text says what to change."""
