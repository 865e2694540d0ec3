"""Tests of the Helm chart, rendered by Helm: valid manifests, least privilege, and only public paths published."""

from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml
from tools.chart import CHART, MANIFESTS, Manifest, plain, render

from prosperstack_destination import __version__
from prosperstack_destination.middleware import ADMIN_PATHS, HEALTH_PATHS
from prosperstack_destination.settings import Settings

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
#: The oldest and the newest Kubernetes that the manifests are checked against.
KUBERNETES = ("1.27", "1.37")
#: Kinds of the Prometheus operator, which Kubernetes' schemas do not have.
CUSTOM = {"ServiceMonitor", "PrometheusRule"}


def read(path: Path) -> dict[str, Any]:
    """Return the values of a file."""
    values: dict[str, Any] = yaml.safe_load(path.read_text())
    return values


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """Return the manifests of a kind by name, without that of the release."""
    return {
        each["metadata"]["name"].removeprefix("prosperstack-destination").lstrip("-"): each
        for each in manifests
        if each["kind"] == kind
    }


def pods(manifests: list[Manifest]) -> list[tuple[str, dict[str, Any]]]:
    """Return the pods' specifications of deployments and jobs, with the names of their owners."""
    owners = [each for each in manifests if each["kind"] in {"Deployment", "Job"}]
    return [(each["metadata"]["name"], each["spec"]["template"]["spec"]) for each in owners]


VALUES = [pytest.param({}, id="defaults"), *(pytest.param(read(path), id=path.stem) for path in EXAMPLES)]


def test_there_are_five_examples() -> None:
    """The chart shows five ways to run the service, next to its defaults."""
    assert [path.stem for path in EXAMPLES] == ["cloud-sql", "production", "restricted", "single", "small"]


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("version", KUBERNETES)
def test_manifests_fit_the_schemas_of_kubernetes(values: dict[str, Any], version: str) -> None:
    """Each manifest is what the API server of an old and of a new Kubernetes takes, with no unknown field."""
    checked = set()
    for each in render(values):
        if each["kind"] not in CUSTOM:
            kubernetes_validate.validate(each, version, strict=True)
            checked.add(each["kind"])

    assert {"Deployment", "Service", "ServiceAccount"} <= checked


def test_helm_finds_no_fault() -> None:
    """`helm lint` has no errors and no warnings."""
    information = 1
    assert [each for each in helm_python.lint(CHART)["messages"] if each["severity"] > information] == []


@pytest.mark.parametrize("values", VALUES)
def test_pods_have_no_rights(values: dict[str, Any]) -> None:
    """Each container runs as the image's user, on a read-only root, without capabilities and without a token."""
    for name, pod in pods(render(values)):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"]


@pytest.mark.parametrize("values", VALUES)
def test_settings_are_valid(values: dict[str, Any]) -> None:
    """Each variable is a setting with a valid value, and none is a secret."""
    for name, pod in pods(render(values)):
        environment = {each["name"].lower(): each["value"] for each in pod["containers"][0]["env"]}
        assert environment.keys() <= Settings.model_fields.keys(), name
        settings = Settings(_env_file=None, **environment)
        assert (settings.port, settings.admin_port) == (8700, 8702)
        secrets = [key for key, value in settings if type(value).__name__ == "SecretStr" and key in environment]
        assert secrets == []
        assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "prosperstack-destination"}}]


@pytest.mark.parametrize("values", VALUES)
def test_probes_ask_what_the_service_answers(values: dict[str, Any]) -> None:
    """Restarts follow /healthz, traffic follows /readyz, and a stop leaves load balancers the time to notice."""
    for deployment in of_kind(render(values), "Deployment").values():
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
        assert container["startupProbe"]["httpGet"]["path"].strip("/") in HEALTH_PATHS
        assert {"name": "http", "containerPort": 8700} in container["ports"]
        grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        assert grace >= 10 + int(container["lifecycle"]["preStop"]["exec"]["command"][1])


def test_ingress_publishes_what_segment_and_prosperstack_call() -> None:
    """The ingress leads to the port without the operators' paths, and names each documented public path."""
    page = (ROOT / "docs/how-to/operate.md").read_text()
    public = {
        path.strip("`/ ")
        for line in page.splitlines()
        if line.endswith("| yes |")
        for path in line.split("|")[1].split(",")
    }
    manifests = render(read(CHART / "examples/production.yaml"))
    ingress = of_kind(manifests, "Ingress")[""]["spec"]
    paths = {each["path"].strip("/"): each["backend"]["service"] for each in ingress["rules"][0]["http"]["paths"]}
    service = of_kind(manifests, "Service")[""]["spec"]

    assert paths.keys() == public
    assert not paths.keys() & (ADMIN_PATHS | HEALTH_PATHS)
    assert all(each == {"name": "prosperstack-destination", "port": {"name": "http"}} for each in paths.values())
    assert [each["targetPort"] for each in service["ports"]] == ["http"]
    assert ingress["tls"][0]["hosts"] == [ingress["rules"][0]["host"]]


@pytest.mark.parametrize("values", VALUES)
def test_nothing_is_published_by_itself(values: dict[str, Any]) -> None:
    """No service has an address outside of the cluster, and there is an ingress only where one is asked for."""
    manifests = render(values)

    assert {each["spec"]["type"] for each in of_kind(manifests, "Service").values() if "type" in each["spec"]} == {
        "ClusterIP"
    }
    assert bool(of_kind(manifests, "Ingress")) == values.get("ingress", {}).get("enabled", False)


