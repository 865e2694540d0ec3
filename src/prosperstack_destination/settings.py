"""Settings from the environment and a ``.env`` file, and the rules for their values and names."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    SettingsConfigDict,
)

from prosperstack_destination.auth.api_keys import KEY_PREFIX, is_prosperstack_key
from prosperstack_destination.errors import ConfigurationError

#: Secrets that may be any text. Their spaces and quotation marks are part of the secret.
_VERBATIM: Final = ("secret_key", "former_secret_keys", "admin_password")
#: Length of the beginning of an invalid secret that an error message shows, in characters.
_SHOWN: Final = 4
#: Similarity (0 to 1) from which an unknown name counts as a mistyped setting, and the length of the shortest such
#: name, in characters.
MIN_SIMILARITY: Final = 0.82
MIN_NAME_LENGTH: Final = 8
#: Names of other programs that resemble settings: the command ``send`` and OpenTelemetry's libraries read these.
_FOREIGN_NAMES: Final = ("SEGMENT_KEY",)
_FOREIGN_PREFIXES: Final = ("OTEL_",)
_QUOTES: Final = "\"'"


def find_mistyped_names(names: Iterable[str], known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each unknown name that resembles a setting, with that setting's name."""
    for name in sorted({name.upper() for name in names} - set(known)):
        if len(name) < MIN_NAME_LENGTH or name in _FOREIGN_NAMES or name.startswith(_FOREIGN_PREFIXES):
            continue
        similarity, nearest = max((SequenceMatcher(None, name, setting).ratio(), setting) for setting in known)
        if similarity >= MIN_SIMILARITY and name[0] == nearest[0]:
            yield name, nearest


def trim_values(values: Mapping[str, object], verbatim: Collection[str]) -> dict[str, object]:
    """Return settings with trimmed values, without blank ones.

    Names in ``verbatim`` keep their spaces; a blank value is left out there as well.
    """
    texts = {name: value.strip() for name, value in values.items() if isinstance(value, str)}
    return {
        name: value if name in verbatim else texts.get(name, value)
        for name, value in values.items()
        if texts.get(name, value) != ""
    }


def reject_quotes(value: object) -> object:
    """Return a value; raise `ValueError` for text in quotation marks, which Docker's --env-file keeps."""
    if isinstance(value, str) and value and value[0] in _QUOTES and value[-1] in _QUOTES:
        raise ValueError("remove the quotation marks around it")
    return value


def http_url(value: str) -> str:
    """Return an http or https URL without a slash at its end; raise `ValueError` for any other text."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("write a whole URL, which begins with https:// or http://")
    if not parts.hostname or " " in value or _port(parts.netloc) is None:
        raise ValueError("its host or port is not valid: write it like https://api.example.com:8443/v1")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("write a URL without a user, a query (?) or a fragment (#)")
    return value.rstrip("/")


def listen_host(value: str) -> str:
    """Return an IP address or a host name to listen on; raise `ValueError` for a URL, a port or brackets."""
    if value.startswith("["):
        raise ValueError("write an IPv6 address without brackets, e.g. ::1")
    if "/" in value or " " in value:
        raise ValueError("write an address alone, e.g. 0.0.0.0")
    if value.count(":") == 1:
        raise ValueError("write an address without a port, which PORT or ADMIN_PORT sets")
    return value


def _port(netloc: str) -> int | None:
    try:
        return urlsplit(f"//{netloc}").port or 0
    except ValueError:
        return None


HttpUrl = Annotated[str, AfterValidator(http_url)]
ListenHost = Annotated[str, AfterValidator(listen_host)]


class LogFormat(StrEnum):
    """Format of log lines: for people, or for machines."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """Lowest level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Role(StrEnum):
    """Task of a process, where several share a database."""

    ALL = "all"
    #: Receives calls.
    RECEIVE = "receive"
    #: Writes to ProsperStack.
    RECONCILE = "reconcile"


