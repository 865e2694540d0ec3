"""The settings, from the environment and a ``.env`` file; the composition root takes them apart."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

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
from prosperstack_destination.setting_rules import (
    find_mistyped_names,
    http_url,
    listen_host,
    reject_quotes,
    trim_values,
)

#: Secrets that may be any text: what is in them is taken as it is.
_VERBATIM: Final = ("secret_key", "former_secret_keys", "admin_password")
#: So much of a secret that is not valid is shown, in characters.
_SHOWN: Final = 4


HttpUrl = Annotated[str, AfterValidator(http_url)]
ListenHost = Annotated[str, AfterValidator(listen_host)]


class LogFormat(StrEnum):
    """For whom logs are written."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The least important thing that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Role(StrEnum):
    """What a process does."""

    ALL = "all"
    #: It takes calls.
    RECEIVE = "receive"
    #: It writes to ProsperStack.
    RECONCILE = "reconcile"


class Settings(BaseSettings):
    """Every setting of the service. Their names are fixed: scripts rely on them."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True)

    #: Where the database and the generated secret live.
    data_dir: Path = Path("data")
    #: A SQLAlchemy URL; by default a SQLite file under `data_dir`.
    database_url: str | None = None
    #: ProsperStack's API.
    prosperstack_base_url: HttpUrl = "https://api.prosperstack.com/v1"
    #: The operator's own account: its ProsperStack key, and the keys that callers show for it.
    prosperstack_api_key: SecretStr | None = None
    segment_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    #: Whether a caller's key may be a ProsperStack key that is new to us.
    allow_pass_through: bool = True
    #: Encrypts ProsperStack keys at rest. Absent with SQLite: made once, in a file beside the database.
    secret_key: SecretStr | None = None
    #: What SECRET_KEY was before: they decrypt, until `reencrypt` has run.
    former_secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    #: Opens the dashboard. Absent: made once, and kept with the database.
    admin_password: SecretStr | None = None
    #: Where SECRET_KEY is kept instead, for all processes that share a database; made once where there is none.
    secret_key_file: Path | None = None
    #: What this process does, where several share a database.
    role: Role = Role.ALL
    #: How the data connector answers: ProsperStack's documentation does not say.
    data_connector_shape: Literal["flat", "properties"] = "flat"
    #: Where OpenTelemetry traces go, if anywhere (the extra ``otel`` has to be installed).
    otel_exporter_otlp_endpoint: HttpUrl | None = None
    #: Asked for at /metrics, where it is set.
    metrics_token: SecretStr | None = None
    host: ListenHost = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8700
    #: Where the dashboard, the API and the metrics listen instead, away from what the world calls.
    admin_host: ListenHost | None = None
    admin_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    #: The number of proxies in front of the service, each of which appends to ``X-Forwarded-For``.
    trusted_proxies: Annotated[int, Field(ge=0, le=10)] = 0
    log_format: LogFormat = LogFormat.CONSOLE
    log_level: LogLevel = LogLevel.INFO
    #: The most that an array of events may have, in bytes.
    max_array_bytes: Annotated[int, Field(ge=64 * 1024)] = 16 * 1024 * 1024
    #: How long profiles that nothing is said of are kept, in days (0: for ever); what happened, in days and rows.
    retention_days: Annotated[int, Field(ge=0)] = 0
    audit_days: Annotated[int, Field(ge=1)] = 400
    audit_rows: Annotated[int, Field(ge=1)] = 100_000
    #: Calls of an account that are kept for a day as they came, for people to look at; 0: none.
    recent_calls: Annotated[int, Field(ge=0, le=100_000)] = 1_000
    #: The part of every window of the rate limit that is left for the account's owner.
    rate_limit_reserve: Annotated[float, Field(ge=0, lt=1)] = 0.1
    #: The part of the requests that goes to the bulk of an audience while live changes wait too.
    bulk_share: Annotated[float, Field(gt=0, le=1)] = 0.25

    @model_validator(mode="before")
    @classmethod
    def _trim(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Take blank values for none, as environments have them."""
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
        """Comma-separated, as environments have it."""
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("log_level", "log_format", "role", "data_connector_shape", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @property
    def effective_database_url(self) -> str:
        """The database that is used."""
        return self.database_url or f"sqlite:///{self.data_dir / 'destination.db'}"


def read_settings() -> Settings:
    """The settings of this process. Raises `ConfigurationError` that names those at fault, and what was found."""
    try:
        _refuse_mistyped_names()
        return Settings()
    except ValidationError as error:
        faults = "; ".join(map(_fault, error.errors()))
        raise ConfigurationError(f"The settings are not usable. {faults}.") from None
    except UnicodeDecodeError:
        raise ConfigurationError("The settings are not usable. The file .env is not UTF-8 text.") from None


def _refuse_mistyped_names() -> None:
    """Raise `ConfigurationError` for a name in the environment or in .env that is a setting's, mistyped."""
    given = {**EnvSettingsSource(Settings).env_vars, **DotEnvSettingsSource(Settings).env_vars}
    wrong = list(find_mistyped_names(given, [name.upper() for name in Settings.model_fields]))
    if wrong:
        named = "; ".join(f"{name}: did you mean {nearest}" for name, nearest in wrong)
        raise ConfigurationError(f"There is no setting of this name, in the environment or in .env: {named}?")


def _fault(error: ErrorDetails) -> str:
    """One setting's fault in words, with what was found; of a secret only how it begins."""
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
    """A secret setting in clear: to be used, never kept or logged. None where it is not set."""
    return None if secret is None else secret.get_secret_value()
