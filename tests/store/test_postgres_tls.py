"""Connections to PostgreSQL by TLS, and what ends a start quickly."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import make_url

from prosperstack_destination.errors import ConfigurationError, StoreUnavailable
from prosperstack_destination.store.database import Database
from support.certificates import Authority
from support.postgres import execute
from support.processes import PATIENCE_SECONDS, command, environment, free_port, started
from support.tls_front import TlsFront, tls_front

pytestmark = pytest.mark.anyio

#: OpenSSL's words for a certificate of an authority that is not among those that count.
UNKNOWN = "unable to get local issuer certificate"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two authorities, a server's certificates and a client's."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority.create(folder, "ours")
    authority.issue("server", "127.0.0.1")
    authority.issue("expired", "127.0.0.1", days=-2)
    authority.issue("client")
    Authority.create(folder, "other")
    return folder


@pytest.fixture
def front(files: Path, postgresql_url: str) -> Iterator[TlsFront]:
    port = make_url(postgresql_url).port
    assert port is not None
    with tls_front(port, (files / "server.crt", files / "server.key")) as front:
        yield front


def url_by(front: TlsFront, postgresql_url: str, query: str, host: str = "127.0.0.1") -> str:
    """The URL of a database by the front."""
    url = make_url(postgresql_url).set(host=host, port=front.port).render_as_string(hide_password=False)
    return f"{url}?{query}"


async def connected(url: str) -> int:
    """Open a database by a URL, and close it; what it answers to a query."""
    database = Database(url)
    try:
        await database.open()
        return await database.read(lambda connection: int(connection.exec_driver_sql("SELECT 7").scalar_one()))
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("host", "query"),
    [
        ("127.0.0.1", ""),
        ("127.0.0.1", "sslmode=require"),
        ("localhost", "sslmode=verify-ca&sslrootcert={files}/ours.crt"),
        ("127.0.0.1", "sslmode=verify-full&sslrootcert={files}/ours.crt"),
        ("127.0.0.1", "sslmode=require&channel_binding=require&sslrootcert={files}/ours.crt"),
        ("127.0.0.1", "sslmode=verify-full&sslrootcert={files}/ours.crt&sslnegotiation=direct"),
        ("localhost", "sslmode=require&sslnegotiation=direct"),
    ],
)
async def test_the_right_authority_passes(
    front: TlsFront, files: Path, postgresql_url: str, host: str, query: str
) -> None:
    """Each mode connects by TLS alone, and names PostgreSQL's protocol in the handshake."""
    assert await connected(url_by(front, postgresql_url, query.format(files=files), host)) == 7
    assert set(front.protocols) == {"postgresql"}


@pytest.mark.parametrize(
    ("host", "query", "said"),
    [
        ("127.0.0.1", "sslmode=verify-full", UNKNOWN),
        ("127.0.0.1", "sslmode=require&channel_binding=require", UNKNOWN),
        (
            "127.0.0.1",
            "sslmode=verify-full&sslrootcert={files}/other.crt",
            UNKNOWN,
        ),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert={files}/other.crt", UNKNOWN),
        ("127.0.0.1", "sslmode=require&sslrootcert={files}/other.crt", UNKNOWN),
        ("127.0.0.1", "sslrootcert={files}/other.crt", UNKNOWN),
        ("localhost", "sslmode=verify-full&sslrootcert={files}/ours.crt", "not valid for 'localhost'"),
    ],
)
async def test_another_authority_or_host_is_refused(
    front: TlsFront, files: Path, postgresql_url: str, host: str, query: str, said: str
) -> None:
    """A certificate that cannot be checked is refused at once, in a sentence with the address and what to do."""
    begun = time.monotonic()
    with pytest.raises(ConfigurationError) as error:
        await connected(url_by(front, postgresql_url, query.format(files=files), host))

    assert time.monotonic() - begun < 5
    assert f"The certificate of PostgreSQL at {host}:{front.port} is refused" in str(error.value)
    assert said in str(error.value)
    assert "sslrootcert" in str(error.value)
    assert front.protocols in ([], ["postgresql"])  # the client may end the handshake after the front did


async def test_an_expired_certificate_is_refused(files: Path, postgresql_url: str) -> None:
    """A server's certificate that has expired is named as such."""
    port = make_url(postgresql_url).port
    assert port is not None
    query = f"sslmode=verify-full&sslrootcert={files}/ours.crt"
    with (
        tls_front(port, (files / "expired.crt", files / "expired.key")) as front,
        pytest.raises(ConfigurationError, match="certificate has expired"),
    ):
        await connected(url_by(front, postgresql_url, query))


