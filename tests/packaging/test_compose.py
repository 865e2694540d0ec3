"""Tests of compose.yaml without an engine: equal processes with equal settings."""

import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from prosperstack_destination.settings import Settings
from support.cluster import KEY, SEGMENT_KEY, Load, Process, sandbox
from support.postgres import Databases
from support.processes import free_port

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parents[2]
#: Settings that an operator may add in .env. Without them, callers authenticate with ProsperStack's keys.
PASSWORD = "0123456789abcdef"
OWN = {"PROSPERSTACK_API_KEY": KEY, "SEGMENT_KEYS": SEGMENT_KEY}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """Services by name, with defaults for variables that are not set."""
    text = re.sub(r"\$\{POSTGRES_PASSWORD:\?[^}]*\}", PASSWORD, (ROOT / "compose.yaml").read_text())
    assert "${" not in text, "no other variable, and no password by default"
    found: dict[str, Any] = yaml.safe_load(text)["services"]
    return found


def ours(services: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return the settings of this project's services."""
    return {name: each["environment"] for name, each in services.items() if name != "postgres"}


def test_receivers_and_reconcilers_are_started(services: dict[str, Any]) -> None:
    """There are two receivers, two reconcilers and PostgreSQL; only the receivers publish ports."""
    assert sorted(each["ROLE"] for each in ours(services).values()) == ["receive"] * 2 + ["reconcile"] * 2
    for name, service in services.items():
        published = name.startswith("receiver")
        assert ("ports" in service) == published, name
        if published:
            assert service["ports"][0].endswith(":" + service["environment"]["PORT"])
    admin = services["receiver-1"]["environment"]["ADMIN_PORT"]
    assert [port for each in services.values() for port in each.get("ports", [])[1:]] == [
        f"127.0.0.1:{admin}:{admin}"
    ]


def test_containers_drop_capabilities(services: dict[str, Any]) -> None:
    """Each container drops all capabilities except those that PostgreSQL needs, and gains none."""
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert ("cap_add" in service) == (name == "postgres")
        assert service.get("read_only", False) == (name != "postgres")
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+(@sha256:[0-9a-f]{64})?", services["postgres"]["image"])


def test_settings_are_valid(services: dict[str, Any]) -> None:
    """Each variable is a setting with a valid value."""
    for environment in ours(services).values():
        given = {name.lower(): value for name, value in environment.items()}
        assert given.keys() <= Settings.model_fields.keys()
        assert Settings(_env_file=None, **given).secret_key_file is not None  # type: ignore[arg-type] # texts


def test_services_share_the_database(services: dict[str, Any]) -> None:
    """DATABASE_URL has the user, password, name and host of PostgreSQL, and waits until it is healthy."""
    postgres = services["postgres"]["environment"]
    url = f"{postgres['POSTGRES_USER']}:{postgres['POSTGRES_PASSWORD']}@postgres/{postgres['POSTGRES_DB']}"
    for name, environment in ours(services).items():
        assert environment["DATABASE_URL"] == f"postgresql+asyncpg://{url}"
        assert services[name]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_services_deliver_calls(services: dict[str, Any], databases: Databases, tmp_path: Path) -> None:
    """Services that start at once on an empty database create one secret and one schema, and deliver calls."""
    here = {"/data": str(tmp_path / "data"), "0.0.0.0": "127.0.0.1"}  # noqa: S104 -- the container's network
    with databases.empty() as url, sandbox(tmp_path) as api:
        made: dict[str, Process] = {}
        for name, environment in ours(services).items():
            settings = {
                key: re.sub("|".join(here), lambda found: here[found[0]], value)
                for key, value in environment.items()
            }
            settings |= {"DATABASE_URL": url, "PROSPERSTACK_BASE_URL": api.url, "LOG_FORMAT": "json", **OWN}
            settings["ADMIN_PORT"] = str(free_port())  # a container has its own
            made[name] = Process([], free_port(), tmp_path, settings)
        try:
            for each in made.values():
                each.start()
            for each in made.values():
                each.await_ready()
            receivers = [each.url for name, each in made.items() if name.startswith("receiver")]
            load = Load(receivers, sorted(api.values()), random.Random(1))  # noqa: S311 -- for chance, not for secrets
            with load.running():
                load.await_accepted(20)
                reconcilers = [each for name, each in made.items() if name.startswith("reconciler")]
                max(reconcilers, key=lambda each: each.log.count('"delivered"')).kill()
                load.await_accepted(20)
            load.settled(api)
        finally:
            for each in made.values():
                each.stop()
    assert load.statuses.keys() <= {202, 0}, load.statuses  # 0: a busy machine may not answer in time
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"secret.key", "serving.json"}
