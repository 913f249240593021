"""What the images hold, and what they must not."""

from __future__ import annotations

from e2e.images import build_images, run

HEAVY = ("torch", "ultralytics", "tensorrt", "onnxruntime")
PROBE = f"import importlib.util as u; print([m for m in {HEAVY} if u.find_spec(m)])"


def found_in(image: str) -> str:
    """Return which of the heavy modules an image can import."""
    return run(build_images([image])[image], ["python3", "-c", PROBE]).stdout.strip()


def test_the_operator_image_holds_no_torch_no_ultralytics_no_tensorrt() -> None:
    """The AGPL and the gigabytes stay in the builder image."""
    assert found_in("operator") == "[]"


def test_the_builder_image_holds_what_it_builds_with() -> None:
    """And no tensorrt on a bench without a GPU."""
    assert found_in("builder") == "['torch', 'ultralytics', 'onnxruntime']"
