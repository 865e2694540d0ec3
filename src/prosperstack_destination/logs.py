"""Logs, for people or for machines. Keys, signatures and emails never get into them."""

import logging
import sys

import structlog

from prosperstack_destination.log_context import add_context
from prosperstack_destination.settings import LogFormat, LogLevel


def configure(form: LogFormat, level: LogLevel) -> None:
    """Set up logging for the process: structlog, and the standard library's loggers through it."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        add_context,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if form is LogFormat.JSON
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                # The pretty one shows local variables: keys and emails among them.
                exception_formatter=structlog.dev.plain_traceback,
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
    # These log URLs (emails among them), or what we say ourselves, at info and below.
    for name in ("httpx", "httpcore", "alembic", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
