"""What a curve tunes Triton to: laws, and the words for each number."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_repo_builder import endpoint_models
from model_repo_builder.errors import Failed
from model_repo_builder.measure import summed
from model_repo_builder.triton_config import config_of
from model_repo_builder.tuning import LONGEST_DELAY_US, NEARLY, Tuning, Wanted, tuned
from tests.model_repo_builder.test_triton_config import DETECT
from yolofleet.api.build import ServeRequest
from yolofleet.api.curve import Curve


def point(batch: int, instances: int, fps: int, p99_ms: float, endpoint: str = "Ultralytics") -> dict[str, Any]:
    micro = round(p99_ms * 1000)
    counts = {"batch": batch, "instances": instances, "framesPerSecond": fps}
    return {"endpoint": endpoint, **counts, "p50Microseconds": micro, "p99Microseconds": micro}


def curve(*points: dict[str, Any], **more: Any) -> Curve:
    place = {"product": "NVIDIA-H200", "profile": "gpu", "smCount": 132}
    return Curve.model_validate({"source": "Measured", **place, "points": list(points), **more})


def wanted(p99_ms: float = 50, **more: Any) -> Wanted:
    told: dict[str, Any] = {"endpoint": "Ultralytics", "backend": "TensorRT", "max_batch_size": 32}
    return Wanted(p99_ms=p99_ms, **{**told, **more})


H200 = curve(
    *[point(1, 1, 1130, 1.22), point(4, 1, 3714, 1.3), point(8, 1, 5691, 1.43), point(16, 1, 7297, 2.22)],
    *[point(8, 2, 7655, 2.5), point(16, 2, 9358, 3.6), point(16, 4, 9650, 6.9)],
)
"""A whole H200, yolo11n."""


def numbers(found: Tuning | str) -> tuple[int, int]:
    assert isinstance(found, Tuning), found
    return found.max_batch_size, found.instances


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


def test_every_number_has_its_reason() -> None:
    found = tuned(H200, wanted())
    assert isinstance(found, Tuning)
    assert set(found.reasons) == {"instances", "maxBatchSize", "queueDelay", "preferredBatches", "cudaGraphs"}
    assert "9358 frames/s" in found.reasons["maxBatchSize"]
    assert "a quarter" in found.reasons["queueDelay"]


def test_graphs_and_preferred_batches() -> None:
    dynamic = tuned(H200, wanted())
    static = tuned(H200, wanted(static_batches=(1, 8, 16, 32)))
    cpu = tuned(H200, wanted(backend="ONNXRuntime"))
    assert isinstance(dynamic, Tuning)
    assert isinstance(static, Tuning)
    assert isinstance(cpu, Tuning)
    assert (dynamic.preferred_batches, dynamic.graph_batches) == ((), (1, 2, 4, 8, 16))
    assert (static.preferred_batches, static.graph_batches) == ((8, 16), (1, 8, 16))
    assert cpu.graph_batches == ()


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
    found = tuned(made, wanted(p99, max_batch_size=most))
    fit = [each for each in made.points if each.p99_microseconds / 1000 <= p99 and each.batch <= most]
    assert isinstance(found, str) == (not fit)
    if isinstance(found, str):
        return
    same = [each for each in fit if (each.batch, each.instances) == numbers(found)]
    assert max(each.frames_per_second for each in same) >= NEARLY * max(each.frames_per_second for each in fit)
    assert 0 <= found.queue_delay_microseconds <= LONGEST_DELAY_US
    slowest = min(each.p99_microseconds for each in same)
    assert slowest + found.queue_delay_microseconds <= p99 * 1000
    assert all(batch <= found.max_batch_size for batch in (*found.graph_batches, *found.preferred_batches))


@given(POINTS, st.floats(0.1, 100), st.floats(0, 100))
def test_a_looser_objective_never_serves_much_less(points: list[dict[str, Any]], p99: float, more: float) -> None:
    made = curve(*points)

    def served(found: Tuning | str) -> float:
        if isinstance(found, str):
            return 0.0
        here = [each for each in made.points if (each.batch, each.instances) == numbers(found)]
        return max(each.frames_per_second for each in here)

    assert served(tuned(made, wanted(p99 + more))) >= NEARLY * served(tuned(made, wanted(p99))) - 1


def test_a_model_is_assembled_with_its_numbers() -> None:
    told = {"key": "0" * 64, "modelName": "gate", "maxBatchSize": 32, "curve": H200.wire(), "objectiveMilliseconds": 50}
    request = ServeRequest.model_validate(told)
    gpu = endpoint_models.tuned_model(
        DETECT.__class__(**{**DETECT.__dict__, "backend": "TensorRT", "max_batch_size": 32}), "Ultralytics", request
    )
    config = config_of(gpu)
    assert (config.max_batch_size, config.instance_group[0].count) == (16, 2)
    assert [spec.batch_size for spec in config.optimization.cuda.graph_spec] == [1, 2, 4, 8, 16]
    assert {each.batch_size for each in config.model_warmup} == {1, 2, 4, 8, 16}
    assert endpoint_models.tuned_model(gpu, "Frames", request) == gpu


def test_requests_become_a_point() -> None:
    """Two workers, batches of 4, each answered in 10 ms: 800 frames a second."""
    runs = [(start + step * 0.01, start + (step + 1) * 0.01) for start in (0.0, 0.0) for step in range(100)]
    made = summed("Frames", 4, 1, runs, weight=7)
    assert made.frames_per_second == 800
    assert made.p50_microseconds == made.p99_microseconds == 10_000
    with pytest.raises(Failed, match="no request ended"):
        summed("Frames", 4, 1, [], weight=7)
