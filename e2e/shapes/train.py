"""Train a nano YOLO on the shapes set: `python -m e2e.shapes.train --data DIR/data.yaml --out DIR`.

Needs torch and ultralytics (AGPL-3.0), hence so are this script's weights; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e.shapes.checkpoint import pickled_globals
from e2e.shapes.geometry import CLASS_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

DATASET_NAME = "shapes.yaml"  # what the checkpoint says it was trained on, in place of a path
HEADS = {"one_to_many": None, "one_to_one": False}  # head → Ultralytics' `nms` that selects it


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights, besides the data, the library versions and the GPU."""

    model: str = "yolo26n"
    epochs: int = 60
    batch: int = 64
    imgsz: int = 640
    seed: int = 7
    optimizer: str = "AdamW"
    lr0: float = 0.002
    lrf: float = 0.01
    cos_lr: bool = True
    warmup_epochs: float = 2.0
    mosaic: float = 0.0  # a scene is as crowded as a mosaic already
    close_mosaic: int = 0
    scale: float = 0.4
    fliplr: float = 0.5
    flipud: float = 0.5
    hsv_h: float = 0.1
    hsv_s: float = 0.5
    hsv_v: float = 0.3
    time: float | None = None  # hours, in place of epochs


def stay_offline(settings: Path) -> None:
    """Keep Ultralytics from fetching a font, a model for its AMP self-test, packages or settings."""
    os.environ["YOLO_CONFIG_DIR"] = str(settings)
    os.environ["YOLO_AUTOINSTALL"] = "false"
    settings.mkdir(parents=True, exist_ok=True)
    from ultralytics.data import utils as data_utils
    from ultralytics.engine import trainer

    data_utils.check_font = lambda *_: None
    trainer.check_amp = lambda model: next(model.parameters()).device.type == "cuda"


def fit(recipe: Recipe, *, data: Path, out: Path, device: str, workers: int) -> Path:
    """Train from the YAML that Ultralytics ships and return its last checkpoint."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    class Trainer(DetectionTrainer):  # type: ignore[misc]
        def read_results_csv(self) -> dict[str, Any]:
            return {}  # the log travels as results.csv, not inside the checkpoint (and so polars is not needed)

    settings = asdict(recipe) | {
        "model": f"{recipe.model}.yaml",
        "data": str(data),
        "project": str(out.resolve()),
        "name": "run",
        "exist_ok": True,
        "pretrained": False,
        "val": False,  # once, at the end
        "plots": False,
        "cache": "ram",
        "device": device,
        "workers": workers,
        "deterministic": True,
    }
    trainer = Trainer(overrides=settings)
    trainer.train()
    return Path(trainer.last)


def publish(checkpoint: Path, target: Path, recipe: Recipe) -> None:
    """Write the model alone, in fp16, with nothing in it of the machine that trained it."""
    import torch
    from ultralytics import __version__
    from ultralytics.nn.tasks import DetectionModel

    trained = torch.load(checkpoint, map_location="cpu", weights_only=False)["model"].float()
    layers = trained.yaml | {"yaml_file": f"{recipe.model}.yaml"}
    model = DetectionModel(layers, nc=layers["nc"], verbose=False)
    model.load_state_dict(trained.state_dict())
    model.names = dict(trained.names)
    model.args = asdict(recipe) | {"task": "detect", "model": f"{recipe.model}.yaml", "data": DATASET_NAME}
    model.task = "detect"
    for parameter in model.parameters():
        parameter.requires_grad = False
    content = {
        "epoch": -1,
        "model": model.half().eval(),
        "train_args": model.args,
        "version": __version__,
        "license": "AGPL-3.0 (https://ultralytics.com/license)",
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, target)


def evaluate(weights: Path, *, data: Path, out: Path, imgsz: int, device: str) -> dict[str, Any]:
    """Measure mAP on the validation pictures, once through each head the model has."""
    from ultralytics import YOLO

    heads = HEADS if hasattr(YOLO(weights).model.model[-1], "one2one_cv2") else {"one_to_many": None}
    report = {}
    for head, nms in heads.items():
        box = (
            YOLO(weights)
            .val(data=str(data), imgsz=imgsz, device=device, nms=nms, plots=False, project=str(out), name=f"val-{head}")
            .box
        )
        report[head] = {
            "map50": round(float(box.map50), 4),
            "map50_95": round(float(box.map), 4),
            "per_class": {
                CLASS_NAMES[kind]: {"map50": round(float(ap50), 4), "map50_95": round(float(ap), 4)}
                for kind, ap50, ap in zip(box.ap_class_index, box.ap50, box.ap, strict=True)
            },
        }
    return report


def describe(weights: Path, recipe: Recipe, *, metrics: dict[str, Any], data: Path) -> dict[str, Any]:
    """Return the card that travels with the weights."""
    import cv2
    import numpy as np
    import torch
    import ultralytics

    dataset_command = data.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    return {
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "size_bytes": weights.stat().st_size,
        "classes": list(CLASS_NAMES),
        "license": "AGPL-3.0: trained with ultralytics, from its model YAML",
        "metrics": metrics,
        "recipe": asdict(recipe),
        "commands": [
            dataset_command,
            _training_command(recipe),
        ],
        "date": datetime.now(UTC).date().isoformat(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "ultralytics": ultralytics.__version__,
            "numpy": np.__version__,
            "opencv": cv2.__version__,
        },
        "globals": list(pickled_globals(weights)),
    }


def _training_command(recipe: Recipe) -> str:
    chosen = {name: getattr(recipe, name) for name in ("model", "epochs", "batch", "imgsz", "seed")}
    options = " ".join(f"--{name} {value}" for name, value in chosen.items())
    return f"python -m e2e.shapes.train --data DIR/data.yaml --out OUT {options}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m e2e.shapes.train", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="data.yaml of e2e.shapes.generate")
    parser.add_argument("--out", type=Path, required=True, help="folder for the run, the weights and metrics.json")
    parser.add_argument("--model", default=Recipe.model, help="a detection YAML of ultralytics (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--batch", type=int, default=Recipe.batch)
    parser.add_argument("--imgsz", type=int, default=Recipe.imgsz)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--no-evaluation", action="store_true", help="write the weights only")
    parser.add_argument("--time", type=float, help="hours to train for, in place of --epochs")
    parser.add_argument("--device", default="0", help="0 for the first GPU, or cpu (default %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args(argv)
    recipe = Recipe(
        model=args.model, epochs=args.epochs, batch=args.batch, imgsz=args.imgsz, seed=args.seed, time=args.time
    )
    stay_offline(args.out / "settings")
    checkpoint = fit(recipe, data=args.data, out=args.out, device=args.device, workers=args.workers)
    weights = args.out / f"{recipe.model}-shapes.pt"
    publish(checkpoint, weights, recipe)
    if args.no_evaluation:
        return 0
    metrics = evaluate(weights, data=args.data, out=args.out.resolve(), imgsz=recipe.imgsz, device=args.device)
    card = describe(weights, recipe, metrics=metrics, data=args.data)
    (args.out / "metrics.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({head: {k: v for k, v in m.items() if k != "per_class"} for head, m in metrics.items()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
