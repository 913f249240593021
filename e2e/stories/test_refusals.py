"""What only the operator or the builder can know is told with field, value and remedy, and what ran goes on running."""

from __future__ import annotations

import hashlib
from typing import Any

from e2e.fleet import ROOT, TINY, Fleet, layout
from e2e.waiting import wait_for

AT_ONCE = {"scaleDown": {"stabilizationWindowSeconds": 0}}
WEIGHTS = ROOT / "model_repo_builder/src/model_repo_builder/weights/yolo26n-shapes.pt"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def serving_pod(fleet: Fleet, name: str = "gate") -> str:
    """Return the uid of the one pod that serves a deployment."""
    (pod,) = fleet.items("pods", f"yolofleet.dev/deployment={name}")
    assert all(status["restartCount"] == 0 for status in pod["status"]["containerStatuses"])
    return str(pod["metadata"]["uid"])


def bad_models(base: str) -> dict[str, tuple[dict[str, Any], list[str]]]:
    """Return models that cannot be built, and words that their conditions must have."""
    html, broken = b"<html>404</html>", WEIGHTS.read_bytes()[:100_000]
    good = sha256(WEIGHTS.read_bytes())
    return {
        "unknown": ({"builtin": "yolo26q-shapes"}, ["spec.model.builtin", "yolo26q-shapes", "yolo26n-shapes"]),
        "digest": (
            {"http": {"url": f"{base}/good.pt", "sha256": "0" * 64}},
            ["spec.model.http.sha256", "0" * 64, good],
        ),
        "corrupt": ({"http": {"url": f"{base}/broken.pt", "sha256": sha256(broken)}}, ["spec.model.http", "broken.pt"]),
        "html": ({"http": {"url": f"{base}/page.pt", "sha256": sha256(html)}}, ["spec.model.http", "page.pt"]),
        "task": ({"builtin": "yolo26n-shapes", "task": "Pose"}, ["spec.model.task", "Pose", "Detect"]),
    }


def test_a_model_that_cannot_be_built_is_refused_while_the_old_one_serves(fleet: Fleet, files: str) -> None:
    """The condition names field, value and remedy; the pod that serves is the same as before."""
    models = bad_models(files)
    for name in models:
        fleet.deploy(name, engine=TINY)
    for name in models:
        fleet.wait_serving(name)
    before = {name: serving_pod(fleet, name) for name in models}
    for name, (model, _) in models.items():
        fleet.deploy(name, engine=TINY, model=model)
    for name, (_, words) in models.items():
        told = fleet.wait_condition(name, "EngineReady", "False", reason="BuildRefused")["message"]
        assert [word for word in words if word not in told] == [], (name, told)
        assert serving_pod(fleet, name) == before[name]
        assert fleet.condition(name, "Ready")["status"] == "True"
        assert fleet.condition(name, "Progressing")["reason"] == "HeldBack"
        wait_for(f"an event of {name}", lambda: words[0] in refusals(fleet, name), timeout_s=10)  # noqa: B023


def refusals(fleet: Fleet, name: str) -> str:
    """Return what the events of a deployment say of builds that were refused."""
    about = f"reason=BuildRefused,involvedObject.name={name}"
    return fleet.kubectl("get", "events", "--field-selector", about, "-o", "jsonpath={..message}")


def test_a_profile_that_no_node_offers_is_named_with_what_is_offered(fleet: Fleet) -> None:
    """NoMatchingProfile: the list asked for, and what there is instead."""
    fleet.deploy("gate", engine=TINY)
    fleet.wait_serving("gate")
    before = serving_pod(fleet)
    fleet.deploy("gate", engine=TINY, placement={"profiles": ["4g.40gb"]})
    told = fleet.wait_condition("gate", "Placed", "False", reason="NoMatchingProfile")["message"]
    assert "placement.profiles ['4g.40gb']" in told
    assert "1g.10gb ×7" in told
    assert serving_pod(fleet) == before


def test_an_unknown_pool_is_named(fleet: Fleet) -> None:
    """PoolNotFound."""
    fleet.deploy("gate", engine=TINY, placement={"poolRef": {"name": "moon"}})
    told = fleet.wait_condition("gate", "Placed", "False", reason="PoolNotFound")["message"]
    assert "placement.poolRef.name" in told
    assert "'moon'" in told


def test_no_room_says_how_many_wait_for_what(fleet: Fleet) -> None:
    """Two replicas, one slice: one serves, the other is explained."""
    with layout(fleet.cluster, {"nvidia.com/mig-1g.10gb": 7, "nvidia.com/mig-3g.40gb": 1}):
        fleet.deploy("gate", engine=TINY, placement={"profiles": ["3g.40gb"]}, scaling=AT_ONCE | {"minReplicas": 2})
        told = fleet.wait_condition("gate", "Placed", "False", reason="NoRoom", timeout_s=180)["message"]
        assert "1 of 2 replicas wait for a free 3g.40gb" in told
        assert "Insufficient nvidia.com/mig-3g.40gb" in told
        fleet.wait_condition("gate", "Ready", "True")
        fleet.deploy("gate", engine=TINY, placement={"profiles": ["3g.40gb"]}, scaling=AT_ONCE | {"minReplicas": 1})
        fleet.wait_condition("gate", "Placed", "True")
        fleet.clear()


def test_a_quota_is_named_and_nothing_that_serves_is_lost(fleet: Fleet) -> None:
    """QuotaExceeded: the ResourceQuota's own words, and the remedy."""
    fleet.deploy("gate", engine=TINY)
    fleet.wait_serving("gate")
    before = serving_pod(fleet)
    fleet.kubectl("create", "quota", "slices", "--hard=requests.nvidia.com/mig-1g.10gb=1")
    fleet.deploy("gate", engine=TINY, scaling={"minReplicas": 2})
    told = fleet.wait_condition("gate", "Placed", "False", reason="QuotaExceeded")["message"]
    assert "exceeded quota: slices" in told
    assert "raise the ResourceQuota" in told
    assert serving_pod(fleet) == before
    fleet.kubectl("delete", "quota", "slices")
    fleet.wait_serving("gate", 2, timeout_s=300)


def test_what_this_version_cannot_do_yet_is_said(fleet: Fleet) -> None:
    """NotSupported names the field and what to use instead; the TensorRT backend is refused by the builder."""
    fleet.deploy("bucket", engine=TINY, model={"s3": {"bucket": "b", "key": "k"}})
    told = fleet.wait_condition("bucket", "EngineReady", "False", reason="NotSupported")["message"]
    assert "spec.model.s3" in told
    fleet.deploy("frames", engine=TINY, endpoints=["Frames"], postprocess={"maxDetections": 1000})
    told = fleet.wait_condition("frames", "EngineReady", "False", reason="NotSupported")["message"]
    assert "spec.postprocess.maxDetections" in told
