"""The extractors of Triton's and DCGM's pages agree with the parser of the whole format, and name what is wrong."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from yolofleet.observe import dcgm, triton
from yolofleet.observe.triton import Counters, began_anew, extract, rates

PAGE = (Path(__file__).parent / "pages/triton.txt").read_text()
"""As the real tritonserver of the bench printed it for a model `gate`."""


def parsed(page: str, model: str) -> Counters:
    """Read a page with the whole parser."""
    sums: dict[str, float] = dict.fromkeys(triton.SUMMED.values(), 0.0)
    p99 = None
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            short = sample.name.removeprefix("nv_inference_").removesuffix("_total")
            if sample.labels.get("model") != model or not sample.name.startswith("nv_inference_"):
                continue
            if short in triton.SUMMED:
                sums[triton.SUMMED[short]] += sample.value
            if short == "request_summary_us" and sample.labels["quantile"] == "0.99" and not math.isnan(sample.value):
                p99 = max(p99 or 0.0, sample.value)
    return Counters(p99_us=p99, **sums)


def test_the_real_page_is_read_as_the_whole_parser_reads_it() -> None:
    assert extract(PAGE.encode(), "gate") == parsed(PAGE, "gate")
    assert parsed(PAGE, "gate").infer_us > 0


LABEL = st.text(alphabet=st.sampled_from('ab"\\\n{},= é'), max_size=6)
VALUE = st.one_of(st.integers(0, 10**12), st.floats(0, 1e12, allow_nan=False))


def escaped(told: str) -> str:
    return told.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["gate", "gate-2", "other"]), st.integers(1, 3), LABEL, VALUE, VALUE), max_size=6
    )
)
def test_any_page_of_that_form_is_read_as_the_whole_parser_reads_it(rows) -> None:
    """Several models and versions, labels with every character that the format escapes."""
    lines = ["# HELP nv_inference_count x", "# TYPE nv_inference_count counter"]
    for n, (model, version, label, value, other) in enumerate(rows):
        labels = f'{{odd="{escaped(label)}{n}",model="{model}",version="{version}"}}'
        counted = ("request_success", "compute_infer_duration_us", "count")
        lines += [f"nv_inference_{family}{labels} {value}" for family in counted]
        lines.append(f"nv_inference_pending_request_count{labels} {other}")
    page = "\n".join(lines) + "\n"
    told = extract(page.encode(), "gate")
    if any(model == "gate" for model, *_ in rows):
        assert told == parsed(page, "gate")
    else:
        assert told == "its metrics do not name the model gate"


@pytest.mark.parametrize("value", ["NaN", "-1", "+Inf", "1e300", "x", "1_000"])
def test_an_absurd_value_is_named(value) -> None:
    broken = PAGE.replace(
        'nv_inference_count{model="gate",version="1"} 1', f'nv_inference_count{{model="gate"}} {value}'
    )
    assert broken != PAGE
    assert extract(broken.encode(), "gate") == f"nv_inference_count of model gate is {value}"


def test_a_summary_whose_window_is_empty_says_nothing() -> None:
    empty = PAGE.replace('quantile="0.99"} 155198', 'quantile="0.99"} Nan')
    told = extract(empty.encode(), "gate")
    assert isinstance(told, Counters)
    assert told.p99_us is None


def test_other_models_of_the_same_triton_are_left_out() -> None:
    assert extract(PAGE.encode(), "gat") == "its metrics do not name the model gat"
    assert extract(b"<html>404</html>", "gate") == "its metrics do not name the model gate"


def test_every_endpoint_counts_once_and_a_picture_that_was_not_decoded_is_a_failure() -> None:
    raw = PAGE.replace('model="gate"', 'model="gate_frames"')
    whole = extract(PAGE.encode(), "gate")
    assert extract(raw.encode(), "gate") == whole, "frames alone are served"
    both = extract((PAGE + raw).encode(), "gate")
    assert isinstance(whole, Counters)
    assert isinstance(both, Counters)
    assert both.success == 2 * whole.success > 0
    assert (both.infer_us, both.p99_us) == (2 * whole.infer_us, whole.p99_us)
    labels = 'model="gate_jpeg_decode",reason="BACKEND",version="1"'
    pictures = [f"nv_inference_request_failure{{{labels}}} 7", *raw.replace("gate_frames", "gate_jpeg").splitlines()]
    pictures += raw.replace("gate_frames", "gate_jpeg_decode").splitlines()
    told = extract("\n".join([*raw.splitlines(), *pictures, ""]).encode(), "gate")
    assert told == replace(whole, failure=whole.failure + 7), "neither the ensemble nor the decoder counts again"


def test_two_looks_make_rates() -> None:
    before = Counters(success=100, frames=100, executions=50, queue_us=1000, infer_us=1e6, pending=1)
    after = Counters(success=300, failure=10, frames=300, executions=100, queue_us=5000, infer_us=9e6, pending=11)
    told = rates(before, after, seconds=4)
    assert told.served_fps == 50
    assert told.failed_fps == 2.5
    assert told.arrival_fps == 55, "answered, failed, and ten more that wait"
    assert told.queue_us == 20
    assert told.mean_batch == 4
    assert told.busy == pytest.approx(0.5), "8 s of requests, four of which shared each execution, in 4 s"


def test_nothing_between_two_looks_is_zero_and_not_unknown() -> None:
    same = Counters(success=5, frames=5, executions=5, infer_us=100, pending=3)
    told = rates(same, same, seconds=2)
    assert (told.arrival_fps, told.served_fps, told.busy, told.queue_us, told.mean_batch) == (0, 0, 0, None, None)


def test_frames_in_one_request_count_as_frames() -> None:
    before, after = Counters(), Counters(success=10, frames=80, executions=10, infer_us=1e6, failure=1)
    told = rates(before, after, seconds=1)
    assert (told.served_fps, told.arrival_fps, told.failed_fps) == (80, 88, 8)


@given(
    st.builds(Counters, *[st.floats(0, 1e9)] * 8),
    st.lists(st.floats(0, 1e9), min_size=8, max_size=8),
    st.floats(0.1, 100),
)
def test_rates_are_never_negative_and_shares_never_above_one(before, grown, seconds) -> None:
    facts = {k: v for k, v in vars(before).items() if k != "p99_us"}
    after = Counters(**{k: v + g for (k, v), g in zip(facts.items(), grown, strict=True)})
    told = rates(before, after, seconds=seconds)
    assert min(told.arrival_fps, told.served_fps, told.failed_fps, told.busy) >= 0
    assert told.busy <= 1


def test_a_counter_that_fell_is_a_new_life_and_a_falling_queue_is_not() -> None:
    assert began_anew(Counters(success=5), Counters(success=4))
    assert not began_anew(Counters(success=5, pending=3), Counters(success=5, pending=0))


# DCGM


def row(family: str, value: str, **labels: str) -> str:
    named = {"gpu": "0", "GPU_I_PROFILE": "1g.10gb", "GPU_I_ID": "7"} | labels
    return f"DCGM_FI_{family}{{" + ",".join(f'{k}="{v}"' for k, v in named.items()) + f"}} {value}\n"


def test_engine_activity_goes_by_namespace_and_pod() -> None:
    page = (
        row(dcgm.ENGINE, "0.25", namespace="cams", pod="p0")
        + row(dcgm.ENGINE, "0.75", namespace="cams", pod="p0", GPU_I_ID="8")
        + row(dcgm.ENGINE, "0.5", namespace="cams", pod="p0", GPU_I_ID="9")
        + row(dcgm.TENSOR, "0.1", namespace="cams", pod="p0")
        + row(dcgm.ENGINE, "0.5", namespace="other", pod="p0")
        + row(dcgm.ENGINE, "0")
    )
    told = dcgm.extract(page.encode())
    assert told.pods[("cams", "p0")] == dcgm.Activity(engine=0.75, tensor=0.1)
    assert told.pods[("other", "p0")].engine == 0.5
    assert (told.rows, told.unnamed) == (5, 1)
    assert "no row for pod cams/p1" in told.why_not("cams", "p1")


@pytest.mark.parametrize(
    ("what", "page", "words"),
    [
        ("missing family", row(dcgm.TENSOR, "0.1", namespace="cams", pod="p0"), "does not tell DCGM_FI_PROF_GR_ENGINE"),
        ("lost labels", row(dcgm.ENGINE, "0.5"), "names no pods"),
        ("new slices missing", row(dcgm.ENGINE, "0.5", namespace="cams", pod="old"), "no row for pod cams/p0"),
        ("absurd", row(dcgm.ENGINE, "9.2e18", namespace="cams", pod="p0"), "no row for pod cams/p0"),
    ],
)
def test_each_known_defect_has_words_and_no_figure(what, page, words) -> None:
    told = dcgm.extract(page.encode())
    assert told.pods.get(("cams", "p0"), dcgm.Activity()).engine is None
    assert words in told.why_not("cams", "p0")
