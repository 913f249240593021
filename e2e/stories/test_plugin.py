"""`kubectl yolofleet` on a real cluster: as an administrator with a client certificate, and as a namespace's viewer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.clusters.kubectl import CommandFailedError
from e2e.fleet import ROOT, SYSTEM, TINY, Fleet, url_of
from e2e.waiting import wait_for

METRICS = f"/api/v1/namespaces/{SYSTEM}/services/yolofleet-metrics:http/proxy/metrics"
TOP = f"/api/v1/namespaces/{SYSTEM}/services/yolofleet-metrics:top/proxy/top"
SLICE = "nvidia.com/mig-1g.10gb"
SERIES = re.compile(r"^yolofleet_(\w+)\{([^}]*)\} (\S+)$", re.MULTILINE)
FIGURES = {
    "servedFps": ("served_frames_per_second", 1),
    "desired": ("desired_replicas", 1),
    "ready": ("ready_replicas", 1),
    "p99Ms": ("p99_seconds", 1000),
    "objectiveMs": ("objective_p99_seconds", 1000),
    "queueMs": ("queue_seconds", 1000),
    "meanBatch": ("mean_batch", 1),
    "busy": ("busy_ratio", 1),
    "engineActive": ("engine_active_ratio", 1),
    "capacityFps": ("capacity_frames_per_second", 1),
}


@dataclass(frozen=True)
class Person:
    """Somebody with a kubeconfig, at a shell."""

    kubectl: str
    kubeconfig: Path
    context: str

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Type `kubectl yolofleet …`; kubectl finds the plugin on the PATH."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        command = [self.kubectl, "yolofleet", *arguments, "--context", self.context]
        env = os.environ | {"KUBECONFIG": str(self.kubeconfig), "PATH": path}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=60)

    def json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Type it with `-o json`, and expect an exit code."""
        done = self.run(*arguments, "-o", "json")
        assert done.returncode == code, (done.returncode, done.stderr, done.stdout[-2000:])
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def raw(self, path: str) -> str:
        """Ask the API server for a path, as `kubectl get --raw` does."""
        bound = ["--kubeconfig", str(self.kubeconfig), "--context", self.context]
        command = [self.kubectl, *bound, "get", "--raw", path]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout if done.returncode == 0 else done.stderr


@pytest.fixture
def admin(fleet: Fleet) -> Person:
    """Whoever made the cluster: a client certificate, no token."""
    return Person(fleet.cluster.kubectl_path, fleet.cluster.kubeconfig, fleet.cluster.context)


@pytest.fixture
def viewer(fleet: Fleet, tmp_path: Path) -> Person:
    """A ServiceAccount that may view this namespace, and nothing else."""
    fleet.kubectl("create", "serviceaccount", "viewer")
    fleet.kubectl("create", "rolebinding", "viewer", "--clusterrole=view", f"--serviceaccount={fleet.namespace}:viewer")
    token = fleet.kubectl("create", "token", "viewer").strip()
    config: dict[str, Any] = yaml.safe_load(fleet.cluster.kubeconfig.read_text())
    (context,) = [c["context"] for c in config["contexts"] if c["name"] == fleet.cluster.context]
    named = {"cluster": context["cluster"], "user": "viewer", "namespace": fleet.namespace}
    config |= {"users": [{"name": "viewer", "user": {"token": token}}], "current-context": "view"}
    config |= {"contexts": [{"name": "view", "context": named}]}
    path = tmp_path / "viewer"
    path.write_text(yaml.safe_dump(config))
    return Person(fleet.cluster.kubectl_path, path, "view")


def scraped(admin: Person, fleet: Fleet, name: str) -> dict[str, float]:
    """Return the figures of one deployment as /metrics has them, under the names that `top` has for them."""
    labels = f'namespace="{fleet.namespace}",yolodeployment="{name}"'
    known = {family: float(value) for family, told, value in SERIES.findall(admin.raw(METRICS)) if told == labels}
    return {ours: known[family] * scale for ours, (family, scale) in FIGURES.items() if family in known}


def agrees(admin: Person, fleet: Fleet, name: str) -> dict[str, Any] | None:
    """Return the row of `top` when each figure is that of the scrape before it or after it; None when it moved on."""
    before = scraped(admin, fleet, name)
    (row,) = admin.json("top", "--once", "-n", fleet.namespace)["deployments"]
    after = scraped(admin, fleet, name)
    if set(before) != set(after):
        return None
    fits = all(row[k] == pytest.approx(before[k]) or row[k] == pytest.approx(after[k]) for k in before)
    unknown = all(row[key] is None for key in FIGURES if key not in before)
    return row if fits and unknown and row["servedFps"] else None


