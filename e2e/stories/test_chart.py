"""The chart's whole life on a real cluster: what serves notices none of it, and rights end where they are said to."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.clusters.kubectl import CommandFailedError
from e2e.clusters.protocol import Cluster
from e2e.fleet import CHART, OPERATOR, ROOT, SYSTEM, TINY, Fleet, Object, install
from e2e.waiting import wait_for

RATE = 20.0
NEXT_VERSION = "99.0.0"
NEW_FIELD = """\
              siteNote:
                default: ""
                description: Where the cameras are, in words.
                maxLength: 64
                type: string
"""
SMALL = {"backend": "ONNXRuntime", "imageSize": {"height": 320, "width": 320}}
DEFINITION = "yolodeployments.yolofleet.dev"
ACCOUNT = f"system:serviceaccount:{SYSTEM}:yolofleet"


@pytest.fixture
def restored(installed: Cluster) -> Iterator[Cluster]:
    """The cluster, with the chart as the other stories know it put back afterwards."""
    yield installed
    install(installed)


def next_definition(file: Path) -> str:
    """Return a definition of YoloDeployments as the next version would have it: with one more field."""
    before = "              suspend:\n"
    assert file.read_text().count(before) == 1
    return file.read_text().replace(before, NEW_FIELD + before)


def next_version(folder: Path) -> Path:
    """Return a copy of the chart as the next version would be."""
    copy = folder / "yolofleet"
    shutil.copytree(CHART, copy)
    meta = copy / "Chart.yaml"
    meta.write_text(re.sub(r"^version: .*$", f"version: {NEXT_VERSION}", meta.read_text(), flags=re.MULTILINE))
    definition = copy / f"templates/crds/{DEFINITION}.yaml"
    definition.write_text(next_definition(definition))
    return copy


def release(cluster: Cluster) -> Object:
    """Return the newest revision of the release."""
    history: list[Object] = json.loads(cluster.helm("history", "yolofleet", "--namespace", SYSTEM, "-o", "json"))
    return history[-1]


def note(fleet: Fleet, **spec: Object) -> None:
    """Set the new field, and whatever else, as its author would: a field that the API server lacks is refused."""
    fleet.deploy("gate", engine=TINY, siteNote="north gate", **spec)


def standing(fleet: Fleet) -> dict[str, list[str]]:
    """Return what must survive: the identities of everything that builds and serves."""
    kinds = ("ydep", "yeng", "jobs", "deployments", "services", "persistentvolumeclaims")
    found = {kind: sorted(item["metadata"]["uid"] for item in fleet.items(kind)) for kind in kinds}
    pods = fleet.items("pods", "app.kubernetes.io/name=triton")
    restarts = [f"{pod['metadata']['uid']} {pod['status']['containerStatuses'][0]['restartCount']}" for pod in pods]
    return found | {"pods and their restarts": sorted(restarts)}


def upgrade(cluster: Cluster, chart: Path) -> None:
    """Upgrade to a chart, with another setting of the operator; its pod is a new one afterwards."""
    (first,) = operators(cluster)
    cluster.helm(
        *("upgrade", "yolofleet", str(chart), "--namespace", SYSTEM, "--reuse-values"),
        *("--set", "operator.logLevel=DEBUG", "--wait", "--timeout", "3m"),
    )
    (second,) = operators(cluster)
    assert release(cluster)["chart"] == f"yolofleet-{NEXT_VERSION}"
    assert second["metadata"]["uid"] != first["metadata"]["uid"]


def operators(cluster: Cluster) -> list[Object]:
    """Return the operator's pods."""
    listed = cluster.kubectl("-n", SYSTEM, "get", "pods", "-l", OPERATOR, "-o", "json")
    pods: list[Object] = json.loads(listed)["items"]
    return pods


def may(cluster: Cluster, *asked: str) -> bool:
    """Ask the API server whether the operator may do something."""
    review = cluster.kubectl("auth", "can-i", "--list", "--as", ACCOUNT, *asked)
    return "yolodeployments" in review


def test_upgrade_rollback_uninstall_and_install_lose_no_frame(fleet: Fleet, restored: Cluster, tmp_path: Path) -> None:
    """A field comes and goes, the chart goes and comes, another builder makes the engine anew: every frame arrives."""
    restored.kubectl("label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=restricted", "--overwrite")
    fleet.deploy("gate", engine=TINY, rollout={"canarySeconds": 10})
    fleet.wait_serving("gate")
    before, old = standing(fleet), release(restored)
    cameras = fleet.cameras("cameras", "gate", rate=RATE)
    cameras.started()
    with pytest.raises(CommandFailedError, match="siteNote"):
        note(fleet)

    upgrade(restored, next_version(tmp_path))
    note(fleet)
    assert fleet.get("ydep", "gate")["spec"]["siteNote"] == "north gate"
    fleet.wait_serving("gate")

    restored.helm("rollback", "yolofleet", str(old["revision"]), "--namespace", SYSTEM, "--wait", "--timeout", "3m")
    assert release(restored)["chart"] == old["chart"]
    wait_for("the field to go", lambda: "siteNote" not in fleet.get("ydep", "gate")["spec"], timeout_s=30)
    with pytest.raises(CommandFailedError, match="siteNote"):
        note(fleet)
    by_hand = next_definition(ROOT / f"crds/{DEFINITION}.yaml")
    restored.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=by_hand)
    note(fleet, objective={"p99LatencyMilliseconds": 90})  # the old operator meets a field that it does not know
    fleet.wait_serving("gate")
    assert fleet.get("ydep", "gate")["spec"]["siteNote"] == "north gate"

    restored.helm("uninstall", "yolofleet", "--namespace", SYSTEM)
    wait_for("the operator to go", lambda: not operators(restored), timeout_s=60)
    assert standing(fleet) == before
    install(restored)
    fleet.wait_serving("gate")
    assert standing(fleet) == before

    engine = fleet.engine_of("gate")
    install(restored, "builds.version=next")  # what a release with another builder does to those who serve
    wait_for("an engine of the next builder", lambda: fleet.engine_of("gate") != engine, timeout_s=180)
    fleet.wait_serving("gate")

    told = cameras.end()
    print("cameras:", told)
    assert told["answered"] == told["sent"] > RATE * 20
    assert told["retried"] == 0, told["first_failures"]


def test_only_watched_namespaces_are_served_and_readable(fleet: Fleet, restored: Cluster) -> None:
    """With watchNamespaces the operator serves those, sees no other, and never runs into a wall of its own rights."""
    install(restored, f"watchNamespaces={{{fleet.namespace}}}")
    elsewhere = Fleet(restored, "default")
    elsewhere.deploy("elsewhere", engine=SMALL)
    try:
        fleet.deploy("gate", engine=SMALL)
        fleet.wait_serving("gate")
        assert "status" not in elsewhere.get("ydep", "elsewhere")
        assert may(restored, "-n", fleet.namespace)
        assert not may(restored, "-n", "default")
        fleet.kubectl("delete", "ydep", "gate")
        wait_for("everything to go", lambda: not fleet.items("deployments,services,pdb,yeng,jobs"), timeout_s=60)
        told = restored.kubectl("-n", SYSTEM, "logs", "-l", OPERATOR, "--tail=-1")
        assert told
        assert "orbidden" not in told
    finally:
        elsewhere.kubectl("delete", "ydep", "elsewhere", "--ignore-not-found")
