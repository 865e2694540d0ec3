"""The example for Litestream replicates a running service, and restores it."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx

from support.cluster import KEY, SEGMENT_KEY, SETTLE_SECONDS
from support.processes import PATIENCE_SECONDS, free_port, started

LITESTREAM = Path(sys.executable).with_name("litestream")
CONFIG = Path(__file__).parents[2] / "deploy/vm/litestream.yml"


def environment(folder: Path) -> dict[str, str]:
    """Return the variables of the example's configuration."""
    database = folder / "data/destination.db"
    return {"PATH": os.environ["PATH"], "DATABASE": str(database), "REPLICA": f"file://{folder}/replica"}


@contextmanager
def replicating(folder: Path) -> Iterator[None]:
    """Run Litestream with the example's configuration during the block."""
    with (folder / "litestream.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 -- the tool that the example is for
            [LITESTREAM, "replicate", "-config", CONFIG], env=environment(folder), stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.kill()  # the machine dies: nothing is copied any more
        process.wait(PATIENCE_SECONDS)


def restored(folder: Path, number: int) -> Path:
    """Restore the newest state of the replica into a new file."""
    target = folder / f"restored-{number}.db"
    command: list[str | Path] = [LITESTREAM, "restore", "-config", CONFIG, "-integrity-check", "quick"]
    command += ["-if-replica-exists", "-o", target, environment(folder)["DATABASE"]]
    done = subprocess.run(command, env=environment(folder), capture_output=True, text=True, check=False)  # noqa: S603 -- as above
    assert done.returncode == 0, done.stderr
    return target


def traits(database: Path) -> set[tuple[str, str]]:
    """Return the email and the traits of each profile."""
    with closing(sqlite3.connect(database)) as connection:
        return set(connection.execute("SELECT email, traits FROM profiles"))


def test_killed_machine_is_restored(tmp_path: Path) -> None:
    """Each accepted call is in the replica within seconds; a kill of both processes loses none of them."""
    port = free_port()
    settings = {
        "PROSPERSTACK_API_KEY": KEY,
        "SEGMENT_KEYS": SEGMENT_KEY,
        "PROSPERSTACK_BASE_URL": "http://127.0.0.1:9/v1",
        "DATA_DIR": str(tmp_path / "data"),
    }
    url = f"http://127.0.0.1:{port}"
    serve = ["serve", "--port", str(port)]
    with (
        started(serve, f"{url}/readyz", tmp_path, tmp_path / "serve.log", **settings) as service,
        replicating(tmp_path),
    ):
        for number in range(50):
            call = {"traits": {"email": f"person-{number}@example.com", "plan": "pro", "number": number}}
            answer = httpx.post(f"{url}/identify", json=call, auth=(SEGMENT_KEY, ""), trust_env=False)
            assert answer.status_code == 202
        accepted = traits(tmp_path / "data/destination.db")
        found: set[tuple[str, str]] = set()
        deadline = time.monotonic() + SETTLE_SECONDS
        attempt = 0
        while found != accepted:
            assert time.monotonic() < deadline, (tmp_path / "litestream.log").read_text()[-2000:]
            attempt += 1
            copy = restored(tmp_path, attempt)
            found = traits(copy) if copy.exists() else set()
        service.kill()

    assert len(accepted) == 50
    assert traits(restored(tmp_path, 0)) == accepted
