"""Logging: configuration, the context of a request on its lines, and tracebacks without personal data.

structlog's context variables, one for each field, cost each request a few microseconds to clear and to set. This
module uses one variable for all fields.
"""

import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, WrappedLogger

from prosperstack_destination.auth.api_keys import CREDENTIAL_PREFIXES
from prosperstack_destination.settings import LogFormat, LogLevel

_FIELDS: Final[ContextVar[dict[str, str] | None]] = ContextVar("log_context", default=None)
_NO_FIELDS: Final[Mapping[str, str]] = {}
#: Emails, and keys and tokens by their prefixes. The service logs none; the pattern hides those of libraries.
_SECRET: Final = re.compile(
    rf"[^\s@\"'<>(),:;=/]+@[^\s@\"'<>(),:;]+|\b(?:{'|'.join(CREDENTIAL_PREFIXES)})[\w-]{{6,}}"
)
#: Shortest interval between two equal lines of uvicorn, in seconds.
_REPEAT_SECONDS: Final = 10.0
_HIDDEN: Final = "…"
#: Attributes of exceptions that name a kind of fault or a part of the schema, and hold no value.
_SAFE_ATTRIBUTES: Final = ("sqlstate", "table_name", "column_name", "constraint_name", "sqlite_errorname")


def bind_request(request_id: str, trace: Mapping[str, str] = _NO_FIELDS) -> None:
    """Set the request ID of this task's log lines and of those of its subtasks; drop all earlier context.

    ``trace`` has further fields, which identify the request's span.
    """
    _FIELDS.set({"request_id": request_id, **trace})


def bind_account(fingerprint: str) -> None:
    """Add the short form of the account's key to the log lines of the request. No effect outside a request."""
    fields = _FIELDS.get()
    if fields is not None:
        fields["account"] = fingerprint


def add_context(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add the request's context to a log line (a structlog processor). Fields of the line itself win."""
    fields = _FIELDS.get()
    return event if fields is None else {**fields, **event}


class RepeatFilter(logging.Filter):
    """Filter that lets a warning pass at most once in ``seconds``: any sender can provoke warnings."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        #: Times in seconds since the epoch, by text without its arguments: the texts of the code, which are few.
        self._passed: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the line is logged."""
        if record.levelno != logging.WARNING:
            return True
        text = str(record.msg)
        if 0 <= record.created - self._passed.get(text, -self._seconds) < self._seconds:
            return False
        self._passed[text] = record.created
        return True


def configure(form: LogFormat, level: LogLevel) -> None:
    """Set up logging for the process: structlog, and the standard library's loggers through it."""
    number = logging.getLevelNamesMapping()[level.upper()]
    rendering: list[structlog.typing.Processor] = (
        _AS_JSON
        if form is LogFormat.JSON
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write_exception)]
    )
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(rendering))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(number)
    _log_uncaught_exceptions()
    # At info and below these log URLs with emails in them, or repeat the service's own lines.
    for name in ("httpx", "httpcore", "alembic", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # uvicorn warns of each invalid request.
    logging.getLogger("uvicorn.error").filters = [RepeatFilter(_REPEAT_SECONDS)]


class _LineHandler(logging.Handler):
    """Handler that passes the fields of each log line on, as the JSON log has them."""

    def __init__(self, receive: Callable[[Mapping[str, Any], int, float], None]) -> None:
        super().__init__()
        self._receive = receive
        self.setFormatter(_formatter(_AS_JSON))

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("opentelemetry"):  # a failed export would be exported for ever
            self._receive(json.loads(self.format(record)), record.levelno, record.created)


def pass_lines_to(receive: Callable[[Mapping[str, Any], int, float], None]) -> Callable[[], None]:
    """Pass each log line to ``receive`` as well: its fields, its level, and its time in seconds since the epoch.

    Returns the function that ends it.
    """
    handler, root = _LineHandler(receive), logging.getLogger()
    root.addHandler(handler)
    return lambda: root.removeHandler(handler)


def traceback_without_values(error: BaseException) -> str:
    """Return the traceback of an error, of its causes and of its group's errors, without their messages.

    The message of an unexpected error may quote any value: a database driver quotes rows, a parser its input.
    Source lines and the errors' classes are part of the traceback.
    """
    return "\n".join(_traceback_lines(error, set())).rstrip("\n")


def _traceback_lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None and id(earlier) not in seen:
        yield from _traceback_lines(earlier, seen)
        yield ""
        yield (
            "The above exception was the direct cause of the following exception:"
            if error.__cause__ is not None
            else "During handling of the above exception, another exception occurred:"
        )
        yield ""
    yield "Traceback (most recent call last):"
    for frame in traceback.format_tb(error.__traceback__):
        yield frame.rstrip("\n")
    yield _name(error)
    for member in getattr(error, "exceptions", ()):
        if isinstance(member, BaseException) and id(member) not in seen:
            yield from (f"  {line}" for line in _traceback_lines(member, seen))


def _name(error: BaseException) -> str:
    """Return the class of an error and its safe attributes."""
    kind = type(error)
    facts = [f"{name} {value}" for name in _SAFE_ATTRIBUTES if isinstance(value := getattr(error, name, None), str)]
    if isinstance(error, OSError) and error.errno is not None:
        facts.append(os.strerror(error.errno))
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{name} ({', '.join(facts)})" if facts else name


def _format_exception(exc_info: ExcInfo) -> str:
    return traceback_without_values(exc_info[1])


def _write_exception(to: TextIO, exc_info: ExcInfo) -> None:
    to.write(f"\n{_format_exception(exc_info)}")


def _without_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide emails and keys in a log line, and the second and later lines of asyncio's messages.

    Those lines quote the task and its exception, whose message may hold personal data. (A structlog processor.)
    """
    record = event.get("_record")
    if isinstance(record, logging.LogRecord) and record.name == "asyncio":
        event["event"] = str(event["event"]).partition("\n")[0]
    for name, value in event.items():
        if isinstance(value, str) and ("@" in value or "_" in value):
            event[name] = _SECRET.sub(_HIDDEN, value)
    return event


#: Processors of every log line, of structlog's and of the standard library's loggers.
_SHARED: Final[list[structlog.typing.Processor]] = [
    add_context,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _without_secrets,
]
_AS_JSON: Final[list[structlog.typing.Processor]] = [
    structlog.processors.ExceptionRenderer(_format_exception),
    structlog.processors.JSONRenderer(),
]


def _formatter(rendering: list[structlog.typing.Processor]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
    )


def _log_uncaught_exceptions() -> None:
    """Log uncaught exceptions of all threads; Python's own hooks print their messages."""
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def _log_uncaught(
    _: type[BaseException], error: BaseException | None, _traceback: TracebackType | None = None
) -> None:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return
    logging.getLogger(__name__).error("uncaught exception", exc_info=error)
