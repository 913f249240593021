"""What a gate saw, for people: a page of figures and the worst frames drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from PIL.ImageDraw import ImageDraw

    from model_repo_builder.boxes import Boxes
    from model_repo_builder.gates import Agreement, FrameAgreement

SAME, LOST, INVENTED = (60, 200, 60), (230, 40, 40), (40, 110, 255)
"""Colours: seen by both, by the reference only, by the candidate only."""
WORST = 4


def write(
    folder: Path, seen: Agreement, picture: Callable[[int], npt.NDArray[np.uint8]], *, worst: int = WORST
) -> list[Path]:
    """Write `gate.json` and the worst frames as PNG files; `picture` gives a frame (H, W, 3), RGB, by its number."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "gate.json"
    page.write_text(json.dumps(figures(seen), indent=1) + "\n", encoding="utf-8")
    return [page, *(drawn(folder, frame, picture(frame.index)) for frame in seen.worst(worst))]


def figures(seen: Agreement) -> dict[str, Any]:
    """Return all figures as JSON has them."""
    return {
        "sentence": seen.sentence(),
        "failings": seen.failings(),
        "boxes": seen.boxes,
        "frames": [
            {
                "index": frame.index,
                "reference": len(frame.reference),
                "candidate": len(frame.candidate),
                "lost": len(frame.lost),
                "invented": len(frame.invented),
                "lowestIou": round(frame.lowest_iou, 5),
                "scoreGap": round(frame.score_gap, 5),
            }
            for frame in seen.frames
        ],
    }


def drawn(folder: Path, frame: FrameAgreement, picture: npt.NDArray[np.uint8]) -> Path:
    """Draw one frame: green where both agree, red what the candidate lost, blue what it invented."""
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(np.ascontiguousarray(picture))
    pen = ImageDraw.Draw(canvas)
    for ours, _ in frame.pairs:
        _box(pen, frame.reference, ours, SAME)
    for index in frame.lost:
        _box(pen, frame.reference, index, LOST)
    for index in frame.invented:
        _box(pen, frame.candidate, index, INVENTED)
    target = folder / f"frame-{frame.index:04d}.png"
    canvas.save(target)
    return target


def _box(pen: ImageDraw, boxes: Boxes, index: int, colour: tuple[int, int, int]) -> None:
    x1, y1, x2, y2 = (float(value) for value in boxes.corners[index])
    pen.rectangle((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), outline=colour, width=2)
    pen.text((x1 + 3, y1 + 2), f"{int(boxes.classes[index])} {boxes.scores[index]:.2f}", fill=colour)
