"""Everything that the chart and the operator render is known, field by field, to the API server that gets it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.clusters.bare.binaries import build_binaries
from tests.charts.kubernetes_schemas import LOCATION, schemas
from tests.charts.rendering import ROOT, VALUE_SETS, Helm, Object
from tests.render.cases import cases

SPECS = {
    "YoloDeployment": {"model": {"builtin": "yolo26n"}},
    "YoloEngine": yaml.safe_load((ROOT / "tests/render/golden/engine.yaml").read_text())["spec"],
    "MigPool": {},
}


@pytest.fixture(scope="session")
def kubeconform(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """The real kubeconform over some objects; returns what it has against them, and vouches that it saw them all."""
    program, folder = build_binaries().path("kubeconform"), schemas()

    def check(*objects: Object) -> list[str]:
        path = tmp_path_factory.mktemp("manifests") / "all.json"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))
        switches = ("-strict", "-verbose", "-output", "json", "-schema-location", f"{folder}/{LOCATION}")
        done = subprocess.run([program, *switches, str(path)], check=False, capture_output=True, text=True)
        found = json.loads(done.stdout)["resources"]
        assert len(found) == len(objects), done.stdout + done.stderr
        return [f"{one['kind']}/{one['name']}: {one['msg']}" for one in found if one["status"] != "statusValid"]

    return check


def rendered_by_the_operator() -> list[Object]:
    """Return every golden document as the API server gets it: a status on its object, Events one by one."""
    made: list[Object] = []
    for name, document in cases().items():
        if name.startswith("status-"):
            kind = {"engine": "YoloEngine", "pool": "MigPool"}.get(name.split("-")[1], "YoloDeployment")
            head = {"apiVersion": "yolofleet.dev/v1alpha1", "kind": kind, "metadata": {"name": name}}
            made.append(head | {"spec": SPECS[kind], "status": document})
        else:
            made += document.get("events", [document])
    return made


@pytest.mark.parametrize("name", VALUE_SETS)
def test_the_api_server_knows_all_that_the_chart_renders(helm: Helm, kubeconform: Any, name: str) -> None:
    assert kubeconform(*helm.objects(*VALUE_SETS[name], crds=True)) == []


@pytest.mark.parametrize("api", ["monitoring.coreos.com/v1", "apps/v1"])
def test_rules_and_dashboards_are_known_with_and_without_the_prometheus_operator(
    helm: Helm, kubeconform: Any, api: str
) -> None:
    switches = ("--set", "monitoring.rules.enabled=true", "--set", "monitoring.dashboards.enabled=true")
    found = helm.objects("--api-versions", api, *switches)
    assert ("PrometheusRule" in {one["kind"] for one in found}) == api.startswith("monitoring")
    assert kubeconform(*found) == []


def test_the_api_server_knows_all_that_the_operator_renders(kubeconform: Any) -> None:
    assert kubeconform(*rendered_by_the_operator()) == []


def test_the_api_server_knows_all_samples(kubeconform: Any) -> None:
    texts = [path.read_text() for path in sorted((ROOT / "crds/samples").glob("*.yaml"))]
    assert kubeconform(*(found for text in texts for found in yaml.safe_load_all(text) if found)) == []


BREAKS: dict[str, tuple[str, Callable[[Object], Any]]] = {
    "a misspelt field": ("Deployment", lambda found: found["spec"].update(replica=1)),
    "a misspelt field far inside": (
        "Deployment",
        lambda found: found["spec"]["template"]["spec"]["containers"][0]["securityContext"].update(privilege=False),
    ),
    "a wrong type": ("Service", lambda found: found["spec"]["ports"][0].update(port="8001")),
    "a missing field": ("Deployment", lambda found: found["spec"].pop("selector")),
    "a misspelt label": ("PodDisruptionBudget", lambda found: found["metadata"].update(label={})),
    "a field of ours that is none": ("YoloEngine", lambda found: found["spec"].update(sources={})),
    "an unknown word": ("YoloDeployment", lambda found: found["status"]["conditions"][0].update(status="Maybe")),
    "an unknown kind": ("Job", lambda found: found.update(kind="Jobb")),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_what_no_api_server_knows_is_found(kubeconform: Any, broken: str) -> None:
    kind, spoil = BREAKS[broken]
    document = next(found for found in rendered_by_the_operator() if found["kind"] == kind)
    copy = json.loads(json.dumps(document))
    assert kubeconform(copy) == []
    spoil(copy)
    assert len(kubeconform(copy)) == 1


def test_what_no_prometheus_operator_knows_is_found(helm: Helm, kubeconform: Any) -> None:
    (monitor,) = [one for one in helm.objects(*VALUE_SETS["monitors"]) if one["kind"] == "PodMonitor"]
    monitor["spec"]["podMetricsEndpoints"][0]["scrapeInterval"] = "5s"
    assert len(kubeconform(monitor)) == 1


def test_the_chart_that_is_packaged_has_no_test_suites(helm: Helm, tmp_path: Path) -> None:
    done = helm.run("package", str(ROOT / "charts/yolofleet"), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (packed,) = tmp_path.glob("*.tgz")
    names = subprocess.run(["tar", "-tf", str(packed)], check=True, capture_output=True, text=True).stdout
    assert "yolofleet/templates/deployment.yaml" in names
    assert "/tests/" not in names
