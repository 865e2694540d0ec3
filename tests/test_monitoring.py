"""The dashboard and the alert rules speak of metrics that there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from prosperstack_destination.observability.metrics import Metrics

MONITORING = Path(__file__).parents[1] / "docs" / "monitoring"


@pytest.mark.parametrize("name", ["grafana.json", "alerts.yaml"])
def test_every_metric_is_there(name: str) -> None:
    """A metric that a dashboard or a rule names is one that the service has, and the file can be read."""
    text = (MONITORING / name).read_text()
    parsed = json.loads(text) if name.endswith("json") else yaml.safe_load(text)
    # Every metric stands in its HELP line, also where it has no samples; a histogram is asked for by its buckets.
    known = set(re.findall(r"# HELP (\S+)", Metrics().render().decode()))
    named = set(re.findall(r"prosperstack_destination_[a-z_]+", text))

    assert parsed
    assert named
    assert {each.removesuffix("_bucket") for each in named} <= known


def test_every_metric_is_on_the_dashboard() -> None:
    """The Grafana dashboard shows each metric of the service, and asks for labels that its metrics have."""
    metrics = Metrics()
    labels = {each._name: set(each._labelnames) for each in vars(metrics).values() if hasattr(each, "_labelnames")}
    expressions = [
        target["expr"]
        for panel in json.loads((MONITORING / "grafana.json").read_text())["panels"]
        for target in panel.get("targets", [])
    ]
    shown = set()
    for expression in expressions:
        names = re.findall(r"prosperstack_destination_[a-z_]+", expression)
        families = {re.sub(r"_(total|bucket)$", "", name) for name in names}
        asked = set(re.findall(r"\b(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
        asked |= {each.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for each in by.split(",")}
        assert asked - {"instance", "job", "le"} <= set().union(*(labels[family] for family in families)), (
            expression
        )
        shown |= families

    assert shown == {each.name for each in metrics.collect()}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_alerts_fire() -> None:
    """The alert rules fire where deliveries, erasures or requests fail, and only there."""
    tests = MONITORING / "alerts_test.yaml"
    ran = subprocess.run(["promtool", "test", "rules", tests], capture_output=True, text=True, check=False)  # noqa: S603, S607 -- a tool of ours

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_is_tested() -> None:
    """Each alert about deliveries has a test in which it fires, and one in which it does not."""
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
    tests = yaml.safe_load((MONITORING / "alerts_test.yaml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    fires = {each["alertname"] for each in cases if each.get("exp_alerts")}
    is_quiet = {each["alertname"] for each in cases if not each.get("exp_alerts")}
    expected = {each["alert"] for each in rules if each["alert"].startswith("ProsperStack")}

    assert fires == is_quiet == expected
