"""What is broken at random is refused in words, and nothing published: weights, ONNX, engines, pictures, metadata.

LAW_CASES=400 for the thorough run; each case is a seed, so that a failure is repeated by its number.
"""

from __future__ import annotations

import json
import os
import random
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_repo_builder import engine_gate
from model_repo_builder.engine_file import read, write_plan
from model_repo_builder.errors import Origin
from model_repo_builder.gates import Bars
from tests.model_repo_builder import small_yolo
from tests.model_repo_builder.making import Bench, TinyYolo, checkpoint, names, pickled, pvc, request
from tests.model_repo_builder.test_calibration import drawn
from yolofleet.api.build import Calibration
from yolofleet.api.sources import Source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from yolofleet.api.build import BuildResult

CASES = int(os.environ.get("LAW_CASES", "40"))
"""Of each of the six kinds: 240 in CI."""
Dice = random.Random


def _drop_node(model: onnx.ModelProto, dice: Dice) -> None:
    del model.graph.node[dice.randrange(len(model.graph.node))]


def _cut_edge(model: onnx.ModelProto, dice: Dice) -> None:
    node = dice.choice(list(model.graph.node))
    node.input[dice.randrange(len(node.input))] = f"nothing{dice.random()}"


def _unknown_operator(model: onnx.ModelProto, dice: Dice) -> None:
    dice.choice(list(model.graph.node)).op_type = f"Plugin{dice.randrange(1000)}_TRT"


def _other_domain(model: onnx.ModelProto, dice: Dice) -> None:
    dice.choice(list(model.graph.node)).domain = f"com.example{dice.randrange(9)}"


def _no_number(model: onnx.ModelProto, dice: Dice) -> None:
    weights = model.graph.initializer[0]
    values = numpy_helper.to_array(weights).copy()
    values.flat[dice.randrange(values.size)] = dice.choice([np.nan, np.inf, -np.inf])
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))


def _other_shape(model: onnx.ModelProto, dice: Dice) -> None:
    weights = model.graph.initializer[0]
    weights.dims[dice.randrange(4)] += dice.choice([1, 7, 2**40])


def _other_input(model: onnx.ModelProto, dice: Dice) -> None:
    tensor = model.graph.input[0].type.tensor_type
    if dice.random() < 0.5:
        tensor.elem_type = dice.choice([TensorProto.INT8, TensorProto.STRING, TensorProto.DOUBLE, TensorProto.BOOL])
    else:
        tensor.shape.dim[dice.randrange(1, 4)].dim_value = dice.choice([1, 2, 65, 10**6])


def _no_output(model: onnx.ModelProto, dice: Dice) -> None:
    model.graph.output[0].name = f"elsewhere{dice.randrange(9)}"


def _elsewhere(model: onnx.ModelProto, dice: Dice) -> None:
    tensor = dice.choice(list(model.graph.initializer))
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=dice.choice(["../../etc/passwd", "weights.bin", "/dev/zero"]))


HARMS: list[Callable[[onnx.ModelProto, Dice], None]] = [
    _drop_node,
    _cut_edge,
    _unknown_operator,
    _other_domain,
    _no_number,
    _other_shape,
    _other_input,
    _no_output,
    _elsewhere,
]


def onnx_graph(path: Path, dice: Dice) -> None:
    model = TinyYolo(batch=dice.choice(["batch", 1])).model()
    dice.choice(HARMS)(model, dice)
    path.write_bytes(model.SerializeToString())


def onnx_bytes(path: Path, dice: Dice) -> None:
    """Cut, zeros from somewhere on, or foreign bytes in front: never a flip in a weight, which nobody sees."""
    whole = TinyYolo().model().SerializeToString()
    cut = dice.randrange(1, len(whole) - 1)
    kind = dice.randrange(3)
    path.write_bytes([whole[:cut], whole[:cut] + bytes(len(whole) - cut), dice.randbytes(16) + whole][kind])


WRONG: dict[str, list[Any]] = {
    "names": ["{0: 'a'}", "{0: 'a', 5: 'b'}", "{-1: 'a', 0: 'b'}", "[", "{}", "None", "('a',) * 10**9", "{'a': 1}"],
    "task": ["depth", "", "DETECT", "['detect']", "segment", "pose", "0"],
    "stride": ["-1", "0", "'x'", "True", "32.5", "[32]", "["],
    "channels": ["0", "-3", "'rgb'", "(((((("],
}