def test_replicas_are_receivers_and_reconcilers() -> None:
    """By default there are two of each, which a drained node leaves one of; each selects its own pods."""
    manifests = render({})
    deployments = of_kind(manifests, "Deployment")
    budgets = of_kind(manifests, "PodDisruptionBudget")

    assert deployments.keys() == budgets.keys() == {"receiver", "reconciler"}
    for name, deployment in deployments.items():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert deployment["spec"]["replicas"] == 2
        assert selector.items() <= labels.items()
        assert selector["app.kubernetes.io/component"] == name
        assert budgets[name]["spec"]["selector"]["matchLabels"] == selector
        assert budgets[name]["spec"]["maxUnavailable"] == 1


def test_autoscaler_owns_the_number_of_receivers() -> None:
    """Where receivers scale, the deployment names no number, which an upgrade would set back."""
    manifests = render(read(CHART / "examples/production.yaml"))
    [scaler] = of_kind(manifests, "HorizontalPodAutoscaler").values()

    assert "replicas" not in of_kind(manifests, "Deployment")["receiver"]["spec"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == "prosperstack-destination-receiver"
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (3, 12)


def test_schema_is_upgraded_before_pods_start() -> None:
    """The migration runs as a hook before an installation and an upgrade."""
    [job] = of_kind(render({}), "Job").values()

    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["db", "upgrade"]


def test_one_process_uses_one_file() -> None:
    """On SQLite one process at a time does everything, on a volume that outlives the release."""
    manifests = render(read(CHART / "examples/single.yaml"))
    [deployment] = of_kind(manifests, "Deployment").values()
    [claim] = of_kind(manifests, "PersistentVolumeClaim").values()
    pod = deployment["spec"]["template"]["spec"]

    assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]) == (1, {"type": "Recreate"})
    assert {"name": "ROLE", "value": "all"} in pod["containers"][0]["env"]
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert not of_kind(manifests, "Job")


def test_network_admits_callers_and_operators() -> None:
    """Calls come from the named sources to receivers alone; the admin port is closed but for named operators."""
    policies = of_kind(render({}), "NetworkPolicy")
    assert not policies[""]["spec"]["ingress"]
    assert policies["receiver"]["spec"]["ingress"] == [{"ports": [{"protocol": "TCP", "port": "http"}]}]

    policies = of_kind(render(read(CHART / "examples/restricted.yaml")), "NetworkPolicy")
    [operators] = policies[""]["spec"]["ingress"]
    [callers] = policies["receiver"]["spec"]["ingress"]
    assert operators == {
        "from": [{"ipBlock": {"cidr": "10.0.9.0/24"}}],
        "ports": [{"protocol": "TCP", "port": "admin"}],
    }
    assert callers["from"] == [{"ipBlock": {"cidr": "10.0.0.0/24"}}]
    assert policies[""]["spec"]["egress"][-1]["to"] == [{"ipBlock": {"cidr": "10.0.5.10/32"}}]


def test_prometheus_scrapes_every_process() -> None:
    """ServiceMonitor finds the service of both kinds, with the token; the alert rules are the documented ones."""
    manifests = render(read(CHART / "examples/production.yaml"))
    [monitor] = of_kind(manifests, "ServiceMonitor").values()
    service = of_kind(manifests, "Service")["metrics"]
    [rule] = of_kind(manifests, "PrometheusRule").values()

    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert "app.kubernetes.io/component" not in service["spec"]["selector"]
    assert monitor["spec"]["endpoints"][0]["authorization"]["credentials"]["key"] == "METRICS_TOKEN"
    assert rule["spec"] == yaml.safe_load((ROOT / "docs/monitoring/alerts.yaml").read_text())
    assert not {each["kind"] for each in render({})} & CUSTOM


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"recever": {}}, "recever"),
        ({"existingSecret": ""}, "existingSecret"),
        ({"settings": {"SECRET_KEY": "x"}}, "SECRET_KEY"),
        ({"receiver": {"replica": 3}}, "receiver"),
        ({"image": {"digest": "sha256:1"}}, "digest"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], named: str) -> None:
    """A misspelt value, a missing secret and a secret among the settings end the installation, by their name."""
    with pytest.raises(helm_python.HelmError, match=named):
        render(values)


def test_ingress_needs_a_host() -> None:
    """An ingress without a host is refused: it would answer for every name."""
    with pytest.raises(helm_python.HelmError, match=r"ingress\.host"):
        render({"ingress": {"enabled": True}})


def test_version_is_that_of_the_package() -> None:
    """The chart installs the image of the version it comes with."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    image = pods(render({}))[0][1]["containers"][0]["image"]

    assert chart["appVersion"] == __version__
    assert image.endswith(f":{__version__}")


def test_plain_manifests_are_current() -> None:
    """deploy/kubernetes has what the chart makes of its defaults: run `make manifests`."""
    assert MANIFESTS.read_text() == plain(render({}))


def test_plain_manifests_can_be_applied() -> None:
    """The plain manifests are valid, and have no trace of Helm."""
    manifests = list(yaml.safe_load_all(MANIFESTS.read_text()))
    for each in manifests:
        kubernetes_validate.validate(each, KUBERNETES[-1], strict=True)

    assert "helm" not in MANIFESTS.read_text().partition("---")[2].lower()
    assert len(manifests) == len(render({}))
