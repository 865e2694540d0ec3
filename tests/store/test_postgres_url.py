"""PostgreSQL URLs as hosting companies show them."""

import ssl
import time
from pathlib import Path

import pytest
from sqlalchemy import make_url

from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.store.database import Database, backend_of, parse_database_url
from prosperstack_destination.store.notify import PgNotifier
from prosperstack_destination.store.postgres_url import PostgresConnection, postgres_connection

HOST = "postgres://ann:p%40ss@db.example.com:6432/app"


def connection(query: str = "") -> PostgresConnection:
    return postgres_connection(parse_database_url(f"{HOST}{query}"), connect_seconds=5.0)


@pytest.mark.parametrize(
    "scheme",
    ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg2", "postgres+psycopg", "POSTGRES"],
)
def test_every_scheme_selects_the_driver(scheme: str) -> None:
    """For any driver in the URL, asyncpg connects to the address of the URL."""
    url = postgres_connection(parse_database_url(f"{scheme}://ann:p%40ss@db/app"), connect_seconds=5.0).url

    assert (url.drivername, url.username, url.password, url.host) == ("postgresql+asyncpg", "ann", "p@ss", "db")
    assert backend_of(f"{scheme}://db/app") == "postgresql"


def test_plain_url_has_the_defaults() -> None:
    """Without parameters the driver's TLS mode, the service's name and its timeout apply."""
    assert connection().arguments == {
        "timeout": 5.0,
        "server_settings": {"application_name": "prosperstack-destination"},
    }


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require"])
def test_modes_without_checks_are_passed_on(mode: str) -> None:
    """A mode without a certificate check is passed on."""
    assert connection(f"?sslmode={mode}").arguments["ssl"] == mode


@pytest.mark.parametrize(
    ("query", "name_is_checked"),
    [
        ("?sslmode=verify-full", True),
        ("?sslmode=VERIFY-FULL", True),
        ("?sslmode=verify-full&sslrootcert=system", True),
        ("?sslmode=verify-ca", False),
        ("?sslmode=require&channel_binding=require", True),  # as Neon prints it
        ("?channel_binding=require", True),
        ("?sslmode=verify-ca&channel_binding=require", True),
    ],
)
def test_modes_with_checks_verify_certificates(query: str, name_is_checked: bool) -> None:
    """Checks use the system's authorities; channel binding counts as a check."""
    context = connection(query).arguments["ssl"]

    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, name_is_checked)


def test_root_certificate_is_verified(tmp_path: Path) -> None:
    """With sslrootcert alone, or with require, that authority is checked, as in libpq."""
    pem = tmp_path / "root.pem"
    pem.write_text(ssl.DER_cert_to_PEM_cert(ssl.create_default_context().get_ca_certs(binary_form=True)[0]))
    for query in ("?sslmode=require&", "?"):
        context = connection(f"{query}sslrootcert={pem}").arguments["ssl"]
        assert (len(context.get_ca_certs()), context.verify_mode) == (1, ssl.CERT_REQUIRED)


@pytest.mark.parametrize(
    ("query", "name", "value"),
    [
        ("?connect_timeout=10", "timeout", 10.0),
        ("?connect_timeout=0", "timeout", 5.0),
        ("?target_session_attrs=read-write", "target_session_attrs", "read-write"),
        ("?sslmode=require&sslnegotiation=direct", "direct_tls", True),
        ("?ssl=true", "ssl", "require"),
        ("?application_name=mine", "server_settings", {"application_name": "mine"}),
        ("?fallback_application_name=mine", "server_settings", {"application_name": "mine"}),
        (
            "?schema=mine&options=-c%20work_mem%3D8MB",
            "server_settings",
            {"application_name": "prosperstack-destination", "search_path": "mine", "options": "-c work_mem=8MB"},
        ),
    ],
)
def test_parameters_are_translated(query: str, name: str, value: object) -> None:
    """A parameter with another name in the driver is passed on under that name."""
    assert connection(query).arguments[name] == value


@pytest.mark.parametrize(
    "query", ["?gssencmode=disable", "?pgbouncer=false", "?client_encoding=utf8", "?channel_binding=prefer"]
)
def test_default_parameters_are_dropped(query: str) -> None:
    """A parameter with the default value is left out."""
    assert connection(query).arguments == connection().arguments