def onnx_metadata(path: Path, dice: Dice) -> None:
    model = TinyYolo().model()
    key = dice.choice(sorted(WRONG))
    told = {prop.key: prop.value for prop in model.metadata_props} | {key: dice.choice(WRONG[key])}
    del model.metadata_props[:]
    helper.set_model_props(model, told)
    path.write_bytes(model.SerializeToString())


FORBIDDEN = ["os.system", "builtins.eval", "subprocess.Popen", "posix.system", "torch.hub.load", "numpy.load"]


def weights(path: Path, dice: Dice) -> None:
    """A checkpoint that is cut, has a flipped bit where it is packed, or names what no checkpoint needs."""
    kind = dice.randrange(3)
    program = pickled(dice.choice(FORBIDDEN)) if kind == 2 else pickled("collections.OrderedDict")
    whole = bytearray(checkpoint(path, program).read_bytes())
    if kind == 0:
        whole = whole[: dice.randrange(5, len(whole) - 1)]
    elif kind == 1:
        whole[whole.index(b"\0" * 4096) + dice.randrange(4096)] ^= 1 << dice.randrange(8)
    path.write_bytes(bytes(whole))


def engine(path: Path, dice: Dice) -> None:
    """An engine with Ultralytics' header, broken in its length, its JSON, its metadata or its plan."""
    told: dict[str, Any] = {"task": "detect", "names": names(2), "stride": 32, "batch": 1, "imgsz": [64, 64]}
    key = dice.choice([*sorted(told), "", ""])
    if key:
        told[key] = dice.choice([None, -1, "x", [], {}, True, [64], {"0": "a", "7": "b"}])
    header = json.dumps(told).encode()
    header = header[: dice.randrange(2, len(header))] if key == "" and dice.random() < 0.5 else header
    length = len(header) if dice.random() < 0.8 else dice.choice([0, 1, 2**31, len(header) + 5])
    magic = b"ftrt" if dice.random() < 0.8 else dice.randbytes(4)
    path.write_bytes(length.to_bytes(4, "little") + header + magic + bytes(64))


def _without_most(told: dict[str, bytes], dice: Dice) -> None:
    for name in dice.sample(sorted(told), dice.randrange(5, len(told) + 1)):
        del told[name]


def _no_picture(told: dict[str, bytes], dice: Dice) -> None:
    told[dice.choice(sorted(told))] = dice.choice([b"", b"<html>", b"GIF89a", b"%!PS-Adobe", dice.randbytes(200)])


