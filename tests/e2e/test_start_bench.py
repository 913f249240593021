"""The bench of starts: which event ends which phase, and what its table says."""

from __future__ import annotations

from typing import Any

from e2e.bench.start import Run, moments, table
from e2e.bench.watching import Seen

LABELS = {"yolofleet.dev/deployment": "gate"}


def pod(labels: dict[str, str] = LABELS, *, node: str = "", **status: Any) -> dict[str, Any]:
    return {"metadata": {"labels": labels}, "spec": {"nodeName": node}, "status": status}


def test_each_phase_ends_with_the_first_event_that_shows_it() -> None:
    running, ended = {"running": {}}, {"terminated": {}}
    assembling = [{"name": "assemble", "state": running}]
    done = [{"name": "assemble", "state": ended}]
    waits, triton = ([{"name": "triton", "state": state}] for state in ({"waiting": {}}, running))
    seen = Seen()
    build = {"app.kubernetes.io/name": "engine-build"}
    seen.told = [
        (1.0, "yoloengines", {"metadata": {}, "status": {}}),
        (2.0, "pods", pod(build, containerStatuses=[{"name": "publish", "state": {"waiting": {}}}])),
        (3.0, "pods", pod(build, initContainerStatuses=[{"name": "fetch", "state": running}])),
        (4.0, "yoloengines", {"metadata": {}, "status": {"artifact": {}}}),
        (5.0, "deployments", {"metadata": {"labels": {"yolofleet.dev/deployment": "other"}}}),
        (6.0, "deployments", {"metadata": {"labels": LABELS}}),
        (7.0, "pods", pod()),
        (8.0, "pods", pod(node="n1")),
        (9.0, "pods", pod(node="n1", initContainerStatuses=assembling, containerStatuses=waits)),
        (10.0, "pods", pod(node="n1", initContainerStatuses=done, containerStatuses=waits)),
        (11.0, "pods", pod(node="n1", initContainerStatuses=done, containerStatuses=triton)),
        (12.0, "pods", pod(node="n1", conditions=[{"type": "Ready", "status": "True"}])),
    ]
    assert moments(seen) == {
        "wished": 1.0,
        "building": 3.0,
        "published": 4.0,
        "deployment": 6.0,
        "pod": 7.0,
        "scheduled": 8.0,
        "assembling": 9.0,
        "assembled": 10.0,
        "triton": 11.0,
        "ready": 12.0,
    }


def test_the_table_has_the_middle_of_all_runs_and_what_each_phase_took() -> None:
    runs = [Run("in the store", 1.0, {"accepted": at, "ready": 4 * at, "answered": 5 * at}) for at in (0.9, 1.0, 1.5)]
    told = table(runs)
    assert "3 starts; first answer after 4.5 to 7.5 s" in told
    assert "| 4.00 s | 3.00 s | the pod is Ready |" in told
    assert "tritonserver" not in told, "a phase that not every run has is left out"