def test_address_may_be_in_parameters() -> None:
    """Host, port, user, password and database may be parameters, as for a Unix socket."""
    url = postgres_connection(
        parse_database_url("postgresql://?host=/run/pg&port=5433&user=ann&password=x&dbname=app"),
        connect_seconds=5.0,
    ).url

    assert (url.username, url.password, url.database) == ("ann", "x", "app")
    assert dict(url.query) == {"host": "/run/pg", "port": "5433"}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?pgbouncer=true", "pooler in transaction mode"),
        ("?pgbouncer=true&connection_limit=1", "pooler in transaction mode"),
        ("?connection_limit=1", "has connection_limit, which the service does not support"),
        ("?sslmod=require", "has sslmod, which"),
        ("?sslmode=required", "sslmode=required: use one of disable, allow"),
        ("?channel_binding=yes", "channel_binding=yes: use one of"),
        ("?channel_binding=require&sslmode=disable", "use sslmode=verify-full"),
        ("?sslrootcert=/no/such/file&sslmode=verify-full", "/no/such/file, which cannot be used: No such file"),
        ("?sslrootcert=/no/such/file&sslmode=disable", "has certificates and sslmode=disable"),
        ("?sslcert=/no/such/cert&sslmode=require", "/no/such/cert, which cannot be used"),
        ("?connect_timeout=soon", "connect_timeout=soon: use a number"),
        ("?target_session_attrs=master", "use one of any, primary"),
        ("?gssencmode=require", "has gssencmode, which"),
        ("?keepalives=1&tcp_user_timeout=5", "has keepalives, tcp_user_timeout, which"),
        ("?sslcrl=/x", "has sslcrl, which"),
        ("?sslnegotiation=direct", "needs sslmode=require"),
        ("?sslnegotiation=direct&sslmode=prefer", "needs sslmode=require"),
    ],
)
def test_unsupported_parameter_is_rejected(query: str, said: str) -> None:
    """An unsupported parameter is rejected by name, without the password."""
    with pytest.raises(ConfigurationError) as error:
        connection(query)

    assert said in str(error.value)
    assert "p@ss" not in str(error.value)


def test_invalid_root_certificate_is_rejected(tmp_path: Path) -> None:
    """A root certificate that is no PEM is rejected by name."""
    (tmp_path / "root.pem").write_text("hello")
    with pytest.raises(ConfigurationError, match=r"root\.pem, which cannot be used"):
        connection(f"?sslmode=verify-full&sslrootcert={tmp_path}/root.pem")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("hello", "is not a database URL"),
        ("postgres://ann:pw@host:54a2/app", "is not a database URL"),
        ("postgres//ann:pw@host/app", "is not a database URL"),
        ("mysql://ann:pw@host/app", r"unsupported database \(mysql\)"),
        ("jdbc:postgresql://host/app", "is not a database URL|unsupported database"),
        ("sqlite://data.db", "two slashes"),
    ],
)
def test_invalid_url_is_rejected(url: str, said: str) -> None:
    """A URL of no supported database is rejected, and the password is not shown."""
    with pytest.raises(ConfigurationError, match=said) as error:
        Database(url)

    assert "pw" not in str(error.value)


@pytest.mark.anyio
async def test_unknown_host_ends_the_start() -> None:
    """A mistyped host ends the start within seconds, with its name."""
    database = Database("postgres://ann:pw@no-such-host.invalid/app?sslmode=require")
    begun = time.monotonic()
    with pytest.raises(ConfigurationError, match=r"unknown host: no-such-host\.invalid:5432"):
        await database.open()

    assert time.monotonic() - begun < 30
    await database.close()


@pytest.mark.anyio
async def test_server_without_tls_is_reported(postgresql_url: str) -> None:
    """A server without TLS is reported at once where TLS is required."""
    database = Database(f"{postgresql_url}?sslmode=require")
    with pytest.raises(ConfigurationError, match="does not support TLS"):
        await database.open()
    await database.close()


@pytest.mark.anyio
async def test_parameters_reach_the_server(postgresql_url: str) -> None:
    """The server has the settings of the URL, also for the connection that listens."""
    query = "?sslmode=prefer&application_name=mine&connect_timeout=3&options=-c%20work_mem%3D7MB"
    database = Database(f"{postgresql_url}{query}")
    await database.open()
    shown = await database.read(
        lambda connection: [
            connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in ("application_name", "work_mem")
        ]
    )
    listening = PgNotifier(database, f"{postgresql_url}{query}", "here", lambda _: None)
    listening.start()
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mine' AND query LIKE 'LISTEN%%'"
    deadline = time.monotonic() + 10
    while not await database.read(lambda connection: connection.exec_driver_sql(count).scalar_one()):
        assert time.monotonic() < deadline
    await listening.stop()
    await database.close()

    assert shown == ["mine", "7MB"]
    assert make_url(postgresql_url).query == {}