def _half_a_picture(told: dict[str, bytes], dice: Dice) -> None:
    name = dice.choice(sorted(told))
    told[name] = told[name][: dice.randrange(1, len(told[name]) // 2)]  # its last bytes nobody misses


def _other_suffix(told: dict[str, bytes], dice: Dice) -> None:
    suffix = dice.choice([".tif", ".txt", ".png.gz", ""])
    for name in list(told):
        told[name.removesuffix(".png") + suffix] = told.pop(name)


def _bad_data(told: dict[str, bytes], dice: Dice) -> None:
    told["data.yaml"] = dice.choice([b"train: [", b"train: train.txt", b"train: [a, b]", b"train: ../..", b"train: 7"])


PICTURES = {f"{number}.png": drawn(number) for number in range(12)}
SPOIL = [_without_most, _no_picture, _half_a_picture, _other_suffix, _bad_data]


def pictures(path: Path, dice: Dice) -> None:
    """An archive with something wrong in it, cut short, with a flipped bit in a picture, or none at all."""
    told, kind = dict(PICTURES), dice.randrange(8)
    if kind < len(SPOIL):
        SPOIL[kind](told, dice)
    with zipfile.ZipFile(path, "w") as made:
        for name, content in told.items():
            made.writestr(name, content)
    whole = bytearray(path.read_bytes())
    if kind == 5:
        whole = whole[: dice.randrange(len(whole) - 22)]
    elif kind == 6:
        whole[whole.index(PICTURES["5.png"]) + dice.randrange(len(PICTURES["5.png"]))] ^= 1 << dice.randrange(8)
    elif kind == 7:
        whole[:] = dice.choice([b"", b"\x1f\x8b" + dice.randbytes(99), b"<html>404</html>", dice.randbytes(99)])
    path.write_bytes(bytes(whole))


KINDS: dict[str, tuple[str, Callable[[Path, Dice], None]]] = {
    "graph": ("m.onnx", onnx_graph),
    "bytes": ("m.onnx", onnx_bytes),
    "metadata": ("m.onnx", onnx_metadata),
    "weights": ("best.pt", weights),
    "engine": ("best.engine", engine),
}


def clear(result: BuildResult) -> bool:
    """A sentence on what is wrong, which field and value it is about, and what to do."""
    told = result.failure
    return (
        result.outcome in {"Refused", "Failed"}
        and told is not None
        and len(told.message) > 10
        and len(told.remedy) > 10
        and (result.outcome == "Failed" or bool(told.field and told.value))
        and "Traceback" not in told.message
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_broken_is_refused_in_words_and_not_published(kind: str, tmp_path: Path) -> None:
    name, break_it = KINDS[kind]
    bench = Bench(tmp_path)
    unclear: list[str] = []
    for seed in range(CASES):
        break_it(bench.source / name, Dice(f"{kind} {seed}"))
        wanted = request(pvc(name))
        try:
            result = bench.build(wanted)
        except Exception as error:  # noqa: BLE001 - all that goes wrong is listed with its seed
            unclear.append(f"{seed}: {type(error).__name__}: {error}")
            continue
        if not clear(result):
            unclear.append(f"{seed}: {result}")
        if bench.store.find(wanted.key) is not None:
            unclear.append(f"{seed}: published")
    assert unclear == []
    assert bench.leftovers() == []


def test_broken_pictures_are_refused_in_words_and_nothing_is_published(bench: Bench) -> None:
    onnx.save(small_yolo.SmallYolo().model(), str(bench.source / "m.onnx"))
    told = Calibration(source=Source.model_validate(pvc("frames.zip")), images=12)
    wanted, unclear = request(pvc("m.onnx"), calibration=told), []
    for seed in range(CASES):
        pictures(bench.root / "calibration" / "frames.zip", Dice(f"pictures {seed}"))
        result = bench.build(wanted)
        if not clear(result) or not result.failure.field.startswith("spec.engine.calibration"):
            unclear.append(f"{seed}: {result}")
    assert unclear == []
    assert bench.store.find(wanted.key) is None
    assert bench.leftovers() == []


def test_pictures_that_are_not_broken_are_taken(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engine_gate.BARS, "INT8", Bars(box_iou=0.5, score_slack=0.5, lost_share=0.5))
    onnx.save(small_yolo.SmallYolo().model(), str(bench.source / "m.onnx"))
    with zipfile.ZipFile(bench.root / "calibration" / "frames.zip", "w") as made:
        for name, content in PICTURES.items():
            made.writestr(name, content)
    told = Calibration(source=Source.model_validate(pvc("frames.zip")), images=12)
    assert bench.build(request(pvc("m.onnx"), calibration=told)).outcome == "Published"


def test_what_is_not_broken_is_published(bench: Bench) -> None:
    """Or the test above would pass by refusing everything."""
    TinyYolo().save(bench.source / "m.onnx")
    assert bench.build(request(pvc("m.onnx"))).outcome == "Published"


CALIBRATION = [None, {}, {"images": 0}, {"images": -1, "source": {"builtin": "x"}}, {"source": {}}, "frames", 7]


@pytest.mark.parametrize("told", CALIBRATION)
def test_broken_calibration_is_refused_by_the_api(told: Any) -> None:
    from yolofleet.api.yolodeployment import YoloDeploymentSpec

    with pytest.raises(ValueError, match="calibration"):
        YoloDeploymentSpec.model_validate(
            {"model": {"builtin": "yolo26n"}, "engine": {"precision": "INT8", "calibration": told}}
        )


def test_an_engines_header_is_stripped_and_its_metadata_kept(tmp_path: Path) -> None:
    told = {"task": "pose", "names": {"0": "person"}, "stride": 32, "batch": 8, "imgsz": [384, 640]}
    header = json.dumps(told | {"kpt_shape": [17, 3]}).encode()
    plan = b"ftrt" + random.Random(0).randbytes(1000)
    path = tmp_path / "best.engine"
    path.write_bytes(len(header).to_bytes(4, "little") + header + plan)
    found = read(path, Origin("spec.model.pvc.path", "best.engine"))
    assert found.sentence() == "Pose of 1 classes, 384x640, batch 8"
    assert found.facts.head.keypoints == (17, 3)
    write_plan(path, found, tmp_path / "model.plan")
    assert (tmp_path / "model.plan").read_bytes() == plan
