"""Measuring a served model: what Triton is asked for, and that it is left as it was."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, Self

import pytest
from google.protobuf import json_format
from tritonclient import grpc
from tritonclient.grpc import model_config_pb2

from model_repo_builder import measure
from model_repo_builder.__main__ import main
from model_repo_builder.errors import Failed, Refused
from model_repo_builder.triton_config import TritonTensor, config_of
from tests.model_repo_builder.test_triton_config import DETECT
from yolofleet.api.curve import Curve

MODEL = replace(
    DETECT,
    inputs=(TritonTensor("frames", "UINT8", (-1, 64, 64, 3)), TritonTensor("iou", "FP32", (-1, 1), optional=True)),
    metadata=None,
)


@dataclass
class Triton:
    """A server that answers each batch after a while, and remembers how it was loaded."""

    loads: list[Any] = field(default_factory=list)
    shapes: set[tuple[str, tuple[int, ...]]] = field(default_factory=set)
    answer_s: float = 0.002
    fails_at: int = 0

    def __call__(self, _url: str) -> Triton:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def get_model_config(self, _name: str) -> Any:
        return SimpleNamespace(config=config_of(MODEL))

    def load_model(self, _name: str, *, config: str | None = None) -> None:
        made = json_format.Parse(config, model_config_pb2.ModelConfig()) if config else None
        self.loads.append(made)
        if config and len(self.loads) == self.fails_at:
            raise grpc.InferenceServerException("explicit model load / unload is not allowed")

    def infer(self, _name: str, inputs: list[Any], *, client_timeout: float) -> None:
        assert client_timeout > 0
        self.shapes |= {(each.name(), tuple(each.shape())) for each in inputs}
        time.sleep(self.answer_s)


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch) -> Triton:
    double = Triton()
    monkeypatch.setattr(measure.grpc, "InferenceServerClient", double)
    monkeypatch.setattr(measure, "FEWEST_SECONDS", 0.05)
    return double


ASK = measure.Ask(url="here", model="gate", endpoint="Frames", batches=(1, 4), instances=(2, 1), budget_s=0)


def test_every_point_is_asked_for_as_it_is(triton: Triton) -> None:
    told: list[float] = []
    points = measure.curve_points(ASK, lambda share, _: told.append(share))
    assert [(point.batch, point.instances) for point in points] == [(1, 1), (4, 1), (1, 2), (4, 2)]
    assert [(made.max_batch_size, made.instance_group[0].count) for made in triton.loads[:-1]] == [
        (1, 1),
        (4, 1),
        (1, 2),
        (4, 2),
    ]
    assert all(made.HasField("dynamic_batching") == (made.max_batch_size > 1) for made in triton.loads[:-1])
    assert all(each.batch_size <= made.max_batch_size for made in triton.loads[:-1] for each in made.model_warmup)
    assert triton.shapes == {("frames", (1, 64, 64, 3)), ("frames", (4, 64, 64, 3))}
    assert {point.host_bytes_per_frame for point in points} == {64 * 64 * 3}
    assert all(point.p50_microseconds >= 2000 for point in points)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_the_model_is_put_back(triton: Triton) -> None:
    measure.curve_points(ASK, lambda _, __: None)
    assert triton.loads[-1] is None


def test_a_server_without_model_control_is_told_what_it_lacks(triton: Triton) -> None:
    triton.fails_at = 2
    with pytest.raises(Failed, match="not allowed") as caught:
        measure.curve_points(ASK, lambda _, __: None)
    assert "--model-control-mode=explicit" in caught.value.remedy
    assert triton.loads[-1] is None


def test_batches_beyond_the_models_are_refused(triton: Triton) -> None:
    with pytest.raises(Refused, match="1 to 8"):
        measure.curve_points(replace(ASK, batches=(16,)), lambda _, __: None)
    assert triton.loads == [None]


def test_batches_are_powers_of_two_where_none_is_named() -> None:
    assert measure._batches(config_of(replace(MODEL, max_batch_size=12)), replace(ASK, batches=())) == [1, 2, 4, 8, 12]


def test_the_verb_writes_a_curve_and_its_reasons(
    triton: Triton, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--product", "CPU", "--sm-count", "1", "--budget", "0", "--out", str(tmp_path / "curve.json")]
    told = ["measure", "--model", "gate", "--endpoint", "Frames", "--batch", "2", "--instances", "1", *place]
    assert main([*told, "--objective-ms", "1000"]) == 0
    curve = Curve.model_validate(json.loads((tmp_path / "curve.json").read_text()))
    assert (curve.source, curve.product, len(curve.points)) == ("Measured", "CPU", 1)
    assert "queueDelay:" in capsys.readouterr().err
    assert triton.loads[-1] is None


def test_without_a_gpu_the_slice_must_be_named(triton: Triton, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", "--model", "gate"]) == 1
    assert "--product" in capsys.readouterr().err
    assert triton.loads == []


def test_requests_become_a_point() -> None:
    """Two workers, batches of 4, each answered in 10 ms: 800 frames a second."""
    runs = [(start + step * 0.01, start + (step + 1) * 0.01) for start in (0.0, 0.0) for step in range(100)]
    made = measure.summed("Frames", 4, 1, runs, weight=7)
    assert made.frames_per_second == 800
    assert made.p50_microseconds == made.p99_microseconds == 10_000
    with pytest.raises(Failed, match="no request ended"):
        measure.summed("Frames", 4, 1, [], weight=7)
