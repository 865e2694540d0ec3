"""What gets into logs."""

import subprocess
import sys

import pytest

_PROGRAM = """
import structlog
from prosperstack_destination import logs
from prosperstack_destination.settings import LogFormat, LogLevel

logs.configure(LogFormat(%r), LogLevel.DEBUG)

def fail(secret: str) -> None:
    raise ZeroDivisionError

try:
    fail("john.doe@example.com")
except ZeroDivisionError:
    structlog.get_logger().exception("it failed")
"""


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_has_no_values(form: str) -> None:
    """A traceback in the log says where it happened, and nothing of the data that it happened with."""
    program = _PROGRAM % form
    result = subprocess.run(  # noqa: S603 -- our own program
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "ZeroDivisionError" in result.stderr
    assert "fail" in result.stderr
    assert "john.doe" not in result.stderr.replace('fail("john.doe@example.com")', "")
