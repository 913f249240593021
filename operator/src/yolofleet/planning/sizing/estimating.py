"""A curve for slices that no engine of a recipe was measured on, from the work that its build found in the graph."""

from __future__ import annotations

from yolofleet.api.curve import Curve
from yolofleet.api.estimate import H200, UNSEEN, UNSEEN_GPU, Place, Rates, Work, estimated_points
from yolofleet.api.recipe import Endpoint, Recipe
from yolofleet.planning.capabilities import Gpu, Unknown, gpu_of, resolve
from yolofleet.planning.slices.profiles import WHOLE

HALF = frozenset({"FP16", "BF16", "INT8", "FP8"})
"""The law is of engines in FP16, whose speed the narrower formats have at least; the wider ones are slower by nobody
knows how much."""
DATA_SHEET: dict[str, tuple[float, float]] = {
    "A30": (165, 933),
    "A100-40GB": (312, 1555),
    "A100-80GB": (312, 2039),
    "H100-PCIe-80GB": (756, 2000),
    "H100-SXM-80GB": (989, 3350),
    "H200-141GB": (989, 4800),
}
"""Dense FP16 in TFLOPS and memory in GB/s, as NVIDIA's data sheets have them; other GPUs get no estimate."""
MEASURED = "H200-141GB"
COLOURS = 3
FLOAT_BYTES = 4


def may_be_estimated(recipe: Recipe) -> bool:
    """Tell whether the law speaks of such engines."""
    return recipe.backend == "TensorRT" and recipe.precision in HALF


def estimated(work: Work, recipe: Recipe, product: str, profile: str) -> Curve | None:
    """Return the estimated curve of a recipe on one kind of slice; None where no figure stands behind one."""
    if not may_be_estimated(recipe):
        return None
    gpu = gpu_of(product)
    if isinstance(gpu, Unknown) or (rates := _rates(gpu)) is None or (sms := _sms(gpu, profile)) is None:
        return None
    most = recipe.max_batch_size
    batches = sorted({most, *(2**power for power in range(most.bit_length()))})
    points = [
        point
        for endpoint in sorted(recipe.endpoints)
        if (weight := _host_bytes(endpoint, recipe)) is not None
        for point in estimated_points(work, Place(rates=rates, sms=sms, endpoint=endpoint, host_bytes=weight), batches)
    ]
    if not points:
        return None
    error = UNSEEN if gpu.key == MEASURED else UNSEEN_GPU
    return Curve(source="Estimated", error=error, product=product, profile=profile, sm_count=sms, points=points)


def _rates(gpu: Gpu) -> Rates | None:
    """Another GPU is taken to reach as much of its data sheet as the one that was measured."""
    if gpu.key not in DATA_SHEET:
        return None
    (tflops, gb_s), (told_tflops, told_gb_s) = DATA_SHEET[gpu.key], DATA_SHEET[MEASURED]
    return Rates(H200.tflops * tflops / told_tflops, H200.gb_s * gb_s / told_gb_s, gpu.sm_count)


def _sms(gpu: Gpu, profile: str) -> int | None:
    if profile == WHOLE:
        return gpu.sm_count
    worth = resolve(gpu, profile)
    return None if isinstance(worth, Unknown) else worth.sm_count


def _host_bytes(endpoint: Endpoint, recipe: Recipe) -> int | None:
    """Return what a frame weighs on its way to the GPU; None of pictures, whose size nobody knows beforehand."""
    size = recipe.image_size
    if endpoint == "Ultralytics":
        return size.height * size.width * COLOURS * FLOAT_BYTES
    if endpoint == "JPEG":
        return None
    told = recipe.frames
    area = told.source_size.height * told.source_size.width if told and told.source_size else size.height * size.width
    return area * 3 // 2 if told and told.format == "NV12" else area * COLOURS
