"""Write the shapes set in YOLO's folder layout: `python -m e2e.shapes.generate --out DIR`."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from e2e.shapes.geometry import CLASS_NAMES
from e2e.shapes.scene import Scene, draw_scene

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FIRST_INDEX = {"train": 0, "val": 1_000_000}  # so that a larger training set never runs into the pictures of val
_JPEG_QUALITY = 92


@dataclass(frozen=True)
class _Job:
    """One picture to write."""

    split: str
    number: int


def yolo_lines(scene: Scene) -> list[str]:
    """Return the scene's labels: class, centre x, centre y, width, height, each a fraction of the picture."""
    height, width = scene.image.shape[:2]
    x1, y1, x2, y2 = (scene.boxes / np.array([width, height, width, height])).T
    rows = np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], axis=1)
    return [f"{kind} " + " ".join(f"{v:.6f}" for v in row) for kind, row in zip(scene.classes, rows, strict=True)]


def write_dataset(out: Path, *, train: int, val: int, seed: int, imgsz: int, jobs: int = 1, classes: int = 0) -> Path:
    """Write pictures, labels and data.yaml under `out`, showing progress on stderr; return the path of data.yaml."""
    for split in FIRST_INDEX:
        for kind in ("images", "labels"):
            (out / kind / split).mkdir(parents=True, exist_ok=True)
    todo = [_Job("train", n) for n in range(train)] + [_Job("val", n) for n in range(val)]
    for done, _ in enumerate(_written(out, todo, seed=seed, imgsz=imgsz, jobs=jobs), start=1):
        if done % max(1, len(todo) // 20) == 0 or done == len(todo):
            sys.stderr.write(f"shapes: {done}/{len(todo)} pictures\n")
    data = out / "data.yaml"
    command = f"python -m e2e.shapes.generate --out DIR --train {train} --val {val} --seed {seed} --imgsz {imgsz}"
    data.write_text(_data_yaml(command, classes), encoding="utf-8")
    return data


def _written(out: Path, todo: Sequence[_Job], *, seed: int, imgsz: int, jobs: int) -> Iterator[None]:
    write = functools.partial(_write, out, seed, imgsz)
    if jobs <= 1:
        yield from map(write, todo)
        return
    with ProcessPoolExecutor(jobs, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.map(write, todo, chunksize=16)


def _write(out: Path, seed: int, imgsz: int, job: _Job) -> None:
    scene = draw_scene(seed, FIRST_INDEX[job.split] + job.number, imgsz=imgsz)
    picture = out / "images" / job.split / f"{job.number:06d}.jpg"
    if not cv2.imwrite(str(picture), scene.image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
        raise OSError(f"{picture} could not be written: is the folder writable and the disk not full?")
    label = out / "labels" / job.split / f"{job.number:06d}.txt"
    label.write_text("\n".join(yolo_lines(scene)) + "\n", encoding="utf-8")


def _data_yaml(command: str, classes: int) -> str:
    """Return data.yaml without `path`: Ultralytics then looks beside the file, so the folder may be moved."""
    never = [f"never{number}" for number in range(len(CLASS_NAMES), classes)]
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate([*CLASS_NAMES, *never]))
    return f"# {command}\ntrain: images/train\nval: images/val\nnames:\n{names}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m e2e.shapes.generate", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--train", type=int, default=6000, help="training pictures (default %(default)s)")
    parser.add_argument("--val", type=int, default=300, help="validation pictures (default %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="seed of the whole set (default %(default)s)")
    parser.add_argument("--imgsz", type=int, default=640, help="px of the longer side, ±25 %% (default %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--classes", type=int, default=0, help="pad the names to so many: a head as large as COCO's")
    args = parser.parse_args(argv)
    told = {name: value for name, value in vars(args).items() if name != "out"}
    data = write_dataset(args.out, **told)
    print(data)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
