"""Render the Helm chart, with Helm itself as a library.

`python -m tools.chart` writes the plain manifests of `deploy/kubernetes` from the default values (`make
manifests`).
"""

from pathlib import Path
from typing import Any, Final

import helm_python
import yaml

ROOT: Final = Path(__file__).parents[1]
CHART: Final = ROOT / "deploy" / "helm"
MANIFESTS: Final = ROOT / "deploy" / "kubernetes" / "prosperstack-destination.yaml"
#: Name of the release in the plain manifests.
RELEASE: Final = "prosperstack-destination"
_HEADER: Final = """\
# The chart's default values, rendered by `make manifests`: for clusters without Helm. Create the secret first
# (README.md in this folder). The labels of Helm and its hooks are left out; the job of the migration runs at the
# same time as the pods, which wait for it.
"""

Manifest = dict[str, Any]


def render(values: dict[str, Any]) -> list[Manifest]:
    """Return the manifests that the chart makes of some values, in the order of their files.

    Raises `helm_python.HelmError` where the values are not complete, or do not fit the chart's schema.
    """
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        files: dict[str, str] = chart.render(values, name=RELEASE, namespace="default")
    texts = [text for name, text in sorted(files.items()) if name.endswith(".yaml")]
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


def plain(manifests: list[Manifest]) -> str:
    """Return manifests as one file that `kubectl apply` takes, without the traces of Helm."""
    for each in manifests:
        _remove_helm(each["metadata"])
        template = each.get("spec", {}).get("template")
        if template:
            _remove_helm(template["metadata"])
    return _HEADER + "---\n" + yaml.safe_dump_all(manifests, sort_keys=False, width=120)


def _remove_helm(metadata: dict[str, Any]) -> None:
    for part in ("labels", "annotations"):
        kept = {
            name: value
            for name, value in metadata.get(part, {}).items()
            if not name.startswith("helm.sh/") and value != "Helm"
        }
        metadata.pop(part, None)
        if kept:
            metadata[part] = kept


if __name__ == "__main__":
    MANIFESTS.write_text(plain(render({})))
