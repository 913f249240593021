"""Whatever dies, the end state is as undisturbed: nothing built twice, nothing orphaned, nothing half-made seen."""

from __future__ import annotations

import time
from typing import Any

import pytest

from e2e.fleet import ROOT, SYSTEM, TINY, Fleet, Object, kill_operator, operator_down, operator_up
from e2e.waiting import wait_for

UNDISTURBED = {
    "Ready": ("True", "Serving"),
    "EngineReady": ("True", "EngineReady"),
    "Placed": ("True", "Placed"),
    "Progressing": ("False", "Stable"),
    "ScalingActive": ("True", "AtMinReplicas"),
}


def stage(fleet: Fleet) -> str:
    """Return the stage of the one engine, '' before there is one."""
    engines = fleet.items("yeng")
    return str(engines[0].get("status", {}).get("stage", "")) if engines else ""


def end_state(fleet: Fleet) -> dict[str, Any]:
    """Return what must be the same in the end, whatever happened on the way."""
    children = ["deployments", "services", "poddisruptionbudgets", "yoloengines", "persistentvolumeclaims"]
    names = {kind: sorted(o["metadata"]["name"] for o in fleet.items(kind)) for kind in children}
    status = fleet.get("ydep", "gate")["status"]
    # Whether two busy cores keep the objective is not what a fault decides.
    told = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"] if c["type"] != "ObjectiveMet"}
    return {"names": names, "conditions": told, "replicas": status["replicas"], "groups": status["groups"]}


def assert_undisturbed(fleet: Fleet, *, attempts: int = 1) -> None:
    """Check the end state, and that the store holds one whole engine and no leftovers."""
    state = end_state(fleet)
    assert state["conditions"] == UNDISTURBED
    assert state["names"]["deployments"] == ["gate-1g-10gb"]
    assert state["names"]["services"] == state["names"]["poddisruptionbudgets"] == ["gate"]
    (engine,) = fleet.items("yeng")
    assert engine["status"]["attempts"] == attempts
    assert [job["metadata"]["name"] for job in fleet.items("jobs")] == [engine["metadata"]["name"]]
    store = fleet.client("client", ROOT / "e2e/clients/look_at_store.py", []).finished()[-1]
    assert store == {"keys": {engine["spec"]["key"]: True}, "staged": []}


def test_the_operator_is_killed_at_every_step(fleet: Fleet) -> None:
    """Killed before, during and after the build: one build, one engine, the same end."""
    fleet.deploy("gate", engine=TINY)
    for moment in range(4):
        time.sleep(1.5 * moment)
        kill_operator(fleet.cluster)
    fleet.wait_serving("gate")
    assert_undisturbed(fleet)
    before = [(p["metadata"]["uid"]) for p in fleet.items("pods", "app.kubernetes.io/name=triton")]
    version = fleet.get("ydep", "gate")["metadata"]["resourceVersion"]
    kill_operator(fleet.cluster)
    operator_up(fleet.cluster)
    time.sleep(3)
    assert [(p["metadata"]["uid"]) for p in fleet.items("pods", "app.kubernetes.io/name=triton")] == before
    assert fleet.get("ydep", "gate")["metadata"]["resourceVersion"] == version, "a restart writes nothing"


def test_a_build_pod_killed_in_mid_write_leaves_nothing_half_made(fleet: Fleet) -> None:
    """The first pod dies while it works; the next try completes, and the store holds whole engines only."""
    fleet.deploy("gate", engine={"backend": "ONNXRuntime"})  # the small one may be built before the pod is hit

    def running() -> str | None:
        pods = fleet.items("pods", "app.kubernetes.io/name=engine-build")  # Pending while its init containers work
        return pods[0]["metadata"]["name"] if pods and stage(fleet) not in ("", "Fetch") else None

    pod = wait_for("the build to be under way", running, timeout_s=60, interval_s=0.1)
    fleet.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
    told = fleet.wait_condition("gate", "EngineReady", "False", reason="BuildFailed")["message"]
    assert "attempt 1" in told
    fleet.wait_serving("gate")
    assert_undisturbed(fleet, attempts=2)