def test_an_administrator_and_a_viewer_are_told_the_same_each_as_far_as_they_may_see(
    fleet: Fleet, admin: Person, viewer: Person
) -> None:
    """Status, top with the figures of /metrics, explain; a viewer sees its namespace, and no other."""
    here = ("-n", fleet.namespace)
    scaling = {"minReplicas": 1, "maxReplicas": 1}
    fleet.deploy("gate", engine=TINY, scaling=scaling, demand={"streams": 4, "framesPerSecond": "5"})
    waits = admin.json("status", *here, code=1)
    assert waits["allReady"] is False
    waited = admin.run("status", "gate", *here, "--wait", "--timeout", "120")
    assert waited.returncode == 0, waited.stderr
    (row,) = admin.json("status", *here)["deployments"]
    assert (row["verdict"], row["readyReplicas"], row["framesPerSecond"]["demanded"]) == ("ready", 1, 20.0)

    client = ["--url", url_of(fleet, "gate"), "--clients", "2", "--rate", "4", "--seconds", "60", "--size", "64"]
    sender = fleet.client("client", ROOT / "e2e/clients/open_loop.py", client)
    seen: dict[str, Any] = wait_for("top to agree with /metrics", lambda: agrees(admin, fleet, "gate"), timeout_s=60)
    assert (seen["ready"], seen["desired"], seen["demandFps"]) == (1, 1, 20.0)
    for_viewer = viewer.json("top", "--once")
    assert [r["name"] for r in for_viewer["deployments"]] == ["gate"]
    assert (for_viewer["source"], for_viewer["slices"]) == ("live", None)
    slices = admin.json("top", "--once", "-A")["slices"]
    assert any(s["profile"] == "1g.10gb" and 1 <= s["used"] <= s["total"] == 7 for s in slices), slices
    sender.stop()

    for person in (admin, viewer):
        told = person.run("explain", "gate", *here).stdout
        assert "4 streams × 5 frames/s = 20 fps" in told
        assert "scaling.minReplicas 1, maxReplicas 1" in told
        assert f"serving: {fleet.engine_of('gate')}: ONNXRuntime FP32" in told
    assert "not allowed to see migpools" in viewer.run("explain", "gate").stdout
    engine = admin.run("explain", f"yeng/{fleet.engine_of('gate')}", *here).stdout
    assert "YoloDeployments gate: one build for all of them" in engine


def test_nobody_sees_what_is_not_theirs_and_each_refusal_says_what_to_do(fleet: Fleet, viewer: Person) -> None:
    """No token, no right, another namespace, no operator: one line with a remedy, and never a figure."""
    with pytest.raises(CommandFailedError, match="no token in header"):
        fleet.kubectl("get", "--raw", TOP)
    assert "no token in header" in viewer.raw(f"{TOP}?namespace={fleet.namespace}")
    assert "cannot get resource" in viewer.raw(METRICS), "the other port is not theirs"
    for arguments in (("top", "--once", "-n", SYSTEM), ("top", "--once", "-A"), ("status", "-A")):
        done = viewer.run(*arguments)
        assert (done.returncode, done.stdout) == (2, ""), done
        assert done.stderr.count("\n") == 1
        assert "ask for" in done.stderr
    elsewhere = viewer.run("top", "--once", "--operator", f"{SYSTEM}/other")
    assert elsewhere.returncode == 1
    assert "not live, figures from status" in elsewhere.stdout


def test_doctor_finds_what_was_planted(fleet: Fleet, admin: Person, viewer: Person) -> None:
    """A slice that is ill and a quota that refuses pods fail; the rest is well."""
    here = ("-n", fleet.namespace)

    def diagnosis(person: Person, code: int) -> dict[str, dict[str, str]]:
        return {found["topic"]: found for found in person.json("doctor", *here, code=code)["findings"]}

    healthy = diagnosis(admin, 0)
    assert [t for t, f in healthy.items() if f["level"] not in ("ok", "unseen")] == []
    assert "15 rights" in healthy["operator's rights"]["message"]
    fleet.kubectl("create", "quota", "none", "--hard=pods=0")
    fleet.cluster.set_health(SLICE, 6, healthy=False)
    try:
        planted = wait_for("the slice to be ill", lambda: _ill(diagnosis(admin, 1)), timeout_s=30)
    finally:
        fleet.cluster.set_health(SLICE, 6, healthy=True)
        fleet.kubectl("delete", "quota", "none")
    assert f"unhealthy devices: 1 of 7 {SLICE}" in planted["mig"]["message"]
    assert "exceeded quota" in planted["admission"]["message"]
    assert [t for t, f in planted.items() if f["level"] == "fail"] == ["mig", "admission"]
    assert all(found["remedy"] for found in planted.values() if found["level"] != "ok")
    mine = diagnosis(viewer, 0)
    assert "not allowed to see nodes" in mine["gpu nodes"]["message"]
    assert mine["your rights"]["message"].startswith("you may look, and not change")
    assert mine["live figures"]["level"] == "ok"


def _ill(found: dict[str, dict[str, str]]) -> dict[str, dict[str, str]] | None:
    return found if found["mig"]["level"] == "fail" else None
