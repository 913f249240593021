"""The benchmark as steps in blocks, each short enough for a machine that is lent by the minute: data, no doing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SHAPES = "model_repo_builder/src/model_repo_builder/weights/yolo26n-shapes.pt"
BLOCK_S = 480
"""A block takes no longer, if its steps take what is expected of them."""
REWRITES = "--rewrite split --rewrite dfl --rewrite stem"
EIGHT = "--precision INT8 --rewrite dfl --rewrite stem"


@dataclass(frozen=True)
class Step:
    """One command; `alone`: nothing else runs beside it. It waits for what it `needs` to have ended.

    `expected_s` is what it took, or a guess: a step begins only where so much time is left.
    """

    name: str
    command: str
    needs: tuple[str, ...] = ()
    alone: bool = False
    limit_s: int = 600
    expected_s: int = 30


@dataclass(frozen=True)
class Plan:
    """All blocks over one folder, the most wanted first; blocks may run at once, each on a GPU of its own."""

    out: Path

    def blocks(self) -> dict[str, list[Step]]:
        """Return the steps by the name of their block, in the order in which they run."""
        return {
            "models": self.models(),
            "engines": self.engines(),
            "frames": self.frames(),
            "batches": self.batches(),
            "variants": self.variants(),
            "int8": self.int8(),
            "medium": self.medium(),
            "fp8": self.fp8(),
            "slices": self.slices(),
            "attention": self.attention(),
            "product": self.product(),
            "served": self.served(),
        }

    def models(self) -> list[Step]:
        """Data, weights, ONNX, scales: the GPU trains, so that nothing is measured here."""
        out, train = self.out, f"e2e.shapes.train --data {self.out}/shapes/data.yaml --workers 15 --no-evaluation"

        def trained(model: str, hours: float) -> Step:
            command = f"{train} --out {out}/train-{model} --model {model} --time {hours}"
            return Step(f"train-{model}", command, ("shapes",), limit_s=300, expected_s=round(hours * 3600) + 25)

        weights = " ".join(f"{model}={out}/train-{model}/{model}-shapes.pt" for model in ("yolo11n", "yolo11m"))
        models = f"e2e.gpu.models --out {out}/models {weights} yolo26n={SHAPES} yolo12n"
        return [
            Step(
                "shapes",
                f"e2e.shapes.generate --out {out}/shapes --train 3000 --val 300 --classes 80",
                expected_s=20,
            ),
            trained("yolo11n", 0.019),
            trained("yolo11m", 0.04),
            Step("models", models, ("train-yolo11n", "train-yolo11m"), expected_s=30),
            *[self._calibrated(model) for model in ("yolo11n", "yolo11m")],
        ]

    def engines(self) -> list[Step]:
        """yolo11n at batch 8, built alone, beside torch, and once more from its timing cache."""
        build = self.built("yolo11n", 8, seconds=195)
        return [
            build,
            self._compiled("default", 8),
            self.bench("bench-b8", "--model yolo11n --batch 8 --torch-compile default", build.name, seconds=40),
            self._measured("rates", f"e2e.gpu.roofline rates --rows {self.out}/rows/rates.json", seconds=10),
            self._measured(
                "accuracy", f"e2e.gpu.accuracy {self._labelled()} --model yolo11n --rows {self._rows('accuracy')}"
            ),
            self.built("yolo11n", 8, "--rebuild --tag again", seconds=20),
        ]

    def batches(self) -> list[Step]:
        """yolo11n at batch 1 and 32 in the same way; kernels are timed anew for each batch."""
        built = [self.built("yolo11n", batch, seconds=195) for batch in (32, 1)]
        names = tuple(step.name for step in built)
        batches = "--batch 8 --batch 32 --batch 1"
        return [*built, self.bench("bench-batches", f"--model yolo11n {batches}", *names, seconds=40)]

    def variants(self) -> list[Step]:
        """What may beat torch.compile at 8 and 32, each a row of one run; the gate says which of them count.

        Their builds begin with the timings of the plain engines.
        """
        options = [REWRITES, f"{REWRITES} --free", "--aux-streams 3", f"{REWRITES} --level 4"]
        built = [
            self.built("yolo11n", batch, told, f"build-yolo11n-b{batch}", seconds=45)
            for told in options
            for batch in (8, 32)
        ]
        names = tuple(step.name for step in built[:2])
        batches = "--batch 8 --batch 32 --batch 1"
        return [
            *built,
            self.bench("bench-variants", f"--model yolo11n {batches} --torch-compile default", *names, seconds=90),
        ]

    def int8(self) -> list[Step]:
        """INT8 of yolo11n beside FP16 and torch.compile, and its mAP."""
        built = [self.built("yolo11n", batch, EIGHT, seconds=150) for batch in (8, 32)]
        names = tuple(step.name for step in built)
        batches = "--batch 8 --batch 32 --torch-compile default"
        return [
            *built,
            self.bench("bench-int8", f"--model yolo11n {batches}", *names, seconds=90),
            self._judged("yolo11n", 8),
        ]

    def medium(self) -> list[Step]:
        """yolo11m in FP16 and in INT8."""
        built = [self.built("yolo11m", 8, options, seconds=190) for options in (REWRITES, EIGHT)]
        return [
            *built,
            self.bench("bench-yolo11m", "--model yolo11m --batch 8 --torch-compile default", built[0].name, seconds=60),
            self._judged("yolo11m", 8),
        ]

    def fp8(self) -> list[Step]:
        """FP8 beside INT8, FP16 and torch.compile in one run."""
        fp8 = self.built("yolo11n", 32, "--precision FP8 --rewrite dfl --rewrite stem", seconds=150)
        beside = (fp8.name, "build-yolo11n-b32", self.built("yolo11n", 32, EIGHT, seconds=0).name)
        return [
            fp8,
            self.bench("bench-fp8", "--model yolo11n --batch 32 --torch-compile default", *beside, seconds=60),
            self._judged("yolo11n", 32),
        ]

    def slices(self) -> list[Step]:
        """Curves by SMs, and an engine whose kernels were chosen for 16 SMs on the others."""
        common = f"{self._common()} --model yolo11n --batch 8 --batch 1 --batch 32 --torch-batch 8"
        plain = tuple(f"build-yolo11n-b{batch}" for batch in (8, 1, 32))
        narrow = f"{self._common()} yolo11n --batch 8 --tag on16 --rebuild"
        return [
            self._measured(
                "slices-green", f"e2e.gpu.slices --by green {common} --rows {self._rows('slices-green')}", 150, *plain
            ),
            self._measured(
                "slices-mps", f"e2e.gpu.slices --by mps {common} --rows {self._rows('slices-mps')}", 150, *plain
            ),
            Step("build-on16", f"e2e.gpu.under_mps 16 e2e.gpu.build {narrow}", plain, alone=True, expected_s=100),
            self._measured(
                "slices-on16",
                f"e2e.gpu.slices --by mps --sms 16 --sms 32 --kind=-on16 {self._common()} --model yolo11n --batch 8 "
                f"--rows {self._rows('slices-on16')}",
                30,
                "build-on16",
            ),
        ]

    def frames(self) -> list[Step]:
        """Frames to boxes on the host, beside Ultralytics' predict() on its own engine."""
        endpoint = "--frames endpoint --free"
        plans = f"{self.out}/engines/yolo11n-FP16-b8.plan"
        whole = f"{self.out}/engines/yolo11n-frames-endpoint-FP16-p1.8.8.plan"
        return [
            self._own(8, 300),
            self.built("yolo11n", 8, endpoint, seconds=60),
            self._measured(
                "frames",
                f"e2e.gpu.frames {self._labelled()} --model yolo11n --batch 8 --batch 1 --rows {self._rows('frames')}",
                40,
            ),
            self.bench("bench-own", "--model yolo11n --batch 8", "ultralytics-yolo11n-b8", seconds=25),
            self._measured("first", f"e2e.gpu.roofline first {plans} --rows {self._rows('first')}", 20),
            self._measured("layers", f"e2e.gpu.roofline layers {plans} {whole} --rows {self._rows('layers')}", 20),
        ]

    def attention(self) -> list[Step]:
        """YOLO12 and YOLO26: torch by hand, torch fused, TensorRT."""
        built = [self.built(model, 8, "--detailed", seconds=110) for model in ("yolo12n", "yolo26n")]
        batches = "--batch 1 --batch 8 --batch 16"
        return [
            *built,
            *[
                self._measured(
                    f"attention-{model}",
                    f"e2e.gpu.attention {self._common()} --model {model} {batches} "
                    f"--rows {self._rows(f'attention-{model}')}",
                    40,
                )
                for model in ("yolo12n", "yolo26n")
            ],
            self.bench("bench-yolo26n", "--model yolo26n --batch 8 --torch-compile default", built[1].name, seconds=40),
        ]

    def product(self) -> list[Step]:
        """The builder's own command publishes FP16 and INT8 engines; torch.compile at its most thorough."""
        pictures = f"{self.out}/pictures.zip"
        scales = f"--calibration {pictures} --calibration-images 64"
        return [
            Step("product-pictures", f"zipfile -c {pictures} {self.out}/shapes/images/train", ("shapes",)),
            self._published(
                "product-int8", f"--backend TensorRT --precision INT8 {scales}", "product-pictures", seconds=140
            ),
            self._compiled("max-autotune", 8, seconds=150),
            self.bench(
                "bench-autotune",
                "--model yolo11n --batch 8 --torch-compile max-autotune --torch-compile default",
                "compile-max-autotune-yolo11n-b8",
                seconds=60,
            ),
        ]

    def served(self) -> list[Step]:
        """What the builder publishes, through the real tritonserver: its boxes, and its speed beside no server."""
        both = "--endpoint Ultralytics --endpoint Frames --max-batch-size 8"
        built = [
            self._published("served-onnx", f"--backend ONNXRuntime {both}", alone=False, seconds=40),
            self._published("served-fp16", f"--backend TensorRT {both}", seconds=200),
        ]
        command = (
            f"e2e.gpu.served --store {self.out}/store-served --data {self.out}/shapes --model yolo26n "
            f"--scratch /tmp/yolofleet-served --rows {self._rows('served')}"
        )
        names = tuple(step.name for step in built)
        return [*built, Step("served", command, names, alone=True, limit_s=300, expected_s=150)]

    def _published(self, name: str, options: str, *needs: str, seconds: int, alone: bool = True) -> Step:
        """Return the step in which the builder's own command publishes an engine, in a store of its block."""
        quick = "--optimization-level 1 " if "TensorRT" in options else ""
        command = (
            f"model_repo_builder build --model {SHAPES} {options} {quick}--pictures {self.out}/shapes/images/val "
            f"--out {self.out}/store-{name.partition('-')[0]} --termination-log {self.out}/logs/{name}.json"
        )
        return Step(name, command, ("shapes", *needs), alone=alone, expected_s=seconds)

    def built(self, model: str, batch: int, options: str = "", *needs: str, seconds: int) -> Step:
        """Return the step that compiles one engine, with the timing cache of its model and batch."""
        scales = (f"calibrate-{model}",) if "INT8" in options or "FP8" in options else ()
        name = "-".join(["build", model, f"b{batch}", *options.replace("--", "").split()])
        cache = f"{self.out}/engines/timing-{model}-b{batch}.cache"
        command = f"e2e.gpu.build {self._common()} {model} --batch {batch} --cache {cache} {options}".strip()
        return Step(name, command, ("models", *scales, *needs), alone=True, expected_s=seconds)

    def bench(self, name: str, options: str, *needs: str, seconds: int) -> Step:
        """Return the step that measures every engine of a model beside its rivals."""
        command = f"e2e.gpu.bench {self._common()} --rows {self._rows(name)} {options}"
        return Step(name, command, needs, alone=True, limit_s=240, expected_s=seconds)

    def _judged(self, model: str, batch: int) -> Step:
        name = f"accuracy-{model}-b{batch}"
        command = f"e2e.gpu.accuracy {self._labelled()} --model {model} --batch {batch} --rows {self._rows(name)}"
        return self._measured(name, command)

    def _calibrated(self, model: str) -> Step:
        command = f"e2e.gpu.calibrate --models {self.out}/models --data {self.out}/shapes --frames 32 --rewrite split"
        return Step(f"calibrate-{model}", f"{command} {model}", ("models",), expected_s=60)

    def _compiled(self, mode: str, batch: int, seconds: int = 55) -> Step:
        command = f"e2e.gpu.rivals {self._common()} yolo11n --batch {batch} --compile {mode}"
        return Step(f"compile-{mode}-yolo11n-b{batch}", command, ("models",), expected_s=seconds)

    def _own(self, batch: int, seconds: int) -> Step:
        command = f"e2e.gpu.rivals {self._common()} yolo11n --batch {batch}"
        return Step(f"ultralytics-yolo11n-b{batch}", command, ("models",), alone=True, expected_s=seconds)

    def _measured(self, name: str, command: str, seconds: int = 30, *needs: str) -> Step:
        return Step(name, command, ("models", *needs), alone=True, limit_s=240, expected_s=seconds)

    def _common(self) -> str:
        return f"--models {self.out}/models --out {self.out}/engines"

    def _labelled(self) -> str:
        return f"{self._common()} --data {self.out}/shapes"

    def _rows(self, name: str) -> str:
        return f"{self.out}/rows/{name}.json"
