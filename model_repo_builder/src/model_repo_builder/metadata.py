"""What the Ultralytics client must be told of a model, and how it is written where the client reads it."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from model_repo_builder.heads import TASK_OF, ULTRALYTICS_TASK, Head

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yolofleet.api.recipe import ImageSize, Task

MAX_CLASSES = 20_000
MAX_NAME = 200
MAX_LITERAL = 4 * 1024**2
LITERALS = frozenset({"stride", "batch", "channels", "imgsz", "names", "kpt_shape", "kpt_names", "args", "end2end"})
"""Keys whose value ultralytics writes as a Python literal (engine/exporter.py), as metadata_props hold text only."""


class BadMetadataError(ValueError):
    """Metadata that contradicts itself or can't be read; the caller knows whom to tell."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a model: `names` in the order of its classes, `stride` the largest."""

    head: Head
    names: tuple[str, ...]
    stride: int = 32
    channels: int = 3
    keypoint_names: Mapping[int, tuple[str, ...]] | None = None
    head_class: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Description, author, version and licence as the exporter wrote them."""


TEXTS = ("description", "author", "version", "license", "docs")


def triton_metadata(facts: Facts, size: ImageSize) -> dict[str, Any]:
    """Return the metadata for a Triton endpoint.

    `batch` is 1 and `args.dynamic` False whatever the engine can: else the client pads every request to the whole
    batch, or sends rectangles that a fixed-size engine rejects.
    """
    head = facts.head
    told: dict[str, Any] = {key: facts.texts[key] for key in TEXTS if facts.texts.get(key)}
    told |= {
        "stride": facts.stride,
        "task": ULTRALYTICS_TASK[head.task],
        "batch": 1,
        "imgsz": [size.height, size.width],
        "names": dict(enumerate(facts.names)),
        "args": {"batch": 1, "dynamic": False, "nms": False},
        "channels": facts.channels,
        "end2end": head.end_to_end,
    }
    if facts.head_class:
        told["head"] = facts.head_class
    if head.keypoints:
        told["kpt_shape"] = list(head.keypoints)
    if facts.keypoint_names:
        told["kpt_names"] = {index: list(names) for index, names in facts.keypoint_names.items()}
    return told


def literal(metadata: Mapping[str, Any]) -> str:
    """Return the Python literal that the client reads with ast.literal_eval."""
    text = repr(dict(metadata))
    if ast.literal_eval(text) != dict(metadata):
        raise BadMetadataError("the metadata does not survive as a Python literal")
    return text


def from_json(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Undo what JSON does to metadata: class numbers become numbers again."""
    numbered = ("names", "kpt_names")
    return {
        key: {int(number): name for number, name in value.items()} if key in numbered else value
        for key, value in metadata.items()
    }


def parse_props(props: Mapping[str, str]) -> dict[str, Any]:
    """Return the typed metadata of an ONNX file's metadata_props; {} where ultralytics wrote none."""
    told: dict[str, Any] = {key: value for key, value in props.items() if key in {*TEXTS, "task", "head"}}
    for key in LITERALS & set(props):
        if len(props[key]) > MAX_LITERAL:
            raise BadMetadataError(f"metadata {key!r} is too long")
        try:
            told[key] = ast.literal_eval(props[key])
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            raise BadMetadataError(f"metadata {key!r} is no Python literal: {props[key][:80]!r}") from None
    return told


def facts_from(told: Mapping[str, Any], *, masks: int = 0) -> Facts:
    """Return the facts that an exporter's metadata tells; it must name at least the task and the classes."""
    task = task_of(told.get("task"))
    names = class_names(told.get("names"))
    args = told.get("args") if isinstance(told.get("args"), dict) else {}
    head = Head(
        task=task,
        classes=len(names),
        keypoints=keypoint_shape(told.get("kpt_shape")) if task == "Pose" else None,
        masks=masks,
        end_to_end=bool(told.get("end2end")) or bool(args and args.get("nms")),
    )
    return Facts(
        head=head,
        names=names,
        stride=_positive(told.get("stride", 32), "stride"),
        channels=_positive(told.get("channels", 3), "channels"),
        keypoint_names=keypoint_names(told.get("kpt_names")),
        head_class=str(told.get("head", ""))[:MAX_NAME],
        texts={key: str(told[key])[:MAX_NAME] for key in TEXTS if key in told},
    )


def anonymous(head: Head) -> Facts:
    """Return facts for a model that says nothing of itself: class names are `class0` and so on."""
    return Facts(head=head, names=tuple(f"class{index}" for index in range(head.classes)))


def task_of(name: Any) -> Task:
    """Return the API's task for ultralytics' name of it."""
    if not isinstance(name, str) or name not in TASK_OF:
        raise BadMetadataError(f"the task {name!r} is not served; there are {', '.join(TASK_OF)}")
    return TASK_OF[name]


def class_names(names: Any) -> tuple[str, ...]:
    """Return class names in order, from ultralytics' dictionary or a list."""
    if isinstance(names, (list, tuple)):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names or len(names) > MAX_CLASSES:
        raise BadMetadataError(f"names must be 1 to {MAX_CLASSES} class names")
    numbered = {int(key): str(value) for key, value in names.items() if str(key).isdecimal()}
    if sorted(numbered) != list(range(len(names))):
        raise BadMetadataError("names must be numbered from 0 without a gap")
    return tuple(numbered[index][:MAX_NAME] for index in range(len(numbered)))


def keypoint_shape(shape: Any) -> tuple[int, int]:
    """Return (count, dimensions) of a pose model's keypoints."""
    match shape:
        case [int(count), 2 | 3 as dims] if count > 0:
            return count, dims
        case _:
            raise BadMetadataError(f"kpt_shape must be [count, 2 or 3], it is {shape!r}")


def keypoint_names(names: Any) -> dict[int, tuple[str, ...]] | None:
    """Return keypoint names per class, where a model has them."""
    if not isinstance(names, dict):
        return None
    return {int(key): tuple(map(str, value)) for key, value in names.items() if isinstance(value, (list, tuple))}


def _positive(value: Any, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadMetadataError(f"{key} must be a positive number, it is {value!r}")
    return value
