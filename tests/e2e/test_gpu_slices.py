"""What slices measured becomes figures; what MPS is told gives the SMs that are meant."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

pytest.importorskip("numpy")

from e2e.gpu import slices


@pytest.mark.parametrize("sms", [16, 32, 64])
def test_mps_rounds_down_to_the_sms_that_are_meant(sms: int) -> None:
    assert int(float(slices.percentage(sms)) / 100 * slices.WHOLE) == sms


def test_the_whole_gpu_is_a_hundred_percent() -> None:
    assert slices.percentage(slices.WHOLE) == "100"


def test_slices_of_a_layout_fit_on_the_gpu() -> None:
    assert all(sms * count <= slices.WHOLE for sms, count in slices.LAYOUTS.items() if sms < slices.WHOLE)


def test_rates_add_up_and_latencies_are_of_all() -> None:
    p50, p99, rate = slices.summed(8, [[10.0] * 50, [20.0] * 25])
    assert (p50, p99) == (10.0, 20.0)
    assert rate == pytest.approx(8 / 0.010 + 8 / 0.020)


class Played:
    """Two slices, one a little slower in each repeat."""

    def __init__(self) -> None:
        self.calls = 0

    def waits(self, count: int) -> list[list[float]]:
        self.calls += 1
        return [[float(self.calls)] * 10] * count


def test_the_first_run_warms_up_and_medians_are_of_the_rest() -> None:
    played = Played()
    assert slices.figures(played, 4, 2)["p50_ms"] == 4.0  # type: ignore[arg-type]
    assert played.calls == slices.REPEATS + 1


def test_engines_of_another_kind_are_named() -> None:
    asked = argparse.Namespace(out=Path("E"), model="yolo11n", kind="-on16")
    assert slices.plan_of(asked, 8) == Path("E/yolo11n-FP16-b8-on16.plan")
