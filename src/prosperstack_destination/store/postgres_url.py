"""Translation of PostgreSQL URLs, as hosting companies print them, to asyncpg's arguments."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import URL

from prosperstack_destination.errors import ConfigurationError

#: Default name of this service in the server's list of connections.
APPLICATION_NAME: Final = "prosperstack-destination"
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
#: Values of ``ssl`` in the URLs of other drivers, with the equivalent mode.
_SSL_FLAGS: Final = {"true": "require", "1": "require", "on": "require", "false": "disable", "0": "disable"}
_BINDINGS: Final = ("disable", "prefer", "require")
_SESSIONS: Final = ("any", "primary", "standby", "read-write", "read-only", "prefer-standby")
#: Parameters that asyncpg lacks, with the values that need no equivalent.
_WITHOUT_EFFECT: Final[Mapping[str, tuple[str, ...]]] = {
    "gssencmode": ("disable", "prefer"),
    "pgbouncer": ("false",),
    "client_encoding": ("utf8", "utf-8", "auto"),
}
#: Supported parameters, for the error message about others.
_PARAMETERS: Final = (
    *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslnegotiation", "channel_binding"),
    *("connect_timeout", "application_name", "options", "schema", "target_session_attrs"),
    *("host", "port", "user", "password", "dbname"),
)


@dataclass(frozen=True, slots=True)
class PostgresConnection:
    """Arguments for connecting to a server."""

    #: URL whose query contains only ``host`` and ``port``.
    url: URL
    #: Further keyword arguments of asyncpg's ``connect``.
    arguments: dict[str, Any] = field(repr=False)


def postgres_connection(url: URL, *, connect_seconds: float) -> PostgresConnection:
    """Translate libpq's parameters. ``connect_seconds`` is the default of ``connect_timeout``.

    ``channel_binding=require`` becomes a check of the server's certificate: asyncpg has no channel binding, and
    both protect against an impostor. Raises `ConfigurationError` for a parameter without an equivalent.
    """
    query = {
        name.lower(): value if isinstance(value, str) else ",".join(value) for name, value in url.query.items()
    }
    for name, values in _WITHOUT_EFFECT.items():
        if query.get(name, "").lower() in values:
            del query[name]
    if "pgbouncer" in query:
        raise ConfigurationError(
            "DATABASE_URL has pgbouncer=true, the address of a pooler in transaction mode: the service needs "
            "LISTEN and session settings. Use the direct address or session mode, without pgbouncer=true."
        )
    settings = _server_settings(query)
    arguments: dict[str, Any] = {"timeout": _timeout(query, connect_seconds), "server_settings": settings}
    direct = _one_of(query, "sslnegotiation", ("postgres", "direct")) == "direct"
    encryption = _encryption(query)
    if encryption is not None:
        arguments["ssl"] = encryption
    if direct:
        if encryption in (None, "disable", "allow", "prefer"):
            raise ConfigurationError(
                "DATABASE_URL has sslnegotiation=direct, which needs sslmode=require, verify-ca or verify-full."
            )
        arguments["direct_tls"] = True
    if "target_session_attrs" in query:
        arguments["target_session_attrs"] = _one_of(query, "target_session_attrs", _SESSIONS)
    address = {name: query.pop(name) for name in ("host", "port") if name in query}
    renamed = {"user": "username", "password": "password", "dbname": "database"}
    named = {attribute: query.pop(name) for name, attribute in renamed.items() if name in query}
    if query:
        raise ConfigurationError(
            f"DATABASE_URL has {', '.join(sorted(query))}, which the service does not support: remove it. "
            f"Supported: {', '.join(_PARAMETERS)}."
        )
    return PostgresConnection(url.set(drivername="postgresql+asyncpg", query=address, **named), arguments)  # type: ignore[arg-type] # its parts are texts


def _server_settings(query: dict[str, str]) -> dict[str, str]:
    fallback = query.pop("fallback_application_name", APPLICATION_NAME)
    settings = {"application_name": query.pop("application_name", fallback)}
    if "options" in query:
        settings["options"] = query.pop("options")
    if "schema" in query:
        settings["search_path"] = query.pop("schema")
    return settings


def _timeout(query: dict[str, str], default: float) -> float:
    text = query.pop("connect_timeout", None)
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise ConfigurationError(f"DATABASE_URL has connect_timeout={text}: use a number of seconds, at most 3600.")
    return seconds or default  # 0 means no timeout in libpq, but an endless start would report nothing


def _encryption(query: dict[str, str]) -> str | ssl.SSLContext | None:
    """Return asyncpg's ``ssl`` argument: a mode, or a context that checks the server's certificate."""
    flag = query.pop("ssl", None)
    if flag is not None:
        query.setdefault("sslmode", _SSL_FLAGS.get(flag.lower(), flag))
    mode = _one_of(query, "sslmode", _SSL_MODES)
    binding = _one_of(query, "channel_binding", _BINDINGS)
    root = query.pop("sslrootcert", None)
    client = {name: query.pop(name, None) for name in ("sslcert", "sslkey", "sslpassword")}
    if binding == "require":
        if mode in ("disable", "allow", "prefer"):
            raise ConfigurationError(
                f"DATABASE_URL has channel_binding=require and sslmode={mode}: use sslmode=verify-full."
            )
        mode = "verify-full"
    elif mode == "require" and root is not None:
        mode = "verify-ca"  # as libpq does
    if mode not in ("require", "verify-ca", "verify-full"):
        if client["sslcert"] is not None or (root is not None and mode is not None):
            raise ConfigurationError(f"DATABASE_URL has certificates and sslmode={mode}: use sslmode=verify-full.")
        if root is None:
            return mode
        mode = "verify-ca"
    if mode == "require" and client["sslcert"] is None:
        return mode
    return _context(mode, root, **client)


def _context(
    mode: str, root: str | None, sslcert: str | None, sslkey: str | None, sslpassword: str | None
) -> ssl.SSLContext:
    place = root
    try:
        context = ssl.create_default_context(cafile=None if root in (None, "system") else root)
        context.check_hostname = mode == "verify-full"
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as libpq; authorities of hosts are often not strict
        context.set_alpn_protocols(["postgresql"])  # PostgreSQL demands it with sslnegotiation=direct
        if mode == "require":
            context.verify_mode = ssl.CERT_NONE
        if sslcert is not None:
            place = sslcert
            context.load_cert_chain(sslcert, sslkey, sslpassword or "")
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"DATABASE_URL names the certificate file {place}, which cannot be used: {_file_error(error)}."
        ) from None
    return context


def _file_error(error: Exception) -> str:
    if not isinstance(error, ssl.SSLError):
        return getattr(error, "strerror", None) or "it contains no PEM certificate"
    if error.reason == "KEY_VALUES_MISMATCH":
        return "its key is another one than sslkey names"
    return "it contains no PEM certificate, or its key is missing: name the key in sslkey"


def _one_of(query: dict[str, str], name: str, known: tuple[str, ...]) -> str | None:
    """Remove a parameter and return it in lower case. Raises `ConfigurationError` for an unknown value."""
    if name not in query:
        return None
    value = query.pop(name)
    if value.lower() not in known:
        raise ConfigurationError(f"DATABASE_URL has {name}={value}: use one of {', '.join(known)}.")
    return value.lower()
