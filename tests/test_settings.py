"""Settings that cannot be used: a sentence says which, and what was found."""

from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest

from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.settings import Settings, read_settings
from support.processes import environment


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither a .env file nor an environment but the test's own."""
    import os

    for name in set(os.environ) - set(environment()):
        monkeypatch.delenv(name)
    with chdir(tmp_path):
        yield


def refused(monkeypatch: pytest.MonkeyPatch, **settings: str) -> str:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as error:
        read_settings()
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PROSPERSTACK_BASE_URL", "api.prosperstack.com/v1", "'api.prosperstack.com/v1': write a whole URL"),
        ("PROSPERSTACK_BASE_URL", "ftp://api.prosperstack.com", "write a whole URL"),
        ("PROSPERSTACK_BASE_URL", "https://", "write a whole URL"),
        ("PROSPERSTACK_BASE_URL", "https:///v1", "write a whole URL"),
        ("PROSPERSTACK_BASE_URL", "https://host:port/v1", "host or port is not valid"),
        ("PROSPERSTACK_BASE_URL", "https://api .example.com", "host or port is not valid"),
        ("PROSPERSTACK_BASE_URL", "https://user:pw@example.com", "without a user"),
        ("PROSPERSTACK_BASE_URL", "https://example.com/v1?x=1", "without a user, a query"),
        ("PROSPERSTACK_BASE_URL", '"https://api.prosperstack.com/v1"', "remove the quotation marks"),
        ("PROSPERSTACK_BASE_URL", "'https://api.prosperstack.com/v1'", "remove the quotation marks"),
        ("PROSPERSTACK_API_KEY", "hello", "'hell'… (5 characters): ProsperStack's keys begin with key_"),
        ("PROSPERSTACK_API_KEY", '"key_test_1234567"', "remove the quotation marks"),
        ("PROSPERSTACK_API_KEY", "key_", "ProsperStack's keys begin with key_"),
        ("SEGMENT_KEYS", '"one","two"', "quotation marks"),
        ("SEGMENT_KEYS", "one two", "separated by commas"),
        ("ALLOW_PASS_THROUGH", "maybe", "'maybe': it should be a valid boolean"),
        ("ROLE", "reciever", "'reciever': it should be 'all', 'receive' or 'reconcile'"),
        ("LOG_LEVEL", "verbose", "'verbose': it should be 'debug'"),
        ("LOG_FORMAT", "text", "'text': it should be 'console' or 'json'"),
        ("DATA_CONNECTOR_SHAPE", "nested", "it should be 'flat' or 'properties'"),
        ("HOST", "[::1]", "'[::1]': write an IPv6 address without brackets"),
        ("HOST", "[::1]:8700", "without brackets"),
        ("HOST", "http://127.0.0.1", "write an address alone"),
        ("HOST", "127.0.0.1:8700", "without a port"),
        ("ADMIN_HOST", "[::1]", "without brackets"),
        ("PORT", "eighty", "'eighty': it should be a valid integer"),
        ("PORT", "70000", "it should be less than or equal to 65535"),
        ("PORT", "tcp://10.0.0.1:80", "it should be a valid integer"),
        ("ADMIN_PORT", "0", "it should be greater than or equal to 1"),
        ("TRUSTED_PROXIES", "10.0.0.0/8", "it should be a valid integer"),
        ("MAX_ARRAY_BYTES", "16MB", "it should be a valid integer"),
        ("RETENTION_DAYS", "-1", "it should be greater than or equal to 0"),
        ("RATE_LIMIT_RESERVE", "10%", "it should be a valid number"),
        ("RATE_LIMIT_RESERVE", "nan", "RATE_LIMIT_RESERVE is 'nan'"),
        ("BULK_SHARE", "0", "it should be greater than 0"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "write a whole URL"),
        ("DATABASE_URL", '"sqlite:///x.db"', "remove the quotation marks"),
    ],
)
def test_a_value_that_cannot_be_used(name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence has the setting's name, what was found, and what it has to be."""
    sentence = refused(monkeypatch, **{name: value})

    assert name in sentence
    assert said in sentence
    assert "Value error" not in sentence


def test_a_secret_is_not_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a key that is none, the sentence has the beginning and the length."""
    sentence = refused(monkeypatch, PROSPERSTACK_API_KEY="sk_live_0123456789", SEGMENT_KEYS="good,very secret one")

    assert "'sk_l'… (18 characters)" in sentence
    for hidden in ("0123456789", "secret one"):
        assert hidden not in sentence


@pytest.mark.parametrize("name", [name.upper() for name in Settings.model_fields])
@pytest.mark.parametrize("blank", ["", " ", "\t "])
def test_a_blank_value_is_none(name: str, blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that is empty, or only spaces, has its default and does not count as set."""
    monkeypatch.setenv(name, blank)

    settings = read_settings()
    assert settings == Settings(_env_file=None)
    assert name.lower() not in settings.model_fields_set


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("PROSPERSTACK_BASE_URL", " http://[::1]:8701/v1/ ", "http://[::1]:8701/v1"),
        ("PORT", " 8701 ", 8701),
        ("HOST", " ::1 ", "::1"),
        ("ROLE", " Receive", "receive"),
        ("ALLOW_PASS_THROUGH", " no ", False),
        ("DATABASE_URL", " sqlite:///x.db\n", "sqlite:///x.db"),
    ],
)
def test_spaces_around_a_value_are_left_out(
    name: str, value: str, read: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spaces and line ends around a value, as files and pasting leave them, are none of it."""
    monkeypatch.setenv(name, value)

    assert getattr(read_settings(), name.lower()) == read


def test_a_secret_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """SECRET_KEY and ADMIN_PASSWORD may be any text: a changed one would decrypt nothing, or let nobody in."""
    monkeypatch.setenv("SECRET_KEY", '" a secret that is long "')
    monkeypatch.setenv("ADMIN_PASSWORD", "'quoted'")
    settings = read_settings()

    assert settings.secret_key is not None
    assert settings.secret_key.get_secret_value() == '" a secret that is long "'
    assert settings.admin_password is not None
    assert settings.admin_password.get_secret_value() == "'quoted'"


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("PROSPERSTACK_API_KYE", "PROSPERSTACK_API_KEY"),
        ("PROSPERSTACK_APIKEY", "PROSPERSTACK_API_KEY"),
        ("PROSPERSTACK_KEY", "PROSPERSTACK_API_KEY"),
        ("PROSPERSTACK_URL", "PROSPERSTACK_BASE_URL"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("SECRETKEY", "SECRET_KEY"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
        ("ADMIN_PASS", "ADMIN_PASSWORD"),
        ("allow_passthrough", "ALLOW_PASS_THROUGH"),
    ],
)
@pytest.mark.parametrize("where", ["environment", "file"])
def test_a_mistyped_name(name: str, right: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that resembles a setting's is refused, with the right one, in the environment and in .env."""
    if where == "environment":
        monkeypatch.setenv(name, "x")
    else:
        Path(".env").write_text(f"{name}=x\n")

    assert f"{name.upper()}: did you mean {right}?" in refused(monkeypatch)


@pytest.mark.parametrize(
    "name",
    [
        *("HOSTNAME", "SEGMENT_KEY", "DJANGO_SECRET_KEY", "SECRET_KEY_BASE", "XDG_DATA_DIRS", "PGDATABASE"),
        *("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "PROSPERSTACK_DESTINATION_PORT", "POSTGRES_PASSWORD", "PORTS"),
        *("PROSPERSTACK_DESTINATION_SERVICE_HOST", "AWS_SECRET_ACCESS_KEY", "MY_DATA_DIR", "GIT_AUTHOR_NAME"),
    ],
)
def test_names_of_other_programs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other programs, Docker and Kubernetes put into the environment keeps nothing from starting."""
    monkeypatch.setenv(name, "x")

    assert read_settings() == Settings(_env_file=None)


def test_an_env_file_that_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A .env file in another encoding is named."""
    Path(".env").write_bytes(b"HOST=\xff\xfe\n")

    assert ".env is not UTF-8" in refused(monkeypatch)