async def test_a_client_certificate_is_presented(files: Path, postgresql_url: str) -> None:
    """`sslcert` and `sslkey` open a server that asks for a certificate; without them nothing answers."""
    port = make_url(postgresql_url).port
    assert port is not None
    with tls_front(port, (files / "server.crt", files / "server.key"), clients=files / "ours.crt") as front:
        query = f"sslmode=require&sslcert={files}/client.crt&sslkey={files}/client.key"

        assert await connected(url_by(front, postgresql_url, query)) == 7


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sslcert={files}/client.crt", "name the key in sslkey"),
        ("sslcert={files}/client.crt&sslkey={files}/server.key", "its key is another one than sslkey names"),
    ],
)
def test_a_client_certificate_without_its_key(files: Path, query: str, said: str) -> None:
    """A certificate that does not go with its key is named, with what to change."""
    with pytest.raises(ConfigurationError, match=said):
        Database(f"postgresql://ann@db/app?sslmode=require&{query.format(files=files)}")


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"username": "no_such_user"}, 'role "no_such_user" does not exist'),
        ({"database": "no_such_database"}, 'database "no_such_database" does not exist'),
        ({"query": {"options": "-c no_such_setting=1"}}, "no_such_setting"),
    ],
)
async def test_a_refused_connection_ends_the_start(postgresql_url: str, part: dict[str, str], said: str) -> None:
    """A refusal by PostgreSQL that the URL causes is reported at once, with PostgreSQL's words."""
    url = make_url(postgresql_url).set(**part)  # type: ignore[arg-type] # one part of several types
    begun = time.monotonic()
    with pytest.raises(ConfigurationError, match=f"refuses DATABASE_URL: .*{said}"):
        await connected(url.render_as_string(hide_password=False))

    assert time.monotonic() - begun < 5


async def test_a_command_that_reads_does_not_wait() -> None:
    """Where nothing listens, a first transaction fails at once, with the address and what to do."""
    database = Database(f"postgresql://ann:pw@127.0.0.1:{(port := free_port())}/app")
    begun = time.monotonic()
    said = rf"No PostgreSQL answers at 127\.0\.0\.1:{port} \(Connection refused\)\. Check host and port"
    with pytest.raises(ConfigurationError, match=said) as error:
        await database.read(lambda _: None)

    assert time.monotonic() - begun < 5
    assert "pw" not in str(error.value)
    await database.close()


async def test_a_refusal_during_the_run_is_an_outage(postgresql_url: str) -> None:
    """After the start a refused connection is an outage, which passes: a password that is changed, for example."""
    role = "DROP ROLE IF EXISTS bob", "CREATE ROLE bob LOGIN SUPERUSER"
    await execute(postgresql_url, *role)
    database = Database(make_url(postgresql_url).set(username="bob").render_as_string(hide_password=False))
    await database.open()
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bob'"
    await execute(postgresql_url, "ALTER ROLE bob NOLOGIN", cut)
    with suppress(StoreUnavailable):  # finds that its connection is gone
        await database.read(lambda connection: connection.exec_driver_sql("SELECT 1"))
    with pytest.raises(StoreUnavailable, match='role "bob" is not permitted to log in'):
        await database.read(lambda connection: connection.exec_driver_sql("SELECT 1"))
    await execute(postgresql_url, "ALTER ROLE bob LOGIN")
    await database.read(lambda connection: connection.exec_driver_sql("SELECT 1"))
    await database.close()
    await execute(postgresql_url, "DROP ROLE bob")


def run(tmp_path: Path, url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of ours to its end."""
    settings = {"DATABASE_URL": url, "SECRET_KEY": "x" * 32, "LOG_FORMAT": "json"}
    return subprocess.run(  # noqa: S603 -- our own command
        command(*arguments),
        cwd=tmp_path,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@pytest.mark.whole
@pytest.mark.parametrize("arguments", [("serve", "--port", "0"), ("db", "upgrade"), ("status",)])
def test_commands_check_the_certificate(
    tmp_path: Path, front: TlsFront, files: Path, postgresql_url: str, arguments: tuple[str, ...]
) -> None:
    """With the wrong authority a command ends with one sentence and status 1, and never connects."""
    query = f"sslmode=verify-full&sslrootcert={files}/other.crt"
    ended = run(tmp_path, url_by(front, postgresql_url, query), *arguments)

    assert ended.returncode == 1
    assert f"The certificate of PostgreSQL at 127.0.0.1:{front.port} is refused: {UNKNOWN}" in ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout


@pytest.mark.whole
def test_the_service_runs_by_tls(tmp_path: Path, front: TlsFront, files: Path, postgresql_url: str) -> None:
    """With the right authority commands and the service work, and every connection of theirs is by TLS."""
    url = url_by(front, postgresql_url, f"sslmode=verify-full&sslrootcert={files}/ours.crt")
    upgraded = run(tmp_path, url, "db", "upgrade")
    address = f"http://127.0.0.1:{(port := free_port())}"
    settings = {"DATABASE_URL": url, "SECRET_KEY": "x" * 32}
    with started(["serve", "--port", str(port)], f"{address}/readyz", tmp_path, tmp_path / "log", **settings):
        using = len(front.protocols)

    assert (upgraded.returncode, "The schema is at version" in upgraded.stdout) == (0, True), upgraded.stderr
    assert using >= 2


@pytest.mark.whole
@pytest.mark.parametrize("arguments", [("serve", "--port", "0"), ("db", "upgrade")])
def test_a_wrong_port_ends_the_start_soon(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A port at which nothing listens is logged at once and waited for ten seconds; one sentence ends the start."""
    port = free_port()
    begun = time.monotonic()
    ended = run(tmp_path, f"postgresql://ann:secret-word@127.0.0.1:{port}/app", *arguments)

    assert 8 < time.monotonic() - begun < 25
    assert ended.returncode == 1
    assert f"No PostgreSQL answers at 127.0.0.1:{port} (Connection refused). Check host and port" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "secret-word" not in ended.stderr + ended.stdout
