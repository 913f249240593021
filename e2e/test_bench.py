"""Story: the bench itself is what the other stories take it for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.request import urlopen

import pytest

from e2e.clusters.protocol import Cluster
from e2e.fakes.gpus import DEFAULT_LAYOUT
from e2e.images import image_name
from e2e.waiting import wait_for

pytestmark = pytest.mark.e2e

SLICE = "nvidia.com/mig-1g.10gb"
LARGE_SLICE = "nvidia.com/mig-3g.40gb"
POD_SECURITY = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
SLEEP = ["python3", "-c", "import time; time.sleep(600)"]
TRITON = [
    "tritonserver",
    "--model-repository=/models",
    "--allow-gpu-metrics=false",
    "--metrics-config=summary_latencies=true",
]


@pytest.fixture
def recut(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster for a story that cuts the GPU anew; the next one finds the usual slices."""
    yield cluster
    cluster.set_layout(DEFAULT_LAYOUT)


def pod(name: str, command: list[str], *, image: str = "operator", **more: Any) -> dict[str, Any]:
    """A pod that the restricted level lets in."""
    container = {
        "name": "main",
        "image": image_name(image),
        "command": command,
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "securityContext": POD_SECURITY,
            "containers": [container | more],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


def on_slice(name: str, resource: str = SLICE) -> dict[str, Any]:
    """A pod that holds one slice."""
    return pod(name, SLEEP, resources={"limits": {resource: "1"}})


def create(cluster: Cluster, namespace: str, *objects: dict[str, Any]) -> None:
    for manifest in objects:
        cluster.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(manifest))


def phase(cluster: Cluster, namespace: str, name: str) -> str:
    return cluster.kubectl("-n", namespace, "get", "pod", name, "-o", "jsonpath={.status.phase}")


def wait_until_running(cluster: Cluster, namespace: str, *names: str) -> None:
    for name in names:
        is_running = partial(_is_running, cluster, namespace, name)
        wait_for(f"pod {name} Running", is_running, timeout_s=30)


def _is_running(cluster: Cluster, namespace: str, name: str) -> bool:
    return phase(cluster, namespace, name) == "Running"


def output_of(cluster: Cluster, namespace: str, name: str) -> str:
    wait_for(f"pod {name} to end", lambda: phase(cluster, namespace, name) in {"Succeeded", "Failed"}, timeout_s=60)
    return cluster.kubectl("-n", namespace, "logs", name)


