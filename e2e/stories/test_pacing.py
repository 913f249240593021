"""An open-loop client follows a trace on tritonservers of known speed: no frame fails, and it is as simulated."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from e2e import pacing
from e2e.fleet import Fleet, Object, layout
from e2e.pacing import OBJECTIVE_MS, Bounds, Watch, steps

SLICES = {"nvidia.com/mig-1g.10gb": 14}
BASE, MORE, FLASH = 10, 18, 60
LEARNT_S = 20
"""Until then what a replica carries is not known, and the simulator knows it from the start."""

pytestmark = pytest.mark.only_on_bare("its Triton is an image of that bench")


@pytest.fixture
def slices(fleet: Fleet) -> Iterator[Fleet]:
    """Fourteen slices on one node."""
    with layout(fleet.cluster, SLICES):
        yield fleet


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
    assert pacing.apart(sights, began, counts, LEARNT_S) == []
    settled = [sight for sight in sights if sight.at - began >= LEARNT_S]
    assert pacing.turns(settled) <= 2 * steps_up(frames), [sight.desired for sight in settled]


def steps_up(frames: list[int]) -> int:
    return sum(b > a for a, b in itertools.pairwise(frames))


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
