"""An open-loop client follows a trace on tritonservers of known speed: no frame fails, and it is as simulated."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from e2e import pacing
from e2e.fleet import Fleet, Object, kill_operator, layout, operator_up
from e2e.pacing import OBJECTIVE_MS, Bounds, Watch, steps
from e2e.waiting import wait_for

SLICES = {"nvidia.com/mig-1g.10gb": 14}
BASE, MORE, FLASH = 10, 18, 60
API_FROM_A_POD = "import os, socket; socket.create_connection((os.environ['KUBERNETES_SERVICE_HOST'], 443), 1)"
DECISIONS_S = 10
"""A look to begin with, one that has rates, and a write; with what a loaded machine is late."""
LEARNT_S = 20
"""Until then what a replica carries is not known, and the simulator knows it from the start."""

pytestmark = pytest.mark.only_on_bare("its Triton is an image of that bench")


@pytest.fixture
def slices(fleet: Fleet) -> Iterator[Fleet]:
    """Fourteen slices on one node; pods that drain in the end are not waited for."""
    with layout(fleet.cluster, SLICES):
        yield fleet
        fleet.clear()


def lived(fleet: Fleet, frames: list[int], bounds: Bounds) -> tuple[Watch, float, Object]:
    """Let the deployment live through a trace; return what was seen, since when, and the client's seconds."""
    pacing.deploy(fleet, "gate", bounds)
    fleet.wait_serving("gate", bounds.least)
    with pacing.watched(fleet, "gate") as watch:
        client = pacing.pace(fleet, "gate", frames)
        client.started()
        began = float(client.lines()[0]["began"])
        *_, seconds, last = client.finished(timeout_s=len(frames) + 120)
    print("client:", last, "late by", seconds["late_s"], "s")
    assert last["failed"] == 0, last["errors"]
    return watch, began, seconds


def judged(watch: Watch, began: float, frames: list[int], bounds: Bounds) -> None:
    """Hold what was decided against the simulator's run of the same trace."""
    start_s = pacing.start_s_of(watch)
    sights = watch.since(began, len(frames))
    counts = pacing.simulated(frames, start_s, bounds)
    print(f"start {start_s:.0f} s; second: frames, desired, simulated, ready")
    for sight in sights[::10]:
        second = int(sight.at - began)
        print(f"{second}: {frames[second]}, {sight.desired}, {counts[second]}, {sight.ready}; {sight.message}")
    pacing.keep(sights, began, frames, counts)
    assert pacing.apart(sights, began, counts, LEARNT_S) == []
    settled = [sight for sight in sights if sight.at - began >= LEARNT_S]
    assert pacing.turns(settled) <= 2 * steps_up(frames), [sight.desired for sight in settled]


def steps_up(frames: list[int]) -> int:
    return sum(b > a for a, b in pairwise(frames))


def held(longest_ms: list[int], since: int, until: int) -> None:
    """Check that frames of these seconds were answered within the objective."""
    late = {second: ms for second, ms in enumerate(longest_ms) if since <= second < until and ms > OBJECTIVE_MS}
    assert not late, late


def test_two_minutes_as_simulated_and_no_frame_fails(slices: Fleet) -> None:
    """A step that the warm reserve covers is not felt after two seconds; a sixfold flash costs no frame."""
    bounds = Bounds()
    frames = steps((BASE, 35), (MORE, 20), (FLASH, 35), (BASE, 30))
    watch, began, seconds = lived(slices, frames, bounds)
    print("longest ms:", seconds["longest_ms"])
    judged(watch, began, frames, bounds)
    held(seconds["longest_ms"], 35 + 2, 55)


@pytest.mark.slow
def test_ten_minutes_as_simulated_and_no_frame_fails(slices: Fleet) -> None:
    """The same with a flash of three minutes: it goes, and comes back to where it was."""
    bounds = Bounds(warm=2)
    frames = steps((BASE, 100), (MORE, 60), (BASE, 90), (FLASH, 150), (BASE, 200))
    watch, began, seconds = lived(slices, frames, bounds)
    judged(watch, began, frames, bounds)
    held(seconds["longest_ms"], 100 + 2, 160)
    last = watch.since(began, len(frames))[-1]
    assert last.desired <= bounds.warm + 3, last


@pytest.mark.slow
def test_nothing_goes_down_for_lack_of_data_and_two_decisions_later_all_is_right(slices: Fleet) -> None:
    """The operator dies as a flash begins; another flash begins while the API server is away for a minute."""
    bounds, cluster = Bounds(), slices.cluster
    frames = steps((BASE, 50), (FLASH, 70), (BASE, 120), (FLASH, 160), (BASE, 20))
    pacing.deploy(slices, "gate", bounds)
    slices.wait_serving("gate", bounds.least)
    with pacing.watched(slices, "gate") as watch:
        client = pacing.pace(slices, "gate", frames)
        client.started()
        began = float(client.lines()[0]["began"])
        until(began + 51)
        kill_operator(cluster)
        operator_up(cluster)
        again = time.time()
        until(began + 190)
        cluster.stop_apiserver()
        until(began + 250)
        cluster.start_apiserver()
        # Its Service leads nowhere until kube-proxy, which has its own backoff, has heard of it: that is not ours.
        wait_for("pods to reach the API server", lambda: reached(slices), timeout_s=120)
        back = time.time()
        *_, last = client.finished(timeout_s=len(frames) + 120)
    print("client:", last, "operator again at", again - began, "API server back at", back - began)
    pacing.keep(watch.since(began, len(frames)), began, frames, [])
    assert last["failed"] == 0, last["errors"]
    enough = FLASH / pacing.REPLICA_FPS
    for begins, ends, right_s in ((50, 120, again - began), (190, 400, back - began)):
        sights = watch.since(began + begins, ends - begins)
        counts = [sight.desired for sight in sights]
        assert all(b >= a for a, b in pairwise(counts)), f"it went down: {counts}"
        after = [s.desired for s in sights if s.at - began >= right_s + DECISIONS_S]
        assert after, "seen again"
        assert min(after) >= enough, (right_s, [(round(s.at - began), s.desired) for s in sights])


def reached(fleet: Fleet) -> bool:
    """Whether a pod gets through to the API server's Service; one that does not is an error."""
    fleet.kubectl("exec", "pace", "--", "python3", "-c", API_FROM_A_POD)
    return True


def until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.time()))
