"""Every combination that the builder writes for ONNX Runtime is loaded by the real tritonserver, and has no trap."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from e2e import images
from yolofleet.render.serving import triton_args
from yolofleet.settings import ServingSettings

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(2500)]


def test_every_combination_is_loaded_as_it_is_written_and_answers() -> None:
    """Five tasks × endpoints × batches × instances, tuned by a curve and not."""
    built = images.build_images(["builder", "triton"])
    names = ("libpython", "tritonserver")
    server = [layer for layer in built["triton"].layers if layer.rootfs.parent.name.startswith(names)]
    image = replace(built["builder"], layers=(*built["builder"].layers, *server))
    done = images.run(
        image,
        ["python3", "-W", "ignore", "-m", "e2e.builder.combinations"],
        binds={ROOT / "e2e": "/repo/e2e"},
        env={"PYTHONPATH": "/repo", "OMP_NUM_THREADS": "1", "TRITON_ARGS": json.dumps(triton_args(ServingSettings()))},
        timeout_s=2400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    told: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    print(f"{len(told)} combinations")
    assert len(told) >= 240
    assert {case: wrong for case, wrong in told.items() if wrong} == {}
