"""PostgreSQL URLs as hosting companies print them."""

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
def test_every_scheme_leads_to_our_driver(scheme: str) -> None:
    """Whatever driver a URL names, the one that is used here connects, to the address that the URL has."""
    url = postgres_connection(parse_database_url(f"{scheme}://ann:p%40ss@db/app"), connect_seconds=5.0).url

    assert (url.drivername, url.username, url.password, url.host) == ("postgresql+asyncpg", "ann", "p@ss", "db")
    assert backend_of(f"{scheme}://db/app") == "postgresql"


def test_a_plain_url_has_what_every_connection_has() -> None:
    """Without parameters the driver's way of TLS, our name and our time-out hold."""
    assert connection().arguments == {
        "timeout": 5.0,
        "server_settings": {"application_name": "prosperstack-destination"},
    }


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require"])
def test_modes_that_check_nothing(mode: str) -> None:
    """A mode without a check of certificates is passed on."""
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
def test_modes_that_check_the_certificate(query: str, name_is_checked: bool) -> None:
    """Checks use the system's authorities; what channel binding keeps out, a check keeps out as well."""
    context = connection(query).arguments["ssl"]

    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, name_is_checked)


def test_a_root_certificate_of_its_own(tmp_path: Path) -> None:
    """With sslrootcert alone, or with require, that authority is checked, as libpq does."""
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
def test_parameters_with_a_counterpart(query: str, name: str, value: object) -> None:
    """A parameter that the driver has under another name is passed on under that."""
    assert connection(query).arguments[name] == value


@pytest.mark.parametrize(
    "query", ["?gssencmode=disable", "?pgbouncer=false", "?client_encoding=utf8", "?channel_binding=prefer"]
)
def test_parameters_that_change_nothing(query: str) -> None:
    """A parameter whose value is what happens anyway is left out."""
    assert connection(query).arguments == connection().arguments


def test_an_address_in_the_parameters() -> None:
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
def test_what_has_no_counterpart_is_refused(query: str, said: str) -> None:
    """A parameter that cannot be passed on is refused in a sentence that names it, and never the password."""
    with pytest.raises(ConfigurationError) as error:
        connection(query)

    assert said in str(error.value)
    assert "p@ss" not in str(error.value)


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    """A root certificate that is no PEM is named."""
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
def test_a_url_that_is_none(url: str, said: str) -> None:
    """What is no URL of a database that is served here is refused, and nothing of the password is shown."""
    with pytest.raises(ConfigurationError, match=said) as error:
        Database(url)

    assert "pw" not in str(error.value)


@pytest.mark.anyio
async def test_a_host_that_is_not_known() -> None:
    """A mistyped host ends the start within seconds, with its name."""
    database = Database("postgres://ann:pw@no-such-host.invalid/app?sslmode=require")
    begun = time.monotonic()
    with pytest.raises(ConfigurationError, match=r"unknown host: no-such-host\.invalid:5432"):
        await database.open()

    assert time.monotonic() - begun < 30
    await database.close()


@pytest.mark.anyio
async def test_a_server_without_tls(postgresql_url: str) -> None:
    """Where TLS is asked for and the server has none, that is reported at once."""
    database = Database(f"{postgresql_url}?sslmode=require")
    with pytest.raises(ConfigurationError, match="does not support TLS"):
        await database.open()
    await database.close()


@pytest.mark.anyio
async def test_parameters_reach_the_server(postgresql_url: str) -> None:
    """The server has the settings that the URL asks for, also of the connection that listens."""
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
