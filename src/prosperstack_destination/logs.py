"""What every log line of a request carries: which request, and whose.

structlog has context variables of its own, one a field, which cost each request a few microseconds to clear and to
set. This is one, with all the fields in it.
"""

import logging
import re
import sys
import threading
from contextvars import ContextVar
from types import TracebackType
from typing import Final, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, WrappedLogger

from prosperstack_destination.settings import LogFormat, LogLevel
from prosperstack_destination.tracebacks import traceback_without_values

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


#: Emails, and keys and tokens by how they begin: no line of ours has one, and a library's is cleaned of them.
_SECRET: Final = re.compile(r"[^\s@\"'<>(),:;=/]+@[^\s@\"'<>(),:;]+|\b(?:key|psd|psc)_[\w-]{6,}")
_HIDDEN: Final = "…"


def configure(form: LogFormat, level: LogLevel) -> None:
    """Set up logging for the process: structlog, and the standard library's loggers through it."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        add_context,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_secrets,
    ]
    rendering: list[structlog.typing.Processor] = (
        [structlog.processors.ExceptionRenderer(_exception), structlog.processors.JSONRenderer()]
        if form is LogFormat.JSON
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                exception_formatter=_write_exception,
            )
        ]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(number)
    # What nobody catches would be printed with its message.
    sys.excepthook = _uncaught
    threading.excepthook = lambda found: _uncaught(found.exc_type, found.exc_value, found.exc_traceback)
    sys.unraisablehook = lambda found: _uncaught(found.exc_type, found.exc_value, found.exc_traceback)
    # These log URLs (emails among them), or what we say ourselves, at info and below.
    for name in ("httpx", "httpcore", "alembic", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _exception(exc_info: ExcInfo) -> str:
    return traceback_without_values(exc_info[1])


def _write_exception(to: TextIO, exc_info: ExcInfo) -> None:
    to.write(f"\n{_exception(exc_info)}")


def _without_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: hide what looks like an email or a key, and what asyncio adds to its messages.

    asyncio's own lines go on with the task and its exception, whose message may have anybody's values.
    """
    record = event.get("_record")
    if isinstance(record, logging.LogRecord) and record.name == "asyncio":
        event["event"] = str(event["event"]).partition("\n")[0]
    for name, value in event.items():
        if isinstance(value, str) and ("@" in value or "_" in value):
            event[name] = _SECRET.sub(_HIDDEN, value)
    return event


def _uncaught(_: type[BaseException], error: BaseException | None, _traceback: TracebackType | None = None) -> None:
    log = logging.getLogger(__name__)
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return
    log.error("An error was caught nowhere.", exc_info=error)
