"""A curve that a build measured reaches YoloEngine.status without hands, but where one was given by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.planning.worlds import ARTIFACT, H100, NOW, POLICY, engine, job, result, snapshot
from yolofleet.api.build import BuildSlice
from yolofleet.api.curve import Curve
from yolofleet.api.recipe import Target
from yolofleet.api.yoloengine import YoloEngineStatus
from yolofleet.planning.builds.building import step
from yolofleet.planning.plan import plan
from yolofleet.planning.snapshot import EngineView
from yolofleet.render.status import engine_status

ROWS = [[0, 1, 1, 300, 3000, 3100, 4_915_200], [0, 8, 2, 1310, 6110, 6150, 4_915_200]]
ON = BuildSlice(way="Free", pool="default", profile="1g.10gb", resource="nvidia.com/mig-1g.10gb", product=H100)
SLICE = Target(compute_capability="9.0", sm_count=16, memory_mib=9984)


def ended(*, rows: list[list[int]] | None = None, on: BuildSlice | None = ON, **status: object) -> EngineView:
    """Return an engine whose build has just ended."""
    told = result("Published", artifact=ARTIFACT.wire(), rows=ROWS if rows is None else rows)
    made = engine(status=YoloEngineStatus(stage="Measure", **status))
    spec = made.spec.model_copy(update={"target": SLICE})
    return replace(made, spec=spec, job=job(active=False, succeeded=True, result=told, slice=on))


def test_what_was_measured_is_the_engines_curve() -> None:
    done = step(ended(), policy=POLICY, now=NOW, free_builds=0)
    curve = done.status.curve
    assert curve is not None
    assert (curve.source, curve.product, curve.profile, curve.sm_count) == ("Measured", H100, "1g.10gb", 16)
    assert [(one.batch, one.instances, one.frames_per_second) for one in curve.points] == [(1, 1, 300), (8, 2, 1310)]
    judged = next(one for one in engine_status(done, NOW).conditions if one.type == "Measured")
    assert (judged.status, judged.reason, judged.message) == ("True", "Measured", f"on 1g.10gb of {H100}")


def test_a_curve_that_was_given_by_hand_stays() -> None:
    given = Curve(source="Measured", product=H100, profile="1g.10gb", sm_count=16, points=[])
    assert step(ended(curve=given), policy=POLICY, now=NOW, free_builds=0).status.curve == given


@pytest.mark.parametrize(
    "odd",
    [
        {"rows": []},
        {"on": None},
        {"on": ON.model_copy(update={"product": ""})},
        {"rows": [[7, 1, 1, 300, 3000, 3100, 0]]},
        {"rows": [[0, 0, 1, 300, 3000, 3100, 0]]},
    ],
)
def test_what_does_not_say_which_slice_it_is_of_is_no_curve(odd: dict) -> None:
    assert step(ended(**odd), policy=POLICY, now=NOW, free_builds=0).status.curve is None


def test_a_published_engine_is_left_as_it_is() -> None:
    done = step(ended(), policy=POLICY, now=NOW, free_builds=0)
    at_rest = replace(done.view, status=done.status)
    (again,) = plan(snapshot(engines=(at_rest,))).engines
    assert again.status == done.status
