"""Exceptions of the service, grouped by what happens next.

    DestinationError
    ├── CallError                    the call is at fault: no retry, report the reason to the sender
    │   ├── InvalidCall                malformed, or without usable content
    │   │   ├── MissingEmail             no email, and no ID that leads to one
    │   │   └── InvalidTime              unusable time in a row of a file
    │   ├── CallTooLarge               above the size limit of one event
    │   ├── CallNotPermitted           the key's kind does not permit this type of call
    │   ├── UnsupportedEncoding        body with an unknown compression
    │   └── UnsupportedCall            type of call that this destination does not accept
    ├── AccessDenied                 the credential is at fault: no retry until it is corrected
    │   ├── InvalidApiKey              unknown, revoked or malformed key
    │   ├── ApiKeyForbidden            valid key without this permission
    │   ├── InvalidToken               unknown or revoked operator token
    │   ├── LoginFailed                wrong password of the dashboard
    │   └── NoTokensIssued             no operator token exists yet
    ├── NotFoundError                the requested object does not exist here
    ├── TemporaryError               no one is at fault: a retry will work
    │   ├── StoreUnavailable           the database cannot commit now
    │   ├── Overloaded                 more work waits than memory limits permit
    │   ├── RateExceeded               too many calls with a public key from one network
    │   ├── KeyUnverified              ProsperStack did not confirm or refuse a key
    │   ├── CallerLeft                 the caller disconnected before the response
    │   └── SegmentUnavailable         no response of Segment's Public API, or its rate limit
    ├── ProsperStackError            unsuccessful response of ProsperStack
    │   ├── ProsperStackUnavailable    retry: no response, a 5xx, or an unreadable one
    │   ├── ProsperStackRateLimited    retry: the account's requests for this window are spent
    │   ├── ProsperStackAuthError      stop the account: its key is refused, or lacks a permission
    │   ├── ProsperStackNotFound       look up again: the object with this ID is gone
    │   └── ProsperStackRejected       no retry, show it: the value is not acceptable
    ├── SegmentApiError              Segment's Public API refuses a request: report the reason to the operator
    │   ├── SegmentInvalidToken        the token is at fault: a new one is needed
    │   ├── SegmentNotPermitted        valid token, but its role lacks this permission
    │   └── SegmentNotFound            the object is missing from the workspace
    ├── AlreadyConnected             the source is connected: nothing to do
    ├── MappingError                 the mapping is at fault: report the reason to its author
    │   ├── InvalidMapping             it cannot be applied (see `mapping.mapping_file`)
    │   ├── MappingConflict            another version was applied meanwhile
    │   ├── ProblemsRise               it adds mapping problems, and its author did not confirm that
    │   └── UnreadableMapping          stored rules or properties of an account cannot be read: the account waits
    ├── InvalidInput                 an operator's entry is at fault: report the reason to the operator
    ├── LeaseLost                    stop this account: another replica holds its lease
    └── ConfigurationError           stop: an operator has to change something first
        └── DatabaseUnreachable        no connection to the database was ever made

An error carries its evidence as attributes, so that callers format fields and never parse messages. Errors know
nothing of HTTP: `http_responses.STATUSES` maps them to statuses.
"""

from collections.abc import Mapping, Sequence


class DestinationError(Exception):
    """Base of all exceptions that this service raises on purpose. ``str()`` is a sentence for a person."""


class CallError(DestinationError):
    """Invalid call. A retry without changes fails again."""


