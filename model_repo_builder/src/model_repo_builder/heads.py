"""What the outputs of a YOLO head look like for each task, batch axis left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from yolofleet.api.recipe import Task

Shape: TypeAlias = tuple[int, ...]
BOX = 4
END_TO_END_ROW = 6
"""x1, y1, x2, y2, score, class: what an end-to-end head says of each box before the task's own channels."""
MAX_END_TO_END = 1000
KEYPOINT_DIMS = (2, 3)
PROTO_RANK = 3
ULTRALYTICS_TASK: dict[Task, str] = {
    "Detect": "detect",
    "Segment": "segment",
    "Pose": "pose",
    "OBB": "obb",
    "Classify": "classify",
}
TASK_OF: dict[str, Task] = {name: task for task, name in ULTRALYTICS_TASK.items()}


@dataclass(frozen=True, kw_only=True)
class Head:
    """All that decides the outputs' shapes; `keypoints` is (count, 2 or 3), `masks` the number of prototypes."""

    task: Task
    classes: int
    keypoints: tuple[int, int] | None = None
    masks: int = 0
    end_to_end: bool = False

    def extra(self) -> int:
        """Return how many channels the task adds to each box."""
        keypoints = self.keypoints[0] * self.keypoints[1] if self.keypoints else 0
        return {"Segment": self.masks, "Pose": keypoints, "OBB": 1}.get(self.task, 0)


def mismatch(head: Head, outputs: tuple[Shape, ...]) -> str | None:
    """Return why these outputs can't be those of the head, or None."""
    wanted = 2 if head.task == "Segment" else 1
    if len(outputs) != wanted:
        return f"{head.task} has {wanted} output(s), the model has {len(outputs)}"
    if head.task == "Classify":
        right = outputs[0] == (head.classes,)
        return None if right else f"Classify with {head.classes} classes has ({head.classes},), the model {outputs[0]}"
    if head.task == "Segment" and (len(outputs[1]) != PROTO_RANK or outputs[1][0] != head.masks):
        return f"Segment has prototypes ({head.masks}, height, width), the model {outputs[1]}"
    channels = (END_TO_END_ROW if head.end_to_end else BOX + head.classes) + head.extra()
    axis = 1 if head.end_to_end else 0
    if len(outputs[0]) != 2 or outputs[0][axis] != channels:  # noqa: PLR2004 - channels and anchors
        return (
            f"{head.task} of {head.classes} classes has {channels} channels on axis {axis + 1}, the model {outputs[0]}"
        )
    return None


def derived(task: Task, outputs: tuple[Shape, ...]) -> Head | None:
    """Return the head that the outputs speak of where no metadata does; a pose model is taken to know one class."""
    masks = outputs[1][0] if task == "Segment" and len(outputs) == 2 and outputs[1] else 0  # noqa: PLR2004
    if task == "Classify":
        head = Head(task=task, classes=outputs[0][0]) if outputs and len(outputs[0]) == 1 else None
    elif not outputs or len(outputs[0]) != 2:  # noqa: PLR2004 - channels and anchors
        head = None
    elif _is_end_to_end(task, outputs[0], masks):
        head = _end_to_end(task, outputs[0], masks)
    else:
        head = _raw(task, outputs[0][0], masks)
    if head is None or head.classes < 1 or (task == "Pose") != (head.keypoints is not None):
        return None
    return head if mismatch(head, outputs) is None else None


def _is_end_to_end(task: Task, shape: Shape, masks: int) -> bool:
    """Tell rows of boxes (300, 6 and more) from channels of anchors (4 and classes, thousands)."""
    if task == "Pose":
        return shape[0] > shape[1]
    width = END_TO_END_ROW + Head(task=task, classes=1, masks=masks).extra()
    return shape[0] <= MAX_END_TO_END and shape[1] == width


def _raw(task: Task, channels: int, masks: int) -> Head:
    if task == "Pose":
        return Head(task=task, classes=1, keypoints=_keypoints(channels - BOX - 1))
    extra = Head(task=task, classes=1, masks=masks).extra()
    return Head(task=task, classes=channels - BOX - extra, masks=masks)


def _end_to_end(task: Task, shape: Shape, masks: int) -> Head:
    """An end-to-end head does not tell how many classes it knows; one is the least."""
    keypoints = _keypoints(shape[1] - END_TO_END_ROW) if task == "Pose" else None
    return Head(task=task, classes=1, keypoints=keypoints, masks=masks, end_to_end=True)


def _keypoints(channels: int) -> tuple[int, int] | None:
    dims = next((dims for dims in reversed(KEYPOINT_DIMS) if channels > 0 and channels % dims == 0), None)
    return (channels // dims, dims) if dims else None
