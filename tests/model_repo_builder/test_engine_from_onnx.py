"""The compiler's order, retries and words, over a scripted TensorRT; real engines: `python -m e2e.gpu.bench`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_repo_builder import cuda_device, engine_from_onnx
from model_repo_builder.build_phases import fraction_of
from model_repo_builder.cuda_device import CudaDevice
from model_repo_builder.engine_from_onnx import able, compile_engine, ready
from model_repo_builder.engine_settings import BatchRange, EngineOptions
from model_repo_builder.errors import Failed, Refused
from tests.model_repo_builder import fake_tensorrt
from yolofleet.api.recipe import ImageSize, Target

SLICE = CudaDevice("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "9.0", 16, 9728)


def options(**changed: Any) -> EngineOptions:
    return EngineOptions(
        **{
            "precision": "FP16",
            "image_size": ImageSize(height=64, width=96),
            "batches": (BatchRange(1, 1, 1), BatchRange(1, 8, 32)),
            "target": Target(compute_capability="9.0", sm_count=16, memory_mib=9728),
            **changed,
        }
    )


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(**how: Any) -> Any:
        made = fake_tensorrt.module(**how)
        monkeypatch.setitem(sys.modules, "tensorrt", made)
        monkeypatch.setattr(cuda_device, "look", lambda: SLICE)
        return made

    return install


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"onnx")
    return path


def silent(_fraction: float, _words: str) -> None:
    return


def test_a_plan_is_written_whole_with_its_shapes_and_timings(tensorrt: Any, graph: Path) -> None:
    fake, cache, plan = tensorrt(), graph.parent / "timing.cache", graph.parent / "model.plan"
    cache.write_bytes(b"known")
    engine = compile_engine(graph, plan, options(timing_cache=cache), silent)
    assert plan.read_bytes() == b"ftrt plan"
    assert cache.read_bytes() == b"known+tactics"
    assert [t.dims for t in (*engine.inputs, *engine.outputs)] == [(-1, 3, 64, 96), (-1, 6, 126)]
    (config,) = fake.configs
    assert config.pool == 9728 // 2 * 1024**2, "half of the slice is the workspace's bound"
    assert [p.shapes["images"] for p in config.profiles] == [
        ((1, 3, 64, 96), (1, 3, 64, 96), (1, 3, 64, 96)),
        ((1, 3, 64, 96), (8, 3, 64, 96), (32, 3, 64, 96)),
    ]
    assert sorted(path.name for path in graph.parent.iterdir()) == ["model.onnx", "model.plan", "timing.cache"]


@pytest.mark.parametrize("content", [b"garbage", b"elsewhere"])
def test_timings_that_are_of_no_use_count_as_none(tensorrt: Any, graph: Path, content: bytes) -> None:
    tensorrt()
    cache = graph.with_name("timing.cache")
    cache.write_bytes(content)
    compile_engine(graph, graph.with_suffix(".plan"), options(timing_cache=cache), silent)
    assert cache.read_bytes() == b"+tactics"


def test_fp16_is_said_by_the_graph_and_the_others_by_flags(tensorrt: Any, graph: Path) -> None:
    fake = tensorrt()
    seen = {}
    for precision in ("FP32", "TF32", "BF16", "FP16"):
        compile_engine(graph, graph.with_suffix(".plan"), options(precision=precision), silent)
        seen[precision] = (fake.network.flags, fake.configs[-1].flags, fake.configs[-1].cleared)
    assert seen == {
        "FP32": (0, [], ["TF32"]),
        "TF32": (0, ["TF32"], []),
        "BF16": (0, ["BF16"], []),
        "FP16": (2, [], []),
    }


def test_out_of_memory_is_tried_again_with_less_and_said(tensorrt: Any, graph: Path) -> None:
    fake, heard = tensorrt(needs_mib=700), []
    engine = compile_engine(graph, graph.with_suffix(".plan"), options(), lambda _f, words: heard.append(words))
    assert [config.pool // 1024**2 for config in fake.configs] == [4864, 2432, 1216]
    assert engine.workspace_mib == 1216
    assert len(engine.notes) == 2
    assert all(note in heard for note in engine.notes)


def test_a_slice_that_is_too_small_is_said_after_four_tries(tensorrt: Any, graph: Path) -> None:
    fake = tensorrt(needs_mib=10)
    with pytest.raises(Failed, match="out of memory") as told:
        compile_engine(graph, graph.with_suffix(".plan"), options(), silent)
    assert len(fake.configs) == 1 + engine_from_onnx.HALVINGS
    assert (told.value.field, told.value.value) == ("spec.engine.maxBatchSize", "32")
    assert not graph.with_suffix(".plan").exists()


@pytest.mark.parametrize(
    ("how", "changed", "kind", "words"),
    [
        ({"parses": False}, {}, Refused, "No importer registered for op: Hyper"),
        ({"breaks": "Error Code 10: no implementation"}, {}, Failed, "Error Code 10"),
        ({}, {"target": Target(compute_capability="8.0", sm_count=14, memory_mib=4864)}, Failed, "capability 8.0"),
    ],
)
def test_what_does_not_compile_says_why_in_tensorrts_words(
    how: dict[str, Any], changed: dict[str, Any], kind: type[Exception], words: str, tensorrt: Any, graph: Path
) -> None:
    tensorrt(**how)
    with pytest.raises(kind, match=words):
        compile_engine(graph, graph.with_suffix(".plan"), options(**changed), silent)


def test_a_version_without_bf16_flags_refuses_it(tensorrt: Any, graph: Path) -> None:
    del tensorrt(version="11.2.0").BuilderFlag.BF16
    with pytest.raises(Refused, match=r"11\.2\.0 builds no BF16"):
        compile_engine(graph, graph.with_suffix(".plan"), options(precision="BF16"), silent)


def test_portable_engines_are_as_narrow_as_the_version_knows(tensorrt: Any, graph: Path) -> None:
    fake = tensorrt()
    compile_engine(graph, graph.with_suffix(".plan"), options(portable=True), silent)
    assert fake.configs[-1].hardware_compatibility_level == "AMPERE_PLUS"
    fake.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY = "SAME"
    compile_engine(graph, graph.with_suffix(".plan"), options(portable=True), silent)
    assert fake.configs[-1].hardware_compatibility_level == "SAME"


@pytest.mark.parametrize(
    ("asked", "device", "version", "kind", "words"),
    [
        ("FP8", SLICE, "10.6", Refused, "no FP8"),
        ("FP16", SLICE, None, Refused, "no TensorRT"),
        ("FP16", None, "10.6", Failed, "sees no GPU"),
    ],
)
def test_what_is_missing_is_said_before_tensorrt_is_touched(
    asked: Any, device: CudaDevice | None, version: str | None, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        ready(asked, device, version)


def test_fp8_wants_a_device_that_multiplies_it() -> None:
    with pytest.raises(Refused, match=r"does not multiply FP8, which begins with compute capability 8\.9"):
        able("FP8", CudaDevice("NVIDIA A100", "8.0", 108, 81920), "10.6")
    assert able("FP8", SLICE, "10.6") == SLICE


def test_a_machine_without_a_driver_has_no_device() -> None:
    assert cuda_device.look("libthere-is-no-such-driver.so.1") is None


def test_progress_is_nested() -> None:
    phases: dict[str, tuple[str | None, int, int]] = {"build": (None, 4, 1), "timing": ("build", 2, 1)}
    assert fraction_of(phases) == pytest.approx((1 + 0.5) / 4)
    assert fraction_of({}) == 0.0


@given(
    st.dictionaries(
        st.sampled_from("abcd"), st.tuples(st.sampled_from([None, *"abcd"]), st.integers(0, 5), st.integers(0, 9))
    )
)
def test_whatever_phases_there_are_progress_is_a_fraction(phases: dict[str, tuple[str | None, int, int]]) -> None:
    assert 0.0 <= fraction_of(phases) <= 1.0
