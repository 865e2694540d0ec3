"""The image: linted, and what it does done without an engine."""

import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.processes import PATIENCE_SECONDS, free_port

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = re.findall(r"^([A-Z]+)\s+((?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
NOBODY = 65534


def instructions(name: str) -> list[str]:
    return [text.replace("\\\n", " ") for each, text in INSTRUCTIONS if each == name]


def test_hadolint_has_nothing_to_say() -> None:
    """The Dockerfile keeps to the rules that hadolint knows."""
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    result = subprocess.run(  # noqa: S603 -- a pinned tool of the project
        [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )

    assert (result.returncode, result.stdout) == (0, "")


def test_the_image_is_modest() -> None:
    """It runs as a user without rights, says whether it is healthy, and holds no secret."""
    settings = " ".join(instructions("ENV") + instructions("ARG"))

    assert instructions("USER") == ["10001"]
    assert len(instructions("HEALTHCHECK")) == 1
    assert json.loads(instructions("ENTRYPOINT")[0]) == ["prosperstack-destination"]
    assert not re.search(r"KEY|SECRET|PASSWORD|TOKEN", settings)


@pytest.mark.parametrize("source", ["pyproject.toml", "requirements.lock", "requirements-dev.lock", "README.md"])
def test_the_build_gets_what_it_copies(source: str) -> None:
    """What is copied into the build is let through to it."""
    assert f"!{source}" in (ROOT / ".dockerignore").read_text().splitlines()
    assert any(source in copied for copied in instructions("COPY"))


def interpreter() -> str:
    """A Python that another user may run as well: ours may be in somebody's home."""
    for python in (str(Path(sys.executable).resolve()), "/usr/bin/python3", "/usr/local/bin/python3"):
        check = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            if subprocess.run(check, check=False, cwd="/", **somebody_else()).returncode == 0:  # noqa: S603
                return python
        except OSError:
            continue
    pytest.fail("no Python 3.11 or newer can be run by another user than root: install one below /usr")


def somebody_else() -> dict[str, Any]:
    """Who runs the service, where we may choose: a user without rights."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """A tree as the image has it: the lock and the wheel in a virtual environment, owned by somebody else."""
    tree = Path(tempfile.mkdtemp(prefix="image-"))
    tree.chmod(0o755)
    python = tree / "venv/bin/python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--python",
        str(python),
        "install",
        "--quiet",
    ]
    for command in (
        [interpreter(), "-m", "venv", "--without-pip", str(tree / "venv")],
        [*pip, "--require-hashes", "-r", str(ROOT / "requirements.lock")],
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tree / "dist")],
    ):
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: S603 -- the image's own steps
    [wheel] = (tree / "dist").glob("*.whl")
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True, capture_output=True)  # noqa: S603 -- as above
    subprocess.run(["chmod", "-R", "a+rX,a-w", str(tree)], check=True)  # noqa: S603, S607 -- a read-only root
    yield tree
    subprocess.run(["chmod", "-R", "u+w", str(tree)], check=True)  # noqa: S603, S607 -- or it could not be removed
    shutil.rmtree(tree)


@pytest.fixture
def data() -> Iterator[Path]:
    """The one folder that may be written to, and belongs to the user who runs the service."""
    folder = Path(tempfile.mkdtemp(prefix="data-"))
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


def run(image: Path, data: Path, port: int) -> "subprocess.Popen[bytes]":
    """Start the image's command, as another user where we may."""
    environment = {
        **dict(pair.split("=", 1) for text in instructions("ENV") for pair in shlex.split(text) if "=" in pair),
        "PATH": f"{image}/venv/bin:{os.environ['PATH']}",
        "DATA_DIR": str(data),
        "PORT": str(port),
        "PROSPERSTACK_BASE_URL": "http://127.0.0.1:9/v1",
        "PROSPERSTACK_API_KEY": "key_test_x",
        "SEGMENT_KEYS": "segment-1",
    }
    program = image / "venv/bin" / json.loads(instructions("ENTRYPOINT")[0])[0]
    arguments = [str(program), *json.loads(instructions("CMD")[-1])]
    process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 -- the image's own command
        arguments, cwd=data, env=environment, stderr=subprocess.DEVNULL, **somebody_else()
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _is_ready(port):
        assert process.poll() is None
        assert time.monotonic() < deadline
    return process


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).is_success
    except httpx.TransportError:
        return False


def test_what_the_image_does(image: Path, data: Path) -> None:
    """As another user on a read-only tree it takes calls, is healthy, stops in time, and keeps what it took."""
    before = {path: path.lstat().st_mtime_ns for path in image.rglob("*")}
    port = free_port()
    process = run(image, data, port)
    call = {"traits": {"email": "a@b.c", "plan": "pro"}}
    url = f"http://127.0.0.1:{port}/identify"
    answer = httpx.post(url, json=call, auth=("segment-1", ""), trust_env=False)
    check = json.loads(instructions("HEALTHCHECK")[0].partition("CMD ")[2])
    healthy = subprocess.run(  # noqa: S603 -- the image's own check
        [image / "venv/bin/python", *check[1:]], env={"PORT": str(port)}, check=False
    )
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE_SECONDS)
    stopped_in = time.monotonic() - begun

    assert answer.status_code == 202
    assert healthy.returncode == 0
    assert stopped_in < 10
    with sqlite3.connect(data / "destination.db") as database:
        assert database.execute("SELECT email FROM profiles").fetchall() == [("a@b.c",)]
    database.close()
    assert {path: path.lstat().st_mtime_ns for path in image.rglob("*")} == before

    again = run(image, data, port)
    again.terminate()
    again.wait(PATIENCE_SECONDS)
