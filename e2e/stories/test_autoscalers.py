"""Other people's autoscalers: in mode External they have the word, in mode Auto they are named and not fought."""

from __future__ import annotations

import time

from e2e.autoscalers import autoscaler, metrics_api, wait_for_hpa
from e2e.fleet import TINY, Fleet
from e2e.waiting import wait_for

QUIET_S = 7  # the HPA looks every 3 s: a fight would show


def given(fleet: Fleet) -> tuple[int, int]:
    """Return what the HPA wrote, and how often the Deployment's spec was changed so far."""
    (deployment,) = fleet.items("deployments")
    return fleet.get("ydep", "gate")["spec"]["replicas"], deployment["metadata"]["generation"]


def test_an_hpa_scales_in_mode_external_and_is_named_in_mode_auto(fleet: Fleet) -> None:
    """A real HPA writes /scale as frames come and go; in mode Auto what it writes changes nothing, and is told of."""
    where = {"profiles": ["1g.10gb"]}
    fleet.deploy("gate", engine=TINY, placement=where, scaling={"mode": "External"})
    fleet.wait_serving("gate")
    with metrics_api(fleet):
        cameras = fleet.cameras("cameras", "gate", rate=20)
        fleet.apply(autoscaler("gate", frames_per_replica=12))
        wait_for_hpa(fleet, "gate-hpa", "ScalingActive", "True")
        fleet.wait_serving("gate", 2)
        assert "gate-hpa" in fleet.wait_condition("gate", "ScalingActive", "False", reason="External")["message"]
        assert cameras.end()["lost"] == 0
        fleet.wait_serving("gate", 1)

        fleet.deploy("gate", engine=TINY, placement=where, scaling={"mode": "Auto"})
        ignored = fleet.wait_condition("gate", "ScalingActive", "False", reason="AutoscalerIgnored")
        assert "gate-hpa" in ignored["message"]
        (_, changes) = given(fleet)
        fleet.apply(autoscaler("gate", frames_per_replica=12, least=3))
        wait_for("the HPA to write", lambda: given(fleet)[0] == 3, timeout_s=30)
        time.sleep(QUIET_S)
        assert given(fleet) == (3, changes)
        fleet.wait_serving("gate", 1)

        fleet.kubectl("delete", "hpa", "gate-hpa")
        fleet.wait_condition("gate", "ScalingActive", "True")
