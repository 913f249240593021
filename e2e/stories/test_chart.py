"""The chart's whole life on a real cluster: what serves notices none of it, and rights end where they are said to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.clusters.protocol import Cluster
from e2e.fleet import CHART, OPERATOR, SYSTEM, Fleet, Object, install
from e2e.waiting import wait_for

SMALL = {"backend": "ONNXRuntime", "imageSize": {"height": 320, "width": 320}}
DEFINITION = "yolodeployments.yolofleet.dev"
ACCOUNT = f"system:serviceaccount:{SYSTEM}:yolofleet"


@pytest.fixture
def restored(installed: Cluster) -> Iterator[Cluster]:
    """The cluster, with the chart as the other stories know it put back afterwards."""
    yield installed
    install(installed)


def changed_chart(folder: Path) -> Path:
    """Return a copy of the chart whose definition of YoloDeployment has another short name."""
    copy = folder / "yolofleet"
    shutil.copytree(CHART, copy)
    template = copy / f"templates/crds/{DEFINITION}.yaml"
    template.write_text(template.read_text().replace("    - ydep\n", "    - ydep\n    - gatecam\n"))
    return copy


def short_names(cluster: Cluster) -> list[str]:
    names = cluster.kubectl("get", "crd", DEFINITION, "-o", "jsonpath={.spec.names.shortNames}")
    found: list[str] = json.loads(names)
    return found


def standing(fleet: Fleet) -> dict[str, list[str]]:
    """Return what must survive: the identities of everything that builds and serves."""
    kinds = ("ydep", "yeng", "jobs", "deployments", "services", "persistentvolumeclaims", "pods")
    return {kind: sorted(item["metadata"]["uid"] for item in fleet.items(kind)) for kind in kinds}


def operators(cluster: Cluster) -> list[Object]:
    """Return the operator's pods."""
    listed = cluster.kubectl("-n", SYSTEM, "get", "pods", "-l", OPERATOR, "-o", "json")
    pods: list[Object] = json.loads(listed)["items"]
    return pods


def may(cluster: Cluster, *asked: str) -> bool:
    """Ask the API server whether the operator may do something."""
    review = cluster.kubectl("auth", "can-i", "--list", "--as", ACCOUNT, *asked)
    return "yolodeployments" in review


def test_upgrade_uninstall_and_install_again_leave_what_serves_alone(
    fleet: Fleet, restored: Cluster, tmp_path: Path
) -> None:
    """Upgrade changes definitions and settings, uninstall keeps definitions and objects, install takes them over."""
    restored.kubectl("label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=restricted", "--overwrite")
    fleet.deploy("gate", engine=SMALL)
    fleet.wait_serving("gate")
    before, (first,) = standing(fleet), operators(restored)

    restored.helm(
        *("upgrade", "yolofleet", str(changed_chart(tmp_path)), "--namespace", SYSTEM, "--reuse-values"),
        *("--set", "operator.logLevel=DEBUG", "--wait", "--timeout", "3m"),
    )
    (second,) = operators(restored)
    assert short_names(restored) == ["ydep", "gatecam"]
    assert second["metadata"]["uid"] != first["metadata"]["uid"]

    restored.helm("uninstall", "yolofleet", "--namespace", SYSTEM)
    wait_for("the operator to go", lambda: not operators(restored), timeout_s=60)
    assert standing(fleet) == before

    install(restored)
    assert short_names(restored) == ["ydep"]
    fleet.wait_serving("gate")
    assert standing(fleet) == before


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
