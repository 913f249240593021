"""From a cluster to a snapshot: what is taken over, what manifests change, and what is said where nobody may look."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests import raw_objects
from tests.cli.fake_cluster import Cluster
from tests.planning import files
from yolofleet.cli.gathering import Seen, applied, gathered, snapshot_of
from yolofleet.cli.printing import consoles
from yolofleet.cli.session import Flags, Session
from yolofleet.errors import CannotAskError
from yolofleet.planning.whatif.optimum import optima
from yolofleet.render.meta import DEPLOYMENT_LABEL, MANAGED_BY, MANAGER

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MIG = "nvidia.com/mig-1g.10gb"
Object = dict[str, Any]


def node(name: str = "n1", **labels: str) -> Object:
    made = raw_objects.node(name, devices={MIG: "7"}, gpu__product=files.H100, gpu__count="1", **labels)
    made["metadata"]["labels"] |= {"topology.kubernetes.io/zone": "east", "team": "blue", "other": "x"}
    return made


def deployment(name: str = "gate", **parts: Any) -> Object:
    made = raw_objects.yolodeployment(name, demand={"streams": 4, "framesPerSecond": "15"}, **parts)
    made["metadata"] |= {"uid": f"uid-{name}", "generation": 3}
    return made


def pod(name: str, ours: str = "", *, namespace: str = "cams", phase: str = "Running") -> Object:
    labels = {DEPLOYMENT_LABEL: ours, MANAGED_BY: MANAGER} if ours else {}
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "resources": {"limits": {MIG: "1"}}}]},
        "status": {"phase": phase},
    }


def test_a_node_comes_with_devices_holders_zone_and_the_labels_that_pools_select_by() -> None:
    pool = raw_objects.migpool("blue", nodeSelector={"matchLabels": {"team": "blue"}})
    seen = Seen(
        nodes=[node(mig__config="all-1g", mig__config__state="success"), raw_objects.node("cpu", devices={})],
        pools=[pool],
        deployments=[deployment()],
        pods=[
            pod("gate-1", "gate"),
            pod("train-1"),
            pod("thief", "gate", namespace="elsewhere"),
            pod("done", "gate", phase="Succeeded"),
        ],
    )
    (one,) = snapshot_of(seen, NOW).nodes
    assert (one.name, one.product, one.pool, one.zone, one.gpu_count) == ("n1", files.H100, "blue", "east", 1)
    assert (one.resources[MIG].allocatable, one.resources[MIG].requested) == (7, 3)
    assert {(h.name, h.deployment) for h in one.holders or []} == {
        ("cams/gate-1", "cams/gate"),
        ("cams/train-1", None),
        ("elsewhere/thief", None),  # our labels in a namespace where no such deployment is
    }
    assert one.labels["team"] == "blue"
    assert "other" not in one.labels
    assert one.mig_config is not None
    assert (one.mig_config.label, one.mig_config.state) == ("all-1g", "success")
    assert "gpus" in one.unseen


def test_a_node_of_strategy_single_has_slices_and_nobody_counts_its_gpus() -> None:
    made = raw_objects.node("n1", gpu__product=f"{files.H100}-MIG-1g.10gb", gpu__count="7")
    (one,) = snapshot_of(Seen([made]), NOW).nodes
    assert (one.product, one.gpu_count) == (files.H100, None)


def test_without_a_pool_of_that_name_every_node_is_in_default() -> None:
    assert snapshot_of(Seen([node()]), NOW).nodes[0].pool == "default"
    other = raw_objects.migpool("default", nodeSelector={"matchLabels": {"team": "red"}})
    assert snapshot_of(Seen([node()], pools=[other]), NOW).nodes[0].pool == ""


def test_a_deployment_comes_with_priority_groups_and_what_the_operator_saw_of_its_load() -> None:
    one = deployment(placement={"priorityClassName": "high"})
    one["status"] = {
        "groups": [{"profile": "1g.10gb", "product": files.H100, "replicas": 2, "readyReplicas": 1}],
        "summary": {"fps": "40/60"},
    }
    seen = Seen([], deployments=[one, deployment("yard")], priorities=[{"metadata": {"name": "high"}, "value": 100}])
    gate, yard = snapshot_of(seen, NOW).deployments
    assert (gate.priority, gate.generation, gate.groups[0].replicas) == (100, 3, 2)
    assert gate.signals is not None
    assert (gate.signals.arrival_fps, gate.signals.served_fps) == (60.0, 40.0)
    assert gate.unseen == {"signals": "read from status, to two digits"}
    assert (yard.priority, yard.signals, yard.unseen) == (0, None, {"signals": "the operator has seen no load"})


def test_manifests_stand_in_for_what_they_name_and_what_runs_stays() -> None:
    running = deployment() | {"status": {"summary": {"fps": "1/2"}}}
    changed = {"metadata": {"name": "gate", "namespace": "cams"}, "spec": deployment(suspend=True)["spec"]}
    new = {"metadata": {"name": "yard"}, "spec": deployment()["spec"]}
    gate, yard = applied(Seen([], deployments=[running]), [changed, new], "cams").deployments
    assert gate["status"] == running["status"]
    assert gate["spec"]["suspend"] is True
    assert (yard["metadata"]["namespace"], yard["metadata"]["name"]) == ("cams", "yard")
    assert snapshot_of(Seen([], deployments=[gate, yard]), NOW).deployments[1].uid == "cams/yard"


def test_an_object_that_this_plugin_cannot_read_is_named() -> None:
    broken = deployment()
    broken["spec"]["model"] = {"builtin": 5}
    with pytest.raises(CannotAskError, match=r"YoloDeployment cams/gate cannot be read: .* upgrade the plugin"):
        snapshot_of(Seen([], deployments=[broken]), NOW)


def session(cluster: Cluster, folder: Path, namespace: str | None = None) -> Session:
    return Session(Flags(str(cluster.kubeconfig(folder, {"token": "t"})), None, namespace), *consoles())


FLEET = "/apis/yolofleet.dev/v1alpha1"
EVERYWHERE = {
    "/api/v1/nodes": [node()],
    "/api/v1/pods": [pod("train-1")],
    f"{FLEET}/yolodeployments": [deployment()],
    f"{FLEET}/yoloengines": [],
    f"{FLEET}/migpools": [],
    "/apis/scheduling.k8s.io/v1/priorityclasses": [],
}


async def test_whoever_may_see_all_gets_all_and_it_can_be_planned(cluster: Cluster, tmp_path: Path) -> None:
    cluster.lists(EVERYWHERE)
    found = await gathered(session(cluster, tmp_path))
    assert found.unseen == {}
    assert [(one.name, one.deployment) for one in found.nodes[0].holders or []] == [("cams/train-1", None)]
    ((pool,), lost) = optima(found)
    # Somebody else is on the one GPU, at a place that nobody saw: nothing may be cut there.
    assert (lost, pool.survey.stock, set(pool.plan.unserved)) == ((), (), {"cams/gate"})


async def test_whoever_may_see_one_namespace_gets_that_and_is_told_what_is_missing(
    cluster: Cluster, tmp_path: Path
) -> None:
    seen = {
        "/api/v1/nodes": [node()],
        "/api/v1/namespaces/cams/pods": [pod("gate-1", "gate")],
        f"{FLEET}/namespaces/cams/yolodeployments": [deployment()],
        f"{FLEET}/namespaces/cams/yoloengines": [],
    }
    cluster.lists(seen)
    found = await gathered(session(cluster, tmp_path))
    assert [one.name for one in found.deployments] == ["gate"]
    assert found.nodes[0].holders is not None
    assert found.nodes[0].holders[0].deployment == "cams/gate"
    assert found.unseen == {
        "namespaces": "not allowed to look at all namespaces: only cams is planned; ask for `view` on all",
        "pods": "not allowed to see pods: slices of other people's pods count as free",
        "migpools": "not allowed to see migpools: all nodes count as one pool, `default`",
        "priorityclasses": "not allowed to see priorityclasses: all deployments count as equally important",
    }


async def test_a_named_namespace_is_looked_at_alone(cluster: Cluster, tmp_path: Path) -> None:
    yards = {f"{FLEET}/namespaces/yards/{kind}": [] for kind in ("yolodeployments", "yoloengines")}
    cluster.lists(EVERYWHERE | yards)
    manifest = {"metadata": {"name": "new"}, "spec": deployment()["spec"]}
    found = await gathered(session(cluster, tmp_path, "yards"), [manifest])
    assert [(one.namespace, one.name) for one in found.deployments] == [("yards", "new")]
    assert f"{FLEET}/yolodeployments" not in cluster.asked


async def test_nobody_who_may_not_see_nodes_is_told_what_to_ask_for(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(CannotAskError, match=r"not allowed: .*nodes.* ask for Kubernetes' `view` role"):
        await gathered(session(cluster, tmp_path))
