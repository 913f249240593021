"""What a curve tunes Triton to: laws, and the words for each number."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from yolofleet.api.curve import Curve
from yolofleet.api.tuning import LONGEST_DELAY_US, NEARLY, ModelTuning, Tuned, Wanted, doable, tuned


def point(batch: int, instances: int, fps: int, p99_ms: float, endpoint: str = "Ultralytics") -> dict[str, Any]:
    micro = round(p99_ms * 1000)
    counts = {"batch": batch, "instances": instances, "framesPerSecond": fps}
    return {"endpoint": endpoint, **counts, "p50Microseconds": micro, "p99Microseconds": micro}


def curve(*points: dict[str, Any], **more: Any) -> Curve:
    place = {"product": "NVIDIA-H200", "profile": "gpu", "smCount": 132}
    return Curve.model_validate({"source": "Measured", **place, "points": list(points), **more})


def wanted(p99_ms: float = 50, **more: Any) -> Wanted:
    told: dict[str, Any] = {"endpoint": "Ultralytics", "backend": "TensorRT"}
    return Wanted(p99_ms=p99_ms, **{**told, **more})


H200 = curve(
    *[point(1, 1, 1130, 1.22), point(4, 1, 3714, 1.3), point(8, 1, 5691, 1.43), point(16, 1, 7297, 2.22)],
    *[point(8, 2, 7655, 2.5), point(16, 2, 9358, 3.6), point(16, 4, 9650, 6.9)],
)
"""A whole H200, yolo11n."""


def model(found: Tuned | str) -> ModelTuning:
    assert isinstance(found, Tuned), found
    return found.model


def numbers(found: Tuned | str) -> tuple[int, int]:
    return model(found).max_batch_size, model(found).instances


def test_the_best_point_is_taken_but_not_for_a_trifle() -> None:
    """Four instances serve 3 % more than two: not worth their memory."""
    assert numbers(tuned(H200, wanted())) == (16, 2)


def test_a_tight_objective_asks_for_less() -> None:
    assert numbers(tuned(H200, wanted(2.3))) == (16, 1)
    assert numbers(tuned(H200, wanted(1.25))) == (1, 1)


def test_what_cannot_be_met_is_said_with_both_figures() -> None:
    assert tuned(H200, wanted(1)) == "its p99 is 1.2 ms at best, the objective 1 ms"
    assert "no point" in str(tuned(H200, wanted(endpoint="Frames")))


def test_an_estimate_counts_with_its_lower_edge() -> None:
    assert numbers(tuned(curve(point(8, 1, 900, 9), source="Estimated", error="0.05"), wanted(10))) == (8, 1)
    assert "objective" in str(tuned(curve(point(8, 1, 900, 9), source="Estimated", error="0.2"), wanted(10)))


def test_every_number_has_its_reason_and_all_its_curve() -> None:
    found = tuned(H200, wanted())
    assert isinstance(found, Tuned)
    assert set(found.reasons) == {"instances", "maxBatchSize", "queueDelay", "preferredBatches", "cudaGraphs"}
    assert "9358 frames/s" in found.reasons["maxBatchSize"]
    assert "a quarter" in found.reasons["queueDelay"]
    assert found.message.startswith("measured curve of gpu of NVIDIA-H200; maxBatchSize: batch 16 serves")


def test_an_estimate_is_told_as_one_with_its_error() -> None:
    found = tuned(curve(point(8, 1, 900, 9), source="Estimated", error="0.35"), wanted())
    assert isinstance(found, Tuned)
    assert found.source.startswith("estimated curve of gpu of NVIDIA-H200, give or take 35%: counted by its lower edge")


def test_graphs_and_preferred_batches() -> None:
    dynamic = model(tuned(H200, wanted()))
    static = model(tuned(H200, wanted(static_batches=(1, 8, 16, 32))))
    cpu = model(tuned(H200, wanted(backend="ONNXRuntime")))
    assert (dynamic.preferred_batches, dynamic.cuda_graph_batches) == (None, [1, 2, 4, 8, 16])
    assert (static.preferred_batches, static.cuda_graph_batches) == ([8, 16], [1, 8, 16])
    assert cpu.cuda_graph_batches is None


def test_batches_that_the_host_cannot_feed_are_not_filled() -> None:
    """With 1 MB a frame and 4 GB/s, 4,000 frames a second come through: a batch of 8 serves as many as one of 16."""
    wide = [one.model_copy(update={"host_bytes_per_frame": 1_000_000}) for one in H200.points]
    found = tuned(H200.model_copy(update={"points": wide}), wanted(most_bytes=4e9))
    assert numbers(found) == (8, 1)
    assert isinstance(found, Tuned)
    assert "serves 4000 frames/s" in found.reasons["maxBatchSize"]
    assert "the host's link lets 4 GB/s through" in found.reasons["maxBatchSize"]


POINTS = st.lists(
    st.builds(
        point,
        st.sampled_from([1, 2, 3, 4, 8, 16, 32]),
        st.integers(1, 4),
        st.integers(0, 20_000),
        st.floats(0.1, 200),
    ),
    min_size=1,
    max_size=20,
)


@given(POINTS, st.floats(0.1, 200), st.integers(1, 64))
def test_the_objective_holds_and_nearly_the_best_is_served(points: list[dict[str, Any]], p99: float, most: int) -> None:
    made = curve(*points)
    found = tuned(doable(made, most), wanted(p99))
    fit = [each for each in made.points if each.p99_microseconds / 1000 <= p99 and each.batch <= most]
    assert isinstance(found, str) == (not fit)
    if isinstance(found, str):
        return
    same = [each for each in fit if (each.batch, each.instances) == numbers(found)]
    assert max(each.frames_per_second for each in same) >= NEARLY * max(each.frames_per_second for each in fit)
    told = found.model
    assert 0 <= told.queue_delay_microseconds <= LONGEST_DELAY_US
    slowest = min(each.p99_microseconds for each in same)
    assert slowest + told.queue_delay_microseconds <= p99 * 1000
    assert all(batch <= told.max_batch_size for batch in told.cuda_graph_batches or [])


@given(POINTS, st.floats(0.1, 100), st.floats(0, 100))
def test_a_looser_objective_never_serves_much_less(points: list[dict[str, Any]], p99: float, more: float) -> None:
    made = curve(*points)

    def served(found: Tuned | str) -> float:
        if isinstance(found, str):
            return 0.0
        here = [each for each in made.points if (each.batch, each.instances) == numbers(found)]
        return max(each.frames_per_second for each in here)

    assert served(tuned(made, wanted(p99 + more))) >= NEARLY * served(tuned(made, wanted(p99))) - 1