@pytest.mark.slow  # in every CI one is killed in mid-write
@pytest.mark.parametrize(
    ("container", "at", "engine"),
    [
        ("fetch", "", TINY),
        ("convert", "Export", TINY),
        ("convert", "Compare", {"backend": "ONNXRuntime"}),  # of the small one it is over before anybody sees it
        ("publish", "", TINY),
    ],
    ids=["fetch", "export", "compare", "publish"],
)
def test_a_build_whose_container_is_killed_completes_at_the_next_try(
    fleet: Fleet, container: str, at: str, engine: Object
) -> None:
    """The condition names the container that ended; nothing half-made is left, and the second attempt serves."""
    fleet.deploy("gate", engine=engine)

    def killed() -> bool:
        return (not at or stage(fleet) == at) and fleet.cluster.faults.crash(container)

    wait_for(f"{container} to be killed", killed, timeout_s=60, interval_s=0.02)
    told = fleet.wait_condition("gate", "EngineReady", "False", reason="BuildFailed")["message"]
    assert f"the build's container {container} ended" in told
    assert "attempt 1" in told
    fleet.wait_serving("gate")
    assert_undisturbed(fleet, attempts=2)


@pytest.mark.slow  # in every CI the shorter whole life takes the API server away twice
def test_the_api_server_restarts(fleet: Fleet) -> None:
    """Away in the middle of a build and again while serving: nothing is lost, nothing is scaled down."""
    fleet.deploy("gate", engine=TINY)
    wait_for("the build to start", lambda: stage(fleet), timeout_s=60)
    fleet.cluster.restart_apiserver()
    fleet.wait_serving("gate")
    uid = fleet.items("pods", "app.kubernetes.io/name=triton")[0]["metadata"]["uid"]
    fleet.cluster.restart_apiserver()
    fleet.deploy("yard", engine=TINY)
    fleet.wait_serving("yard")
    assert [p["metadata"]["uid"] for p in fleet.items("pods", "yolofleet.dev/deployment=gate")] == [uid]
    fleet.kubectl("delete", "ydep", "yard")
    wait_for("yard's pods to go", lambda: not fleet.items("pods", "yolofleet.dev/deployment=yard"), timeout_s=60)
    assert_undisturbed(fleet)


def test_deleted_while_the_operator_is_down(fleet: Fleet) -> None:
    """Kubernetes' garbage collector takes all children along, pods drain; the operator comes back to nothing."""
    fleet.deploy("gate", engine=TINY)
    fleet.wait_serving("gate")
    operator_down(fleet.cluster)
    fleet.kubectl("delete", "ydep", "gate", "--wait=true", "--timeout=30s")
    wait_for("all children to go", lambda: not staying(fleet), timeout_s=90, seen=lambda: staying(fleet))
    operator_up(fleet.cluster)
    time.sleep(2)
    assert staying(fleet) == []


def staying(fleet: Fleet) -> list[str]:
    """Return the children of YoloDeployments that nobody has told to go; a pod that was told so drains."""
    kinds = "deployments,replicasets,services,poddisruptionbudgets,yoloengines,jobs,pods"
    made = fleet.items(kinds, "app.kubernetes.io/managed-by=yolofleet")
    told = [one for one in made if one["kind"] == "Pod" and "deletionTimestamp" in one["metadata"]]
    return [f"{one['kind']} {one['metadata']['name']}" for one in made if one not in told]


def scaled(fleet: Fleet) -> tuple[int, int]:
    """Return the replicas that gate's Deployment asks for, and how often its spec was changed."""
    made = fleet.get("deployment", "gate-1g-10gb")
    return made["spec"]["replicas"], made["metadata"]["generation"]


def test_what_others_changed_is_mended(fleet: Fleet) -> None:
    """A Service deleted and a Deployment scaled by hand come back as they should be."""
    fleet.deploy("gate", engine=TINY)
    fleet.wait_serving("gate")
    fleet.kubectl("delete", "service", "gate")
    wait_for("the Service to come back", lambda: fleet.items("services", "yolofleet.dev/deployment=gate"), timeout_s=30)
    _, before = scaled(fleet)
    fleet.kubectl("scale", "deployment", "gate-1g-10gb", "--replicas=0")
    # Its pod may not even notice: what shows is that the spec was changed twice, there and back.
    wait_for("the Deployment to be scaled back", lambda: scaled(fleet) >= (1, before + 2), timeout_s=30)


def test_the_operator_tells_how_it_is(fleet: Fleet) -> None:
    """Health and metrics answer through the API server's proxy."""
    base = f"/api/v1/namespaces/{SYSTEM}/services/yolofleet-metrics:http/proxy"
    assert fleet.kubectl("get", "--raw", f"{base}/healthz") == "ok"
    metrics = fleet.kubectl("get", "--raw", f"{base}/metrics")
    assert "yolofleet_passes_total" in metrics
    assert "yolofleet_failed_passes_total 0.0" in metrics