def test_pods_resolve_names_and_reach_services(cluster: Cluster, namespace: str) -> None:
    program = "import socket; print(socket.gethostbyname('kubernetes.default.svc.cluster.local'))"
    create(cluster, namespace, pod("asks", ["python3", "-c", program]))
    address = cluster.kubectl("-n", "default", "get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
    assert output_of(cluster, namespace, "asks").strip() == address


@pytest.mark.only_on_bare("its namespaces have no uplink; other clusters may have one")
def test_pods_cannot_leave_the_machine(cluster: Cluster, namespace: str) -> None:
    program = "import socket; s = socket.socket(); s.settimeout(3); print(s.connect_ex(('192.0.2.1', 80)))"
    create(cluster, namespace, pod("leaves", ["python3", "-c", program]))
    assert output_of(cluster, namespace, "leaves").strip() != "0"


def test_claims_bind_to_volumes_that_the_images_user_can_write(cluster: Cluster, namespace: str) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "store"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    writer = pod("writes", ["python3", "-c", "open('/store/x', 'w').write('kept')"])
    reader = pod("reads", ["python3", "-c", "print(open('/store/x').read())"])
    for manifest in (writer, reader):
        manifest["spec"]["volumes"].append({"name": "store", "persistentVolumeClaim": {"claimName": "store"}})
        manifest["spec"]["containers"][0]["volumeMounts"].append({"name": "store", "mountPath": "/store"})
    create(cluster, namespace, claim, writer)
    output_of(cluster, namespace, "writes")
    create(cluster, namespace, reader)
    assert output_of(cluster, namespace, "reads").strip() == "kept"


def test_a_pod_holds_a_slice_and_one_too_many_waits_until_the_gpu_is_cut_anew(recut: Cluster, namespace: str) -> None:
    recut.set_layout({SLICE: 2})
    create(recut, namespace, on_slice("first"), on_slice("second"))
    wait_until_running(recut, namespace, "first", "second")
    create(recut, namespace, on_slice("third"))
    scheduled = "jsonpath={.status.conditions[?(@.type=='PodScheduled')].message}"
    message = wait_for(
        "the scheduler's verdict on the third pod",
        lambda: recut.kubectl("-n", namespace, "get", "pod", "third", "-o", scheduled),
    )
    assert f"Insufficient {SLICE}" in message
    recut.set_layout({SLICE: 3})
    wait_until_running(recut, namespace, "third")


def test_the_container_learns_its_device_and_the_node_its_profiles(recut: Cluster, namespace: str) -> None:
    recut.set_layout({LARGE_SLICE: 1, "nvidia.com/gpu": 1})
    tells = pod(
        "tells",
        ["python3", "-c", "import os; print(os.environ['NVIDIA_VISIBLE_DEVICES'])"],
        resources={"limits": {LARGE_SLICE: "1"}},
    )
    create(recut, namespace, tells)
    assert output_of(recut, namespace, "tells").startswith(f"MIG-{recut.node_name()}-mig-3g.40gb-")
    labels = json.loads(recut.kubectl("get", "node", recut.node_name(), "-o", "json"))["metadata"]["labels"]
    assert labels["nvidia.com/mig-3g.40gb.multiprocessors"] == "60"
    assert not [label for label in labels if label.startswith(f"{SLICE}.")]


def test_an_unhealthy_device_lowers_what_the_node_offers(recut: Cluster) -> None:
    recut.set_health(SLICE, 0, healthy=False)
    offered = json.loads(recut.kubectl("get", "node", recut.node_name(), "-o", "json"))["status"]
    assert offered["allocatable"][SLICE] == "6"
    assert offered["capacity"][SLICE] == "7"


def test_the_api_server_goes_and_comes_back_while_pods_go_on(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, on_slice("stays"))
    wait_until_running(cluster, namespace, "stays")
    cluster.restart_apiserver(down_s=1)
    status = json.loads(cluster.kubectl("-n", namespace, "get", "pod", "stays", "-o", "json"))["status"]
    assert status["containerStatuses"][0]["restartCount"] == 0
    create(cluster, namespace, on_slice("comes"))
    wait_until_running(cluster, namespace, "comes")


def test_devices_come_back_after_the_kubelet_restarts_and_pods_keep_theirs(recut: Cluster, namespace: str) -> None:
    create(recut, namespace, on_slice("stays"))
    wait_until_running(recut, namespace, "stays")
    recut.restart_kubelet()
    recut.set_layout({SLICE: 3})
    status = json.loads(recut.kubectl("-n", namespace, "get", "pod", "stays", "-o", "json"))["status"]
    assert status["containerStatuses"][0]["restartCount"] == 0
    create(recut, namespace, on_slice("comes"))
    wait_until_running(recut, namespace, "comes")


def triton_pod() -> dict[str, Any]:
    """A tritonserver whose repository is written by an init container, as the product's is."""
    probe = {"httpGet": {"path": "/v2/health/ready", "port": 8000}, "periodSeconds": 1}
    server = pod("triton", TRITON, image="triton", resources={"limits": {SLICE: "1"}}, readinessProbe=probe)
    writer = pod("writer", ["python3", "-c", WRITE_REPOSITORY], image="builder")["spec"]["containers"][0]
    writer["name"] = "writer"
    server["spec"]["initContainers"] = [writer]
    server["spec"]["volumes"] += [
        {"name": "models", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
    ]
    mounts = [{"name": "models", "mountPath": "/models"}, {"name": "shm", "mountPath": "/dev/shm"}]
    for container in (writer, server["spec"]["containers"][0]):
        container["volumeMounts"] += mounts
    return server


def infer(port: int, rows: list[list[float]]) -> dict[str, list[float]]:
    """Ask the model over HTTP; the outputs by name, flat."""
    flat = [value for row in rows for value in row]
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [len(rows), 2], "data": flat}]}
    with urlopen(f"http://127.0.0.1:{port}/v2/models/sums/infer", json.dumps(body).encode(), timeout=20) as answer:
        return {output["name"]: output["data"] for output in json.load(answer)["outputs"]}


def test_tritonserver_serves_an_onnxruntime_repository_through_its_service(cluster: Cluster, namespace: str) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "triton"},
        "spec": {
            "selector": {"app": "triton"},
            "ports": [{"name": "http", "port": 8000}, {"name": "metrics", "port": 8002}],
        },
    }
    create(cluster, namespace, service, triton_pod())
    cluster.kubectl("-n", namespace, "wait", "pod/triton", "--for=condition=Ready", "--timeout=60s", timeout_s=70)
    with cluster.forward(f"triton.{namespace}", 8000) as port, ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda k: infer(port, [[k, 1.0], [k, 2.0]]), range(24)))
    assert answers == [{"sum": [k + 1, k + 2], "twice": [2 * k, 2, 2 * k, 4]} for k in range(24)]
    with cluster.forward(f"triton.{namespace}", 8002) as port, urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert 'nv_inference_count{model="sums",version="1"} 48' in answer.read().decode()


WRITE_REPOSITORY = """
import pathlib
from onnx import TensorProto, helper, save

def tensor(name, *dims):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *dims])

axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
nodes = [
    helper.make_node("Add", ["x", "x"], ["twice"]),
    helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=1),
]
graph = helper.make_graph(nodes, "sums", [tensor("x", 2)], [tensor("twice", 2), tensor("sum", 1)], [axis])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
folder = pathlib.Path("/models/sums")
(folder / "1").mkdir(parents=True)
save(model, folder / "1" / "model.onnx")
(folder / "config.pbtxt").write_text('''
name: "sums" backend: "onnxruntime" max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "sum" data_type: TYPE_FP32 dims: [ 1 ] }, { name: "twice" data_type: TYPE_FP32 dims: [ 2 ] } ]
dynamic_batching { max_queue_delay_microseconds: 1000 }
instance_group [ { count: 2 kind: KIND_CPU } ]
''')
"""
