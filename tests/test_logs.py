"""What gets into logs."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from prosperstack_destination.logs import RepeatFilter

_PROGRAM = """
import asyncio
import logging
import threading
import structlog
from prosperstack_destination import logs
from prosperstack_destination.settings import LogFormat, LogLevel

logs.configure(LogFormat("FORM"), LogLevel.DEBUG)

def fail(secret: str) -> None:
    raise ZeroDivisionError

try:
    fail("john.doe@example.com")
except ZeroDivisionError:
    structlog.get_logger().exception("it failed")

def quote(value):
    raise ValueError(SAYING + value)

def wrap(value):
    try:
        quote(value)
    except ValueError as error:
        raise ExceptionGroup("also " + value, [error, KeyError(value)]) from error

VALUE = "Zan" + "zibar"  # so that no line of this program has it
SAYING = "cannot " + "read "
for log in (structlog.get_logger(), logging.getLogger("another")):
    try:
        wrap(VALUE)
    except Exception:
        log.exception("it was wrapped")

async def never_looked_at():
    task = asyncio.get_running_loop().create_task(asyncio.to_thread(quote, VALUE))
    await asyncio.wait([task])

asyncio.run(never_looked_at())
threading.Thread(target=quote, args=[VALUE]).start()
logging.getLogger("another").warning("to %s with %s", "jane" + "@example.com", "key_" + "live_0123456789")
for prefix in ("psd_", "psp_", "psc_", "pso_"):
    logging.getLogger("another").warning("to %s", prefix + "token_0123456789")

class Fails:
    def __del__(self):
        quote(VALUE)

Fails()
wrap(VALUE)
"""


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_has_no_values(tmp_path: Path, form: str) -> None:
    """A traceback in the log says where it happened and by which kind of error, and never what the error says.

    That is so for what is logged, by us and by libraries, and for what is caught nowhere: in a thread, a task, a
    destructor, or the program itself.
    """
    path = tmp_path / "program.py"
    path.write_text(_PROGRAM.replace("FORM", form))
    result = subprocess.run(  # noqa: S603 -- our own program
        [sys.executable, str(path)], capture_output=True, text=True, check=False
    )

    assert "ZeroDivisionError" in result.stderr
    assert "in fail" in result.stderr
    assert result.stderr.count("in quote") >= 6
    assert result.stderr.count("ExceptionGroup") >= 3
    assert "Task exception was never retrieved" in result.stderr
    assert "to … with …" in result.stderr.replace("\\u2026", "…")
    for hidden in ("Zanzibar", "cannot read", "jane", "0123456789"):
        assert hidden not in result.stderr, hidden
    assert "john.doe" not in result.stderr.replace("\\", "").replace('fail("john.doe@example.com")', "")


def test_repeated_warning_is_logged_once_in_ten_seconds() -> None:
    """A flood of invalid requests does not fill the disk with uvicorn's warnings; errors are never left out."""
    repeats = RepeatFilter(10.0)

    def passes(created: float, text: str = "Invalid HTTP request received.", level: int = logging.WARNING) -> bool:
        record = logging.LogRecord("uvicorn.error", level, __file__, 1, text, None, None)
        record.created = created
        return repeats.filter(record)

    assert [passes(created) for created in (0.0, 9.9, 10.0, 15.0, 20.0)] == [True, False, True, False, True]
    assert passes(15.0, "Another text")
    assert [passes(21.0, level=logging.ERROR), passes(21.0, level=logging.ERROR)] == [True, True]
