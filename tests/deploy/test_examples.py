"""Tests of the examples for one machine and for hosting companies, with systemd and Caddy."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from prosperstack_destination import __version__
from prosperstack_destination.settings import Settings
from support.cluster import KEY, SEGMENT_KEY
from support.processes import PATIENCE_SECONDS, free_port, started

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "vm").glob("*.service"))
CADDY = Path(sys.executable).with_name("caddy")
IMAGE = f"ghcr.io/prosperstack/prosperstack-destination:{__version__}"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")


def unit(path: Path) -> dict[str, list[str]]:
    """Return the lines of a unit by their names."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", path.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def check_settings(environment: dict[str, str]) -> Settings:
    """Check that each variable is a setting, and return their values."""
    given = {name.lower(): value for name, value in environment.items()}
    assert given.keys() <= Settings.model_fields.keys()
    return Settings(_env_file=None, **given)  # type: ignore[arg-type] # texts


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units with a program that exists here."""
    for path in UNITS:
        text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", path.read_text(), flags=re.MULTILINE)
        (tmp_path / path.name).write_text(text)
    return [tmp_path / path.name for path in UNITS]


@needs_systemd
def test_units_are_understood(units: list[Path]) -> None:
    """systemd reads the units without a warning."""
    checked = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)  # noqa: S603, S607 -- systemd's own tool

    assert [line for line in checked.stderr.splitlines() if any(path.name in line for path in units)] == []


@needs_systemd
def test_units_may_do_little(units: list[Path]) -> None:
    """systemd rates the exposure of each unit as low."""
    for path in units:
        rated = subprocess.run(  # noqa: S603 -- systemd's own tool
            ["systemd-analyze", "security", "--offline=true", path],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        exposure = re.search(r"exposure level for \S+: ([\d.]+)", rated.stdout)
        assert exposure is not None, rated.stderr
        assert float(exposure[1]) <= 2.0, path.name


def test_unit_runs_the_service() -> None:
    """The service listens on this machine alone, keeps its data in its state folder, and has time to end."""
    lines = unit(DEPLOY / "vm/prosperstack-destination.service")
    settings = check_settings(dict(pair.split("=") for line in lines["Environment"] for pair in line.split()))

    assert lines["ExecStart"][0].endswith("/bin/prosperstack-destination serve")
    assert (settings.host, settings.port, settings.admin_port) == ("127.0.0.1", 8700, 8702)
    assert str(settings.data_dir) == f"/var/lib/{lines['StateDirectory'][0]}"
    assert int(lines["TimeoutStopSec"][0].removesuffix("s")) > 10
    assert unit(DEPLOY / "vm/litestream.service")["User"] == lines["User"]


@contextmanager
def caddy(site: str, upstream: str, folder: Path) -> Iterator[None]:
    """Run Caddy with the example's configuration during the block."""
    log = folder / "caddy.log"
    config = re.sub(
        r"^\{\n", "{\n\tadmin off\n", (DEPLOY / "vm/Caddyfile").read_text(), count=1, flags=re.MULTILINE
    )
    (folder / "Caddyfile").write_text(config)
    environment = {"SITE": site, "UPSTREAM": upstream, "HOME": str(folder), "PATH": os.environ["PATH"]}
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 -- the tool that the example is for
            [CADDY, "run", "--config", folder / "Caddyfile"], env=environment, stdout=output, stderr=output
        )
    try:
        transport = httpx.HTTPTransport(retries=12)  # until it listens, with a growing pause
        with httpx.Client(transport=transport, trust_env=False) as client:
            client.get(f"{site}/")
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def test_caddy_publishes_what_segment_calls(tmp_path: Path) -> None:
    """Through Caddy a call is accepted, and neither operators' paths nor health checks answer."""
    port, admin, public = free_port(), free_port(), free_port()
    settings = {
        "PROSPERSTACK_API_KEY": KEY,
        "SEGMENT_KEYS": SEGMENT_KEY,
        "PROSPERSTACK_BASE_URL": "http://127.0.0.1:9/v1",
        "ADMIN_PORT": str(admin),
        "TRUSTED_PROXIES": "1",
    }
    serve = ["serve", "--port", str(port)]
    site = f"http://127.0.0.1:{public}"
    call = {"traits": {"email": "ada@example.com", "plan": "pro"}}
    with (
        started(serve, f"http://127.0.0.1:{port}/readyz", tmp_path, tmp_path / "serve.log", **settings),
        caddy(site, f"127.0.0.1:{port}", tmp_path),
        httpx.Client(base_url=site, auth=(SEGMENT_KEY, ""), trust_env=False) as client,
    ):
        answer = client.post("/identify", json=call)
        assert (answer.status_code, answer.headers["strict-transport-security"]) == (202, "max-age=31536000")
        for path in ("/v1/identify", "/webhook/", "/data-connector/x", "/flow-webhook/x"):
            assert client.post(path, json={}).headers.get("x-request-id"), path
        for path in (
            "/dashboard",
            "/api/accounts",
            "/docs",
            "/metrics",
            "/healthz",
            "/readyz",
            "/",
            "/identify/../metrics",
        ):
            assert client.get(path).status_code == 404, path
            assert client.get(path).text == "Not Found", path
    log = (tmp_path / "caddy.log").read_text()
    assert "/identify" in log
    assert "/data-connector/x" not in log


def test_caddyfile_is_formatted() -> None:
    """The Caddyfile has the form that `caddy fmt` writes."""
    command: list[str | Path] = [CADDY, "fmt", "--diff", DEPLOY / "vm/Caddyfile"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 -- Caddy itself

    assert checked.returncode == 0, checked.stdout


def test_fly_publishes_the_public_port() -> None:
    """On Fly.io one machine with a volume runs all the time, and only the public port is published."""
    config: dict[str, Any] = tomllib.loads((DEPLOY / "fly/fly.toml").read_text())
    settings = check_settings(config["env"])

    assert config["build"]["image"] == IMAGE
    assert config["http_service"]["internal_port"] == settings.port == 8700
    assert config["metrics"]["port"] == settings.admin_port
    assert (config["http_service"]["auto_stop_machines"], config["http_service"]["min_machines_running"]) == (
        "off",
        1,
    )
    assert config["mounts"]["destination"] == "/data"
    assert "services" not in config


def test_cloud_run_runs_both_roles() -> None:
    """On Cloud Run receivers are public and the reconciler is not; both always have their CPU, and no secret."""
    services = list(yaml.safe_load_all((DEPLOY / "cloud-run/service.yaml").read_text()))
    roles = {}
    for each in services:
        template = each["spec"]["template"]
        [container] = template["spec"]["containers"]
        plain = {one["name"]: one["value"] for one in container["env"] if "value" in one}
        secret = {one["name"] for one in container["env"] if "valueFrom" in one}
        settings = check_settings(plain)
        roles[settings.role] = each["metadata"]["annotations"]["run.googleapis.com/ingress"]
        assert container["image"] == IMAGE
        assert container["ports"][0]["containerPort"] == settings.port
        assert settings.admin_port is not None
        assert secret == {"DATABASE_URL", "SECRET_KEY"}
        assert template["metadata"]["annotations"]["autoscaling.knative.dev/minScale"] == "1"
        assert template["metadata"]["annotations"]["run.googleapis.com/cpu-throttling"] == "false"

    assert {str(role): where for role, where in roles.items()} == {"receive": "all", "reconcile": "internal"}