class InvalidCall(CallError):
    """Malformed call. ``field`` names the invalid part, e.g. ``context.traits``; None: the whole call."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class MissingEmail(InvalidCall):
    """Call without an email, whose IDs resolve to none. ``has_ids`` tells whether it has any ID.

    ``invalid_emails`` are the reasons of invalid values in email fields, by field path, e.g. ``traits.email``.
    ``found_at`` are other places where the call has an email address.
    """

    def __init__(
        self, *, has_ids: bool, invalid_emails: Mapping[str, str] | None = None, found_at: Sequence[str] = ()
    ) -> None:
        unknown = ", and no email is known for the ids of this call" if has_ids else ""
        reasons = "".join(f" {reason}" for reason in (invalid_emails or {}).values())
        places = ""
        if found_at:
            places = (
                f" The call has an email address at {', '.join(found_at)}: send it as traits.email, or name the "
                "place in the mapping (email: from)."
            )
        super().__init__(
            f"Missing email address: ProsperStack's subscribers are matched by it{unknown}. Add the trait "
            f"'email' to the Identify call (traits.email or context.traits.email).{reasons}{places}",
            field="traits.email",
        )
        self.has_ids = has_ids


class InvalidTime(InvalidCall):
    """Unusable time in a row of a file. ``column`` and ``value`` are those of the file."""

    def __init__(self, column: str, value: object, reason: str) -> None:
        text = value if isinstance(value, str) else str(value)
        quoted = text if len(text) <= 60 else f"{text[:60]}…"
        super().__init__(f"the time {quoted!r} in {column!r} cannot be used: {reason}", field=column)
        self.column = column
        self.value = value


class CallTooLarge(CallError):
    """Call with more than ``limit_bytes``."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"The call is larger than {_format_size(limit_bytes)}, the most that is taken: send fewer or shorter "
            "traits, or smaller batches."
        )
        self.limit_bytes = limit_bytes


class CallNotPermitted(CallError):
    """Call that a public key may not send."""

    def __init__(self) -> None:
        super().__init__("A public key may only identify: send Delete calls from a server, with a secret key.")


class UnsupportedEncoding(CallError):
    """Body in an unsupported encoding (``encoding``, as in the header)."""

    def __init__(self, encoding: str) -> None:
        super().__init__(
            f"The Content-Encoding {encoding!r} is not understood: send the body as it is, or compressed once by "
            "gzip or deflate."
        )
        self.encoding = encoding


def _format_size(count: int) -> str:
    return f"{count // 1024**2} MB" if count >= 1024**2 else f"{count // 1024} KB"


class UnsupportedCall(CallError):
    """Call of a type that this destination does not accept (``call_type``)."""

    def __init__(self, call_type: str) -> None:
        super().__init__(
            f"Calls of type {call_type!r} are not supported: this destination takes 'identify' and 'delete'. "
            "Switch the others off in the destination's settings in Segment."
        )
        self.call_type = call_type


class AccessDenied(DestinationError):
    """Invalid credential."""


class InvalidApiKey(AccessDenied):
    """Missing, malformed, unknown or revoked key, or one that ProsperStack refuses."""


class ApiKeyForbidden(AccessDenied):
    """Valid key without the permission for a request."""


class InvalidToken(AccessDenied):
    """Missing, unknown or revoked operator token."""


class LoginFailed(AccessDenied):
    """Wrong password. After too many attempts, further ones are refused for ``retry_after`` seconds."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NoTokensIssued(AccessDenied):
    """Closed API: no operator token exists."""

    def __init__(self) -> None:
        super().__init__(
            "The API is closed, because no token was issued yet: "
            "`prosperstack-destination tokens issue --name you` prints one."
        )


class NotFoundError(DestinationError):
    """Missing object; the text names it."""


class TemporaryError(DestinationError):
    """Temporary fault: the same request works later. ``retry_after`` is in seconds."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoreUnavailable(TemporaryError):
    """Database that does not commit: full, read-only, locked for too long, or unreachable."""


class Overloaded(TemporaryError):
    """More calls or bodies in memory than the limits permit."""


class RateExceeded(TemporaryError):
    """Network of a client that exceeds the rate limit of a public key."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("Too many calls from this address: send them again later.", retry_after=retry_after)


class KeyUnverified(TemporaryError):
    """Unknown key that ProsperStack could not check."""


class CallerLeft(TemporaryError):
    """Caller that disconnected before the response. Its work was cancelled."""

    def __init__(self) -> None:
        super().__init__("The caller left before the answer was there.", retry_after=1)


class ProsperStackError(DestinationError):
    """Unsuccessful request to ProsperStack. ``status_code`` is None without a response."""

    def __init__(self, message: str, *, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code


class ProsperStackUnavailable(ProsperStackError):
    """No response, or an unusable one. ``retry_after`` is in seconds, None where ProsperStack named no time."""

    def __init__(self, message: str, *, status_code: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, status_code=status_code)
        self.retry_after = retry_after


class ProsperStackRateLimited(ProsperStackError):
    """429: the window's requests are spent. ``retry_after`` is in seconds, None where the response has none."""

    def __init__(self, message: str, *, retry_after: float | None) -> None:
        super().__init__(message, status_code=429)
        self.retry_after = retry_after


