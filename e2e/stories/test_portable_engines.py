"""Slices for which no engine is compiled yet: a portable one serves at once, and the exact one takes over its frames.

TensorRT and its GPU are doubles (e2e/images/builder_tensorrt and triton_tensorrt): what they compile is ONNX. All else
is as it is with them: builds on slices, engines in the store, a rollout.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from e2e import pacing
from e2e.fleet import Fleet, Object, install, layout
from e2e.images import image_name
from e2e.stories.test_rollout import DEMAND, RATE, TWO, wait_phase
from e2e.waiting import wait_for

ONE_G, TWO_G = "nvidia.com/mig-1g.10gb", "nvidia.com/mig-2g.20gb"
SECONDS = 150
ENGINE: Object = {
    "backend": "TensorRT",
    "precision": "FP32",
    "imageSize": {"height": 64, "width": 64},
    "maxBatchSize": 4,
}
pytestmark = [pytest.mark.slow, pytest.mark.only_on_bare("its TensorRT is a double in images of that bench")]


@pytest.fixture
def tensorrt(fleet: Fleet) -> Iterator[Fleet]:
    """The fleet with a builder that compiles, slices of two kinds, and the usual builder again after."""
    fleet.cluster.load_images(["builder-tensorrt", "triton-tensorrt"])
    builder = image_name("builder-tensorrt").removesuffix(":dev")
    install(fleet.cluster, f"images.builder.repository={builder}", "builds.tensorrtVersion=10.16.0")
    with layout(fleet.cluster, {ONE_G: 2, TWO_G: 3}):
        yield fleet
        fleet.kubectl("delete", "ydep", "--all", "--timeout=60s")
    install(fleet.cluster)


def published(fleet: Fleet) -> dict[str, str]:
    """Return the published engines by their target: SMs, and how portable."""
    found = {}
    for one in fleet.items("yoloengines"):
        target = one["spec"]["target"]
        if one.get("status", {}).get("artifact"):
            found[f"{target['smCount']} {target.get('hardwareCompatibility', '')}".strip()] = one["metadata"]["name"]
    return found


def status(fleet: Fleet) -> str:
    """Type `kubectl yolofleet status gate`."""
    bound = ["--kubeconfig", str(fleet.cluster.kubeconfig), "--context", fleet.cluster.context, "-n", fleet.namespace]
    command = [sys.executable, "-m", "yolofleet.cli", "status", "gate", *bound]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


def test_a_portable_engine_serves_until_the_exact_one_takes_over_and_no_frame_is_lost(tensorrt: Fleet) -> None:
    fleet = tensorrt
    serving = {"image": image_name("triton-tensorrt")}
    build = ENGINE | {"portable": "Build"}
    fleet.deploy("first", engine=build, placement={"profiles": ["1g.10gb"]}, serving=serving, suspend=True)
    wait_for("its two engines", lambda: len(published(fleet)) == 2, timeout_s=200, seen=lambda: published(fleet))
    portable = published(fleet)["16 SameComputeCapability"]

    began = time.monotonic()
    rollout = {"canarySeconds": 10}
    fleet.deploy(
        *("gate",),
        engine=ENGINE,
        placement={"profiles": ["2g.20gb"]},
        serving=serving,
        scaling=TWO,
        demand=DEMAND,
        rollout=rollout,
    )
    wait_for("both replicas", lambda: fleet.get("ydep", "gate")["status"].get("readyReplicas") == 2, timeout_s=60)
    print(f"serving {time.monotonic() - began:.1f} s after apply, with {portable}")
    told = fleet.wait_condition("gate", "Progressing", "True", reason="ServingPortable", timeout_s=20)["message"]
    print(told)
    assert told.startswith(f"portable YoloEngine {portable} serves on 2g.20gb: YoloEngine ")
    assert fleet.engine_of("gate") == portable
    shown = status(fleet)
    print(shown)
    assert "ServingPortable" in shown

    client = pacing.pace(fleet, "gate", [RATE] * SECONDS)
    client.started()
    assert fleet.condition("gate", "EngineReady")["status"] == "False", "the client sees all of the swap"
    print(f"the client began {time.monotonic() - began:.1f} s after apply")
    ended = wait_phase(fleet, "Promoted", timeout_s=SECONDS)
    print(f"the exact engine had taken over {time.monotonic() - began:.1f} s after apply: {ended}")
    assert (ended["previousEngine"], ended["reason"]) == (portable, "AsGood")
    assert fleet.engine_of("gate") == ended["engine"] == published(fleet)["32"]
    assert "portable" not in fleet.get("ydep", "gate")["status"]["groups"][0]
    assert fleet.get("yeng", portable)["metadata"]["ownerReferences"][0]["name"] == "first", "it stays for who asked"
    *_, seconds, last = client.finished(timeout_s=SECONDS + 60)
    print("client:", last, "p99 ms of each window:", seconds["p99_ms"])
    assert last["failed"] == 0, last["errors"]
