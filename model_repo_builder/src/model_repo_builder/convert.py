"""From weights to a servable folder: export, compare, measure, label; the phase that opens what was fetched."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_repo_builder.closed_door import closed_door
from model_repo_builder.errors import Failed, clip
from model_repo_builder.manifest import METADATA, MODEL_FILE, FramesGraph, Manifest, TensorSpec
from model_repo_builder.metadata import Facts, triton_metadata
from model_repo_builder.store import describe
from yolofleet.api.store import TIMINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from model_repo_builder.calibration_set import CalibrationSet
    from model_repo_builder.compare import Comparison
    from model_repo_builder.engine_from_onnx import Engine
    from model_repo_builder.fetch import Weights
    from model_repo_builder.handover import FetchedPair
    from model_repo_builder.onnx_graph import Array, Tensor
    from model_repo_builder.progress import Board, Report
    from yolofleet.api.build import Accuracy, BuildRequest, Gate
    from yolofleet.api.estimate import Work
    from yolofleet.api.recipe import Backend

LIBRARIES = ("yolofleet", "onnx", "onnxruntime", "numpy")


@dataclass(frozen=True, kw_only=True)
class Converted:
    """A servable ONNX file, compared already."""

    facts: Facts
    free_batch: bool
    notes: tuple[str, ...]
    versions: dict[str, str]
    comparison: Comparison
    frames: FramesGraph | None = None
    engine: Engine | None = None
    accuracy: Accuracy | None = None
    onnx: Accuracy | None = None
    """What the ONNX file finds that the engine was made from."""
    work: Work | None = None

    @property
    def gate(self) -> Gate:
        """Return all that was compared and measured."""
        return self.comparison.gate().model_copy(update={"accuracy": self.accuracy})


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """One conversion into `folder`; `scratch` goes with it."""

    request: BuildRequest
    board: Board
    folder: Path
    scratch: Path
    pictures: Path | None = None
    """A folder of the user's own pictures, for the gate of an engine."""
    optimization_level: int = 3
    """Of TensorRT's builder: 1 builds in a third of the time."""
    dataset: FetchedPair | None = None
    """The labelled set that the request asks to measure on."""
    calibration: FetchedPair | None = None
    """The pictures that the request has scales taken from."""
    timings: Path | None = None
    """The timing cache that the compiler begins with; what it knows afterwards goes with the engine."""

    def run(self, weights: Weights) -> Manifest:
        """Write all files of the engine; return the manifest that describes them."""
        target = self.folder / MODEL_FILE["ONNXRuntime"]
        converted = (
            self._from_yolo(weights, target) if weights.format == "PyTorch" else self._from_onnx(weights, target)
        )
        converted = self._with_frames(target, self._quantized(target, _with_work(target, converted)))
        for note in converted.notes:
            self._checking()(1.0, note)
        if self.request.recipe.backend == "TensorRT":
            converted = self._compiled(target, converted)
        converted = self._measured(converted)
        return self._served(self._described(weights, converted))

    def _served(self, made: Manifest) -> Manifest:
        """Measure what was made as it will be served, where the build has the slice that will serve it."""
        if self.request.measure_seconds is None or self.request.target is None:
            return made
        from model_repo_builder import served_curve

        report = self.board.stage("Measure")
        asked = served_curve.Asked(budget_s=self.request.measure_seconds)
        found = served_curve.points(served_curve.Draft(made, self.folder), self.scratch, asked, report)
        if isinstance(found, str):
            note = clip(f"its throughput was not measured: {found}", 512)
            report(1.0, note)
            notes = "; ".join(told for told in (made.provenance["notes"], note) if told)
            return made.model_copy(update={"provenance": made.provenance | {"notes": notes}})
        best = max(point.frames_per_second for point in found)
        report(1.0, f"{len(found)} points, {best} frames/s at best")
        return made.model_copy(update={"points": found})

    def _quantized(self, onnx_file: Path, converted: Converted) -> Converted:
        """Put the INT8 graph in the place of the ONNX file, where ONNX Runtime is to serve one."""
        recipe, facts = self.request.recipe, converted.facts
        if (recipe.backend, recipe.precision) != ("ONNXRuntime", "INT8"):
            return converted
        from model_repo_builder import int8_build, onnx_calibration

        onnx = self._found(onnx_file, "ONNXRuntime", facts, self.board.stage("Export"))
        with closed_door(), self._pictures(facts) as told:
            seen, note = int8_build.write(
                onnx_file,
                told,
                facts.head,
                at_once=onnx_calibration.AT_ONCE if converted.free_batch else 1,
                build=self.board.stage("Build"),
                compare=self.board.stage("Compare"),
            )
        return replace(converted, comparison=seen, notes=(*converted.notes, note), onnx=onnx)

    def _pictures(self, facts: Facts) -> AbstractContextManager[CalibrationSet]:
        """Open the pictures that scales are taken from; `request.check` has seen that there are some."""
        from model_repo_builder import calibration_set

        if self.calibration is None or self.request.calibration is None:
            raise Failed(message="fetch brought no pictures to take scales from", remedy="it is tried again")
        size, images = self.request.recipe.image_size, self.request.calibration.images
        return calibration_set.opened(*self.calibration, images=images, size=size, channels=facts.channels)

    def _compiled(self, onnx_file: Path, converted: Converted) -> Converted:
        """Compile the ONNX file, compare the two, and keep the engine alone."""
        from model_repo_builder import engine_build

        recipe, facts = self.request.recipe, converted.facts
        if not converted.free_batch:
            recipe = recipe.model_copy(update={"max_batch_size": 1})
        onnx = self._found(onnx_file, "ONNXRuntime", facts, self.board.stage("Export"))
        plan = onnx_file.with_name(MODEL_FILE["TensorRT"])
        with self._shown(converted) as (frames, batches):
            asked = engine_build.Asked(
                recipe=recipe,
                target=self.request.target,
                head=facts.head,
                frames=frames,
                batches=batches,
                optimization_level=self.optimization_level,
                timing_cache=self._timing_cache(),
            )
            engine, seen = engine_build.write(
                onnx_file, plan, asked, build=self.board.stage("Build"), compare=self.board.stage("Compare")
            )
        onnx_file.unlink()
        self.board.tell("Compare", 1.0, seen.sentence())
        versions = {**converted.versions, "tensorrt": engine.tensorrt_version}
        notes = (*converted.notes, *engine.notes)
        return replace(converted, comparison=seen, engine=engine, versions=versions, notes=notes, onnx=onnx)

    @contextmanager
    def _shown(self, converted: Converted) -> Iterator[tuple[Array, Iterable[Array]]]:
        """Yield the frames that an engine is compared on, and those that INT8 takes its scales from."""
        from model_repo_builder import frames, onnx_calibration

        size, channels = self.request.recipe.image_size, converted.facts.channels
        own = frames.own_frames(self.pictures, size, channels) if self.pictures else None
        if self.request.calibration is None:
            yield frames.trial_frames(size, channels) if own is None else own, ()
            return
        with self._pictures(converted.facts) as told:
            at_once = onnx_calibration.AT_ONCE if converted.free_batch else 1
            yield told.some() if own is None else own, told.batches(self.board.stage("Build"), at_once=at_once)

    def _checking(self) -> Report:
        """What hears of checks of the ONNX file: Compare ends with what is served, and more may be to be made."""
        recipe = self.request.recipe
        served = recipe.backend == "ONNXRuntime" and recipe.precision != "INT8"
        return self.board.stage("Compare" if served else "Export")

    def _timing_cache(self) -> Path:
        cache = self.folder / TIMINGS
        if self.timings is not None:
            shutil.copyfile(self.timings, cache)
        return cache

    def _measured(self, converted: Converted) -> Converted:
        """Count what the engine finds of what is labelled, where a labelled set is given."""
        backend = self.request.recipe.backend
        found = self._found(self.folder / MODEL_FILE[backend], backend, converted.facts, self.board.stage("Measure"))
        if found is not None and (onnx := converted.onnx) is not None:
            found = found.model_copy(update={"onnx_map50": onnx.map50, "onnx_map50_to95": onnx.map50_to95})
        return replace(converted, accuracy=found)

    def _found(self, engine: Path, backend: Backend, facts: Facts, report: Report) -> Accuracy | None:
        if self.dataset is None or self.request.labelled is None:
            return None
        from model_repo_builder import accuracy, labelled_set

        with closed_door(), labelled_set.opened(*self.dataset) as told:
            found = accuracy.measured(
                accuracy.runner(engine, backend),
                told,
                facts,
                self.request.recipe.image_size,
                images=self.request.labelled.images,
                report=report,
            )
        report(1.0, found.sentence())
        return found

    def _from_yolo(self, weights: Weights, target: Path) -> Converted:
        from model_repo_builder import compare, frames, onnx_from_yolo

        recipe, export = self.request.recipe, self.board.stage("Export")
        versions = onnx_from_yolo.prepare(weights, self.scratch, report=export)
        with closed_door():
            model = onnx_from_yolo.load(weights, versions, task=recipe.task, size=recipe.image_size, report=export)
            export(0.7, "writing ONNX")
            model.export(target)
            export(1.0, "ONNX written")
            seen = compare.against(
                model.run,
                str(target),
                frames.trial_frames(recipe.image_size, model.facts.channels),
                head=model.facts.head,
                report=self._checking(),
            )
        self._checking()(1.0, seen.sentence())
        return Converted(facts=model.facts, free_batch=True, notes=(), versions=model.versions, comparison=seen)

    def _from_onnx(self, weights: Weights, target: Path) -> Converted:
        from model_repo_builder import compare, frames, onnx_from_onnx

        recipe = self.request.recipe
        model = onnx_from_onnx.convert(
            weights, target, task=recipe.task, size=recipe.image_size, report=self.board.stage("Export")
        )
        seen = compare.sane(
            str(target),
            frames.trial_frames(recipe.image_size, model.facts.channels),
            shapes=model.shapes,
            one_by_one=not model.free_batch,
            report=self._checking(),
        )
        return Converted(
            facts=model.facts, free_batch=model.free_batch, notes=model.notes, versions={}, comparison=seen
        )

    def _with_frames(self, raw: Path, converted: Converted) -> Converted:
        """Write the graph of frames too, where an endpoint needs it."""
        recipe = self.request.recipe
        if recipe.endpoints == ["Ultralytics"]:
            return converted
        from model_repo_builder import endpoints

        graph = endpoints.write(
            raw,
            recipe,
            converted.facts.head,
            free_batch=converted.free_batch,
            report=self._checking(),
        )
        return replace(converted, frames=graph)

    def _described(self, weights: Weights, converted: Converted) -> Manifest:
        recipe = self.request.recipe
        told = triton_metadata(converted.facts, recipe.image_size)
        (self.folder / METADATA).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if (engine := converted.engine) is None:
            inputs, outputs = labelled(self.folder / MODEL_FILE["ONNXRuntime"], told)
        else:
            inputs, outputs = specs_of(engine.inputs), specs_of(engine.outputs)
        return Manifest(
            key=self.request.key,
            backend=recipe.backend,
            max_batch_size=recipe.max_batch_size if converted.free_batch else 1,
            files=[describe(path) for path in sorted(self.folder.iterdir())],
            inputs=inputs,
            outputs=outputs,
            metadata=json.loads(json.dumps(told)),
            recipe=recipe,
            provenance=self._provenance(weights, converted),
            frames=converted.frames,
            gate=converted.gate,
            work=converted.work,
        )

    def _provenance(self, weights: Weights, converted: Converted) -> dict[str, str]:
        return {
            **{f"{name}Version": found for name in LIBRARIES if (found := installed(name))},
            **{f"{name}Version": found for name, found in sorted(converted.versions.items())},
            "builderImage": self.request.builder.image,
            "builderVersion": self.request.builder.version,
            "comparison": converted.comparison.sentence(),
            "notes": "; ".join(converted.notes),
            "source": self.request.source.identity,
            "weightsFormat": weights.format,
            "weightsSHA256": weights.sha256,
        }


def _with_work(raw: Path, converted: Converted) -> Converted:
    """Count what the graph asks of a GPU; a user's own graph may be one that nothing can be told of."""
    import onnx

    from model_repo_builder import graph_work

    try:
        return replace(converted, work=graph_work.work_of(onnx.load(str(raw))))
    except graph_work.UncountedError as error:
        note = f"what it asks of a GPU can't be counted ({error}), so nothing is estimated until it is measured"
        return replace(converted, notes=(*converted.notes, note))


def labelled(path: Path, told: dict[str, Any]) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """Write the metadata into an ONNX file; return its inputs and outputs for the manifest."""
    from model_repo_builder import onnx_graph

    model = onnx_graph.label(path, told)
    return specs_of(onnx_graph.inputs_of(model)), specs_of(onnx_graph.outputs_of(model))


def specs_of(tensors: Iterable[Tensor]) -> list[TensorSpec]:
    """Return tensors as the manifest lists them."""
    return [TensorSpec(name=tensor.name, data_type=tensor.data_type, dims=list(tensor.dims)) for tensor in tensors]


def installed(name: str) -> str | None:
    """Return an installed distribution's version."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