class ProsperStackAuthError(ProsperStackError):
    """401 or 403 (``status_code``): the account's key cannot be used any more."""


class ProsperStackNotFound(ProsperStackError):
    """404: the object does not exist, or no longer."""


class ProsperStackRejected(ProsperStackError):
    """Another 4xx: ProsperStack refuses the value, also on a retry. The text is ProsperStack's own."""


class SegmentApiError(DestinationError):
    """Request that Segment's Public API refuses, also on a retry.

    ``status_code`` is that of the response; ``segment_message`` is Segment's own text, "" where it sent none.
    """

    def __init__(self, message: str, *, status_code: int | None = None, segment_message: str = "") -> None:
        super().__init__(message)
        self.status_code = status_code
        self.segment_message = segment_message


class SegmentInvalidToken(SegmentApiError):
    """401, or text that cannot be a token: the operator has to enter another one."""


class SegmentNotPermitted(SegmentApiError):
    """403: the token's role lacks the permission, or the workspace's plan lacks the feature."""


class SegmentNotFound(SegmentApiError):
    """404: the object does not exist, or this token may not see it."""


class SegmentUnavailable(TemporaryError):
    """No response of Segment's Public API, an unusable one, or 429. ``status_code`` is None without a response."""

    def __init__(self, message: str, *, retry_after: float, status_code: int | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.status_code = status_code


class AlreadyConnected(DestinationError):
    """Source that the account already has, by the connection ``connection_id``."""

    def __init__(self, source_name: str, connection_id: str) -> None:
        super().__init__(
            f"The source {source_name!r} is connected to this account already: disconnect it first to connect it "
            "again."
        )
        self.connection_id = connection_id


class MappingError(DestinationError):
    """Mapping that was not applied; the current version stays in force."""


class MappingConflict(MappingError):
    """Mapping based on an older version than the current one: ``version``, applied by ``author``."""

    def __init__(self, *, based_on: int, version: int, author: str) -> None:
        super().__init__(
            f"Version {version} is in force, applied by {author or 'no one'}, and this mapping is based on version "
            f"{based_on}: nothing was applied. Look at what changed (`mappings show`, `mappings diff`), and apply "
            f"yours again, based on version {version}."
        )
        self.based_on = based_on
        self.version = version
        self.author = author


class ProblemsRise(MappingError):
    """Unconfirmed mapping that makes more mapping problems than the current version."""

    def __init__(self, *, before: int, after: int) -> None:
        super().__init__(
            f"With this mapping problems rise from {before:,} to {after:,} for the properties that it changes: "
            "nothing was applied. Look at its preview, and correct it; or confirm that it is applied all the same."
        )
        self.before = before
        self.after = after


class UnreadableMapping(MappingError):
    """Stored rules or properties of an account that cannot be read. ``part`` is "rules" or "properties"."""

    def __init__(self, part: str) -> None:
        advice = {
            "rules": "Apply the mapping file again, or roll back to an earlier version.",
            "properties": "They are listed again from ProsperStack soon.",
        }
        super().__init__(f"The stored {part} of the account cannot be read. {advice[part]}")
        self.part = part


class LeaseLost(DestinationError):
    """Lease of an account that expired, or that another replica holds. Nothing was written."""


class InvalidInput(DestinationError):
    """Unusable entry of an operator: a key, a name, an option or a file; the text says what to change."""


class ConfigurationError(DestinationError):
    """Unusable setting, database or stored secret; the text says what to change."""


class DatabaseUnreachable(ConfigurationError):
    """Database to which no connection was made. Waiting may help for ``wait_seconds`` at most, 0: not at all."""

    def __init__(self, message: str, *, wait_seconds: float) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds
