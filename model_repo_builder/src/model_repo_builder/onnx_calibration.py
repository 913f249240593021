"""Writes INT8 scales into an ONNX graph (Q/DQ), from what its layers do on a user's frames."""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from model_repo_builder import onnx_graph, onnx_quantized, quantization_lint
from model_repo_builder.errors import Failed, Refused
from model_repo_builder.onnx_precision import decoding
from yolofleet.api.build import FEWEST_PICTURES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from model_repo_builder.onnx_graph import Array

AT_ONCE = 8
"""Frames that are run together; scales do not depend on it."""
JOINING = frozenset({"Concat", "Add", "MatMul"})
QUANTIZED = ("Conv",)
"""Attention's products keep FP16: they are small, and lose most."""
OPTIONS: dict[str, Any] = {
    "ActivationSymmetric": True,  # TensorRT knows no zero points
    "WeightSymmetric": True,
    "AddQDQPairToWeight": True,  # weights stay float, with their scales beside them
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": list(QUANTIZED),  # SiLU comes first, as the compiler fuses it
}


class Frames:
    """ONNX Runtime's way of asking for calibration data: one dictionary after the other, then None."""

    def __init__(self, name: str, batches: Iterable[Array]) -> None:
        self._name, self._batches, self._seen = name, iter(batches), 0

    def get_next(self) -> dict[str, Array] | None:
        """Return the next batch; Refused where too few have come when there are no more."""
        batch = next(self._batches, None)
        if batch is None and self._seen < FEWEST_PICTURES:
            raise Refused(
                field="spec.engine.calibration",
                value=f"{self._seen} frames",
                message="too few frames to calibrate on",
                remedy=f"give {FEWEST_PICTURES} at least; a few hundred of the cameras' own are best",
            )
        self._seen += 0 if batch is None else len(batch)
        return None if batch is None else {self._name: batch}


def batched(frames: Array) -> Iterator[Array]:
    """Yield frames a few at a time."""
    yield from (frames[start : start + AT_ONCE] for start in range(0, len(frames), AT_ONCE))


def quantize(source: Path, target: Path, batches: Iterable[Array], *, leave_out: Collection[str] = ()) -> int:
    """Write `source` with the scales of its convolutions; return how many have them.

    `batches` are (N, C, H, W) as the model takes them. Stem and head stay as they are: three channels gain nothing, and
    boxes and scores have no room for 256 steps. `leave_out` names others. Floats stay FP32; `onnx_precision.half` goes
    on from here.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    model = _named(_unscaled(onnx.load(str(source))))
    kept = {*stem(model.graph), *head(model.graph), *leave_out}
    layers = sum(node.op_type in QUANTIZED and node.name not in kept for node in model.graph.node)
    if not layers:
        raise _refused("no convolution stands between the stem and the head: there is nothing to quantise")
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch, _without_advice():
        named = Path(scratch) / "named.onnx"
        onnx.save(model, str(named))
        calibrated = Path(scratch) / "calibrated.onnx"
        quantize_static(
            str(named),
            str(calibrated),
            Frames(onnx_graph.inputs_of(model)[0].name, batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED),
            nodes_to_exclude=sorted(kept),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=OPTIONS,
        )
        made = onnx_quantized.finished(onnx.load(str(calibrated)), kept)
    if wrong := quantization_lint.problems(made, kept):
        raise Failed(
            message=f"the calibrated graph breaks TensorRT's rules: {'; '.join(wrong[:3])}",
            remedy="set spec.engine.precision: FP16, and report this model",
        )
    onnx.save(made, str(target))
    return layers


@contextmanager
def _without_advice() -> Iterator[None]:
    """Leave out what ONNX Runtime tells the root logger: it advises pre-processing that torch has done already."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


def stem(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the convolutions that take the frames themselves."""
    given = {told.name for told in graph.input}
    return [node.name for node in graph.node if node.op_type in QUANTIZED and node.input[0] in given]


def head(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the convolutions behind the last place where ways meet: all that they do ends in boxes.

    Quantised too, the small model of the shapes set moved its scores by 0.1 where it now moves them by 0.04.
    """
    last = decoding(graph)
    leads_to_layer: set[str] = set()
    leads_to_join: set[str] = set()
    found: list[str] = []
    for place, node in reversed(list(enumerate(graph.node))):
        layer = node.op_type in QUANTIZED and place not in last
        joins = node.op_type in JOINING and leads_to_layer.intersection(node.output)
        if node.op_type in QUANTIZED and not leads_to_join.intersection(node.output):
            found.append(node.name)
        if layer or leads_to_layer.intersection(node.output):
            leads_to_layer.update(node.input)
        if joins or leads_to_join.intersection(node.output):
            leads_to_join.update(node.input)
    return found


def _unscaled(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model, or refuse one that has scales of its own."""
    if any(node.op_type == onnx_quantized.QUANTIZE for node in model.graph.node):
        raise _refused("the ONNX file is quantised already")
    return model


def _refused(message: str) -> Refused:
    remedy = "give another file, or set spec.engine.precision: FP32 and leave spec.engine.calibration out"
    return Refused(field="spec.engine.precision", value="INT8", message=message, remedy=remedy)


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Names are how ONNX Runtime is told what to leave out."""
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    return model
