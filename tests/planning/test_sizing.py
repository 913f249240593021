"""What a slice serves within an objective: measured as it is, estimated on its lower edge, or why not."""

from __future__ import annotations

import pytest

from yolofleet.api.curve import Curve
from yolofleet.planning.capabilities import Capability, gpu_of, resolve
from yolofleet.planning.sizing.rates import Ask, Rate, rate_of, sized

H100, A100 = "NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-80GB"


def curve(source: str = "Measured", error: str = "0", profile: str = "1g.10gb", product: str = H100) -> Curve:
    points = [
        {"endpoint": "Ultralytics", "batch": b, "instances": 1, "framesPerSecond": f}
        | {"p50Microseconds": p, "p99Microseconds": p}
        for b, f, p in ((1, 200, 5_000), (8, 800, 20_000), (32, 1000, 60_000))
    ]
    return Curve.model_validate(
        {"source": source, "error": error, "product": product, "profile": profile, "smCount": 16, "points": points}
    )


def worth(product: str, profile: str) -> Capability:
    found = resolve(gpu_of(product), profile)  # type: ignore[arg-type]
    assert isinstance(found, Capability)
    return found


@pytest.mark.parametrize(("objective", "fps"), [(100, 800.0), (50, 640.0), (19, 160.0)])
def test_the_best_point_within_the_objective_counts_at_the_utilisation(objective: float, fps: float) -> None:
    found = rate_of(curve(), Ask("gate", 700, objective))
    assert isinstance(found, Rate)
    assert found.fps == pytest.approx(fps)


def test_an_estimate_counts_with_its_lower_edge() -> None:
    found = rate_of(curve("Estimated", "0.25"), Ask("gate", 700, 70))
    told = "800 fps − 25% at batch 8 × 80 % = 480 fps"  # 60 ms + 25 % is above 70
    assert found == Rate(480.0, told, "estimated, give or take 25%")


def test_an_objective_out_of_reach_is_told_with_both_figures() -> None:
    assert rate_of(curve(), Ask("gate", 700, 4)) == "its p99 is 5.0 ms at best, the objective 4 ms"


def test_each_kind_is_in_with_a_rate_or_out_with_a_reason() -> None:
    offered = {(p, s): worth(p, s) for p, s in ((H100, "1g.10gb"), (H100, "2g.20gb"), (A100, "1g.10gb"))}
    told = sized(Ask("gate", 700, 100, products=(H100,), curves=(curve(),)), offered)
    assert dict(told.need.rates) == {(H100, "1g.10gb"): 800.0}
    assert told.out == {
        (H100, "2g.20gb"): f"no curve for 2g.20gb of {H100} yet",
        (A100, "1g.10gb"): f"placement.products does not name {A100}",
    }


def test_jpeg_needs_an_engine_for_it() -> None:
    offered = {(A100, "1g.10gb"): worth(A100, "1g.10gb")}
    told = sized(Ask("gate", 700, 100, endpoint="JPEG", curves=(curve(product=A100),)), offered)
    assert told.out == {(A100, "1g.10gb"): f"1g.10gb of {A100} has no JPEG engine, and endpoint JPEG needs one"}


def test_jpeg_that_the_cpu_decodes_needs_no_engine_and_takes_none_from_those_who_do() -> None:
    offered = {(A100, profile): worth(A100, profile) for profile in ("1g.10gb", "1g.10gb+me")}
    asked = Ask("gate", 700, 100, endpoint="JPEG", backend="ONNXRuntime", curves=(jpeg_curve(),))
    told = sized(asked, offered)
    assert dict(told.need.rates) == {(A100, "1g.10gb"): 800.0}
    assert told.out == {
        (A100, "1g.10gb+me"): "1g.10gb+me is for those who need its media engines: a GPU has only one of them"
    }


def jpeg_curve() -> Curve:
    points = [point.model_copy(update={"endpoint": "JPEG"}) for point in curve().points]
    return curve(product=A100).model_copy(update={"points": points})


def test_a_measured_curve_goes_before_an_estimated_one() -> None:
    both = (curve("Estimated", "0.5"), curve("Measured"))
    told = sized(Ask("gate", 700, 100, profiles=("1g.10gb",), curves=both), {(H100, "1g.10gb"): worth(H100, "1g.10gb")})
    assert told.need.rates[H100, "1g.10gb"] == pytest.approx(800.0)


def test_the_host_link_holds_a_slice_to_its_share_and_says_so() -> None:
    """An H100's link is planned with 50.4 GB/s, a 1g with an eighth of that: 6.3 GB/s."""
    wide = curve().model_copy(
        update={"points": [one.model_copy(update={"host_bytes_per_frame": 9_000_000}) for one in curve().points]}
    )
    found = rate_of(wide, Ask("gate", 700, 100, utilization_percent=100))
    assert isinstance(found, Rate)
    assert found.fps == pytest.approx(700.0)
    assert "held to 700 by 6.3 GB/s of the host" in found.message
    told = rate_of(wide, Ask("gate", 700, 100, utilization_percent=100, links=((H100, 7.2e9),)))
    assert isinstance(told, Rate)
    assert told.fps == pytest.approx(100.0)
    # The smaller batch is as fast as the link allows: no frame waits longer than it must.
    assert "at batch 1" in told.message
