"""Faults for the story of alerts, each planted as it would happen, and all of them lifted again."""

from __future__ import annotations

from contextlib import suppress

from e2e.clusters.bare.cluster import BareCluster
from e2e.fakes.dcgm_exporter.defects import Defects
from e2e.fleet import OPERATOR, SYSTEM, Fleet, Object
from e2e.waiting import wait_for

SIDE = 128
"""Small, and yet enough work that a replica's share of busy time tells its capacity, however idle the machine."""
TINY = {"backend": "ONNXRuntime", "imageSize": {"height": SIDE, "width": SIDE}}
STUB, WALL = "triton_python_backend_stub", "yolofleet-story"
_FIND = """
for folder in /proc/[0-9]*; do
  grep -qs %s $folder/cgroup && [ "$(basename "$(readlink $folder/exe)")" = %s ] && basename $folder
done; true
"""


def gate(fleet: Fleet, **spec: object) -> None:
    """Apply `gate` as it is when all is well, or with some fields changed."""
    well = {
        "engine": TINY,
        "demand": {"streams": 2, "framesPerSecond": "5"},
        "objective": {"p99LatencyMilliseconds": 5000},
        "scaling": {"minReplicas": 2, "maxReplicas": 2},
    }
    fleet.deploy("gate", **(well | spec))


def signal(cluster: BareCluster, pod: Object, program: str, number: str) -> None:
    """Send a signal to a program of a pod, from its node."""
    wait_for(f"{program} to run", lambda: _pids(cluster, pod, program), timeout_s=20)
    cluster.exec(["kill", number, *_pids(cluster, pod, program)])


def _pids(cluster: BareCluster, pod: Object, program: str) -> list[str]:
    return cluster.exec(["bash", "-c", _FIND % (pod["metadata"]["uid"], program)]).split()


def of_deployments(cluster: BareCluster, fleet: Fleet) -> None:
    """Plant all that can go wrong with deployments at once: each has a deployment of its own where faults would clash.

    `gate` is asked for more than two replicas carry, within one millisecond; one of its pods is no longer scraped.
    `frail` loses the process that computes, `crowd` wants more slices than there are and has an autoscaler that is
    not asked, `broken` names a source that is not supported. No further PodDisruptionBudget may be made.
    """
    fleet.deploy("frail", engine=TINY)
    fleet.wait_serving("frail")
    fleet.apply(_quota())
    fleet.deploy("crowd", engine=TINY, scaling={"minReplicas": 3})
    fleet.deploy("broken", model={"s3": {"bucket": "models", "key": "yolo.pt"}})
    fleet.apply(_autoscaler("crowd"))
    gate(
        fleet,
        demand={"streams": 1000, "framesPerSecond": "30"},
        objective={"p99LatencyMilliseconds": 1},
    )
    pod = fleet.items("pods", "yolofleet.dev/deployment=gate")[0]["metadata"]["name"]
    fleet.kubectl("annotate", "pod", pod, "--overwrite", "prometheus.io/scrape=false")
    signal(cluster, _pod_of(fleet, "frail"), STUB, "-KILL")


def of_gpus(cluster: BareCluster, fleet: Fleet) -> None:
    """The exporter loses its pod labels; the GPU is hot, fell off the bus, and has no persistence mode."""
    assert fleet.namespace
    cluster.set_dcgm(Defects(lost_pod_labels=True, hot_gpus=(0,), fallen_gpus=(0,), without_persistence=(0,)))


def of_the_exporter(cluster: BareCluster, fleet: Fleet) -> None:
    """The exporter repeats an old page without the activity; a wall stands between the operator and a pod's metrics."""
    cluster.set_dcgm(Defects(missing_families=("DCGM_FI_PROF_GR_ENGINE_ACTIVE",), frozen=True))
    operator = operator_address(cluster).partition(":")[0]
    pod = _pod_of(fleet, "frail")["status"]["podIP"]
    rule = f"add rule inet {WALL} between ip saddr {operator} ip daddr {pod} tcp dport 8002 drop"
    chain = f"add chain inet {WALL} between {{ type filter hook forward priority -10; }}"
    for command in (f"add table inet {WALL}", chain, rule):
        cluster.exec(["nft", command])


def operator_address(cluster: BareCluster) -> str:
    """Return where the operator's metrics are."""
    told = cluster.kubectl("-n", SYSTEM, "get", "pods", "-l", OPERATOR, "-o", "jsonpath={.items[0].status.podIP}")
    return f"{told}:8080"


def lift(cluster: BareCluster, fleet: Fleet) -> None:
    """Take all faults away, and wait until only `gate` is left."""
    cluster.set_dcgm(Defects())
    with suppress(RuntimeError):  # it may not have been built yet
        cluster.exec(["nft", f"delete table inet {WALL}"])
    fleet.kubectl("delete", "hpa,resourcequota", "--all")
    fleet.kubectl("delete", "ydep", "frail", "crowd", "broken", "--ignore-not-found", "--wait=false")
    for pod in fleet.items("pods", "yolofleet.dev/deployment=gate"):
        fleet.kubectl("annotate", "pod", pod["metadata"]["name"], "--overwrite", "prometheus.io/scrape=true")
    gate(fleet)


def _pod_of(fleet: Fleet, name: str) -> Object:
    return fleet.items("pods", f"yolofleet.dev/deployment={name}")[0]


def _quota() -> Object:
    hard = {"count/poddisruptionbudgets.policy": "0"}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "no-more"}, "spec": {"hard": hard}}


def _autoscaler(name: str) -> Object:
    target = {"apiVersion": "yolofleet.dev/v1alpha1", "kind": "YoloDeployment", "name": name}
    use = {"type": "Utilization", "averageUtilization": 50}
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": use}}
    spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 2, "metrics": [metric]}
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name}, "spec": spec}
