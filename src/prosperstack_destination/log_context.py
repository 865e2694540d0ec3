"""What every log line of a request carries: which request, and whose.

structlog has context variables of its own, one a field, which cost each request a few microseconds to clear and to
set. This is one, with all the fields in it.
"""

from contextvars import ContextVar
from typing import Final

from structlog.typing import EventDict, WrappedLogger

_FIELDS: Final[ContextVar[dict[str, str] | None]] = ContextVar("log_context", default=None)


def bind_request(request_id: str) -> None:
    """From here on the log lines of this task, and of those it starts, carry this id, and nothing from before."""
    _FIELDS.set({"request_id": request_id})


def bind_account(fingerprint: str) -> None:
    """From here on they carry the short form of the account's key, too. Nothing happens outside a request."""
    fields = _FIELDS.get()
    if fields is not None:
        fields["account"] = fingerprint


def add_context(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: adds what is known of the request. What the line says itself wins."""
    fields = _FIELDS.get()
    return event if fields is None else {**fields, **event}
