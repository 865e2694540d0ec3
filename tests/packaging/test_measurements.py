"""Tests that the benchmarks of the Makefile start: they run seldom."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = re.findall(
    r"^\t(?:PYTHONPATH=(\S+) )?\$\(BIN\)/python -m (bench\.\w+)", (ROOT / "Makefile").read_text(), re.MULTILINE
)

pytestmark = pytest.mark.whole


def test_makefile_has_benchmarks() -> None:
    """The benchmarks of the Makefile are found."""
    assert {module for _, module in LINES} >= {"bench.receiving", "bench.sync", "bench.connector"}


@pytest.mark.parametrize(("path", "module"), LINES, ids=[module for _, module in LINES])
def test_benchmark_starts(path: str, module: str) -> None:
    """A benchmark finds its modules."""
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(  # noqa: S603 -- commands of our own
        [sys.executable, "-m", module, "--help"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