class Settings(BaseSettings):
    """All settings of the service. Their names do not change: deployments rely on them."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True)

    #: Folder of the SQLite database and of the generated secret.
    data_dir: Path = Path("data")
    #: SQLAlchemy URL of the database; by default a SQLite file under `data_dir`.
    database_url: str | None = None
    #: Base URL of ProsperStack's API.
    prosperstack_base_url: HttpUrl = "https://api.prosperstack.com/v1"
    #: ProsperStack key of the operator's own account, and the inbound keys that open this account.
    prosperstack_api_key: SecretStr | None = None
    segment_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    #: True if an unknown ProsperStack key in a call opens a new account.
    allow_pass_through: bool = True
    #: Secret that encrypts ProsperStack keys at rest. By default, with SQLite: generated once, in a file next to
    #: the database.
    secret_key: SecretStr | None = None
    #: Earlier values of SECRET_KEY, which decrypt until the command `reencrypt` has run.
    former_secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    #: Password of the dashboard. By default: generated once, and stored in the database.
    admin_password: SecretStr | None = None
    #: File with SECRET_KEY, for all processes that share a database; created once where it is missing.
    secret_key_file: Path | None = None
    #: Task of this process, where several share a database.
    role: Role = Role.ALL
    #: Format of the data connector's responses: ProsperStack's documentation does not specify it.
    data_connector_shape: Literal["flat", "properties"] = "flat"
    #: OTLP endpoint for OpenTelemetry traces, metrics and log lines (needs the extra ``otel``). None: no export.
    otel_exporter_otlp_endpoint: HttpUrl | None = None
    #: Bearer token of /metrics. None: no token is needed.
    metrics_token: SecretStr | None = None
    host: ListenHost = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8700
    #: Separate address of the dashboard, the API and the metrics, which the public port then does not serve.
    admin_host: ListenHost | None = None
    admin_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    #: Number of proxies in front of the service, each of which appends to ``X-Forwarded-For``.
    trusted_proxies: Annotated[int, Field(ge=0, le=10)] = 0
    log_format: LogFormat = LogFormat.CONSOLE
    log_level: LogLevel = LogLevel.INFO
    #: Largest array of events, in bytes.
    max_array_bytes: Annotated[int, Field(ge=64 * 1024)] = 16 * 1024 * 1024
    #: Retention of profiles without new calls, in days (0: no limit); of the audit log, in days and in rows.
    retention_days: Annotated[int, Field(ge=0)] = 0
    audit_days: Annotated[int, Field(ge=1)] = 400
    audit_rows: Annotated[int, Field(ge=1)] = 100_000
    #: Recent calls that are kept per account, for a day, for operators to inspect; 0: none.
    recent_calls: Annotated[int, Field(ge=0, le=100_000)] = 1_000
    #: Reserve: share of every rate-limit window that is kept free for the account's owner, 0 to 1.
    rate_limit_reserve: Annotated[float, Field(ge=0, lt=1)] = 0.1
    #: Share of the requests for the bulk lane while live changes wait too, 0 to 1.
    bulk_share: Annotated[float, Field(gt=0, le=1)] = 0.25

    @model_validator(mode="before")
    @classmethod
    def _trim(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Treat blank values as missing, as environments have them."""
        return trim_values(values, _VERBATIM)

    @field_validator("*", mode="before")
    @classmethod
    def _unquoted(cls, value: object, info: ValidationInfo) -> object:
        return value if info.field_name in _VERBATIM else reject_quotes(value)

    @field_validator("prosperstack_api_key")
    @classmethod
    def _api_key(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not is_prosperstack_key(key.get_secret_value()):
            raise ValueError(f"ProsperStack's keys begin with {KEY_PREFIX}; the key is under Settings, API, there")
        return key

    @field_validator("segment_keys")
    @classmethod
    def _segment_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(set(key.get_secret_value()) & set(" :\"'\t") for key in keys):
            raise ValueError("a key has no spaces, colons or quotation marks; several are separated by commas")
        return keys

    @field_validator("segment_keys", "former_secret_keys", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Split comma-separated text, as environments have it."""
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("log_level", "log_format", "role", "data_connector_shape", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @property
    def effective_database_url(self) -> str:
        """SQLAlchemy URL of the database, with the default applied."""
        return self.database_url or f"sqlite:///{self.data_dir / 'destination.db'}"


def read_settings() -> Settings:
    """Return the settings of this process.

    Raises `ConfigurationError` that names each invalid setting and its value.
    """
    try:
        _reject_mistyped_names()
        return Settings()
    except ValidationError as error:
        faults = "; ".join(map(_describe_fault, error.errors()))
        raise ConfigurationError(f"The settings are not usable. {faults}.") from None
    except UnicodeDecodeError:
        raise ConfigurationError("The settings are not usable. The file .env is not UTF-8 text.") from None


def _reject_mistyped_names() -> None:
    """Raise `ConfigurationError` for a name in the environment or in .env that resembles a setting's name."""
    given = {**EnvSettingsSource(Settings).env_vars, **DotEnvSettingsSource(Settings).env_vars}
    wrong = list(find_mistyped_names(given, [name.upper() for name in Settings.model_fields]))
    if wrong:
        named = "; ".join(f"{name}: did you mean {nearest}" for name, nearest in wrong)
        raise ConfigurationError(f"There is no setting of this name, in the environment or in .env: {named}?")


def _describe_fault(error: ErrorDetails) -> str:
    """Return a sentence on one invalid setting, with its value; of a secret only the beginning."""
    name = str(error["loc"][0])
    found = error["input"]
    text = found.get_secret_value() if isinstance(found, SecretStr) else str(found)
    if "SecretStr" in str(Settings.model_fields[name].annotation):
        shown = f"{text[:_SHOWN]!r}… ({len(text)} characters)"
    else:
        shown = repr(text)
    message = error["msg"].removeprefix("Value error, ").replace("Input should", "it should", 1)
    return f"{name.upper()} is {shown}: {message}"


def reveal(secret: SecretStr | None) -> str | None:
    """Return a secret setting in clear, or None where it is not set. Callers never store or log it."""
    return None if secret is None else secret.get_secret_value()
