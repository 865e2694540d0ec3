"""The dashboard and the alert rules speak of metrics that there are."""

import json
import re
from pathlib import Path

import pytest
import yaml

from prosperstack_destination.watching.metrics import Metrics

MONITORING = Path(__file__).parents[1] / "docs" / "monitoring"


@pytest.mark.parametrize("name", ["grafana.json", "alerts.yaml"])
def test_every_metric_is_there(name: str) -> None:
    """A metric that a dashboard or a rule names is one that the service has, and the file can be read."""
    text = (MONITORING / name).read_text()
    parsed = json.loads(text) if name.endswith("json") else yaml.safe_load(text)
    # Every metric stands in its HELP line, also where it has no samples; a histogram is asked for by its buckets.
    known = set(re.findall(r"# HELP (\S+)", Metrics().text().decode()))
    named = set(re.findall(r"prosperstack_destination_[a-z_]+", text))

    assert parsed
    assert named
    assert {each.removesuffix("_bucket") for each in named} <= known
