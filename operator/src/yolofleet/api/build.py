"""The documents that the operator hands to builder pods and gets back from them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from yolofleet.api.base import SHA256, ApiModel, Name, ObjectName, Printable, Profile, text
from yolofleet.api.curve import Row
from yolofleet.api.endpoints import Postprocess
from yolofleet.api.estimate import Work
from yolofleet.api.recipe import BatchSize, Builder, Endpoint, Recipe, Target
from yolofleet.api.sources import Source
from yolofleet.api.tuning import ModelTuning

BUILD_ENV = "YOLOFLEET_BUILD"
"""Environment variable of a build pod's containers: a BuildRequest as JSON."""
SERVE_ENV = "YOLOFLEET_SERVE"
"""Environment variable of the serving pod's init container: a ServeRequest as JSON."""
STORE_PATH = "/store"
SOURCE_PATH = "/source"
MODELS_PATH = "/models"
DATASET_PATH = "/dataset"
CALIBRATION_PATH = "/calibration"
WEIGHTS_PATH, ENGINE_PATH = "/weights", "/engine"
"""What a build pod's containers hand on: from fetch to convert, and from convert to publish."""
FETCHED_FILE, FETCHED_PATH = "fetched.json", "/fetched.json"
"""The one file of fetch's that publish sees, and where."""
PHASES = ("fetch", "convert", "publish")
"""The containers of a build pod, in this order; each is a verb of `model_repo_builder`."""
PROGRESS_PORT = 8080
EXIT_REFUSED = 42
"""Exit code of a build whose input can never work; the Job's podFailurePolicy ends it at once."""
TERMINATION_LIMIT_BYTES = 4096
"""Kubernetes cuts a container's termination message there."""

FEWEST_PICTURES = 8
"""Fewer tell too little of what a layer's values reach."""

Stage = Literal["Fetch", "Export", "Build", "Compare", "Measure", "Publish"]
Percent = Annotated[int, Field(ge=0, le=100)]


class Labelled(ApiModel):
    """A labelled set to measure accuracy on."""

    source: Source
    """Where it comes from."""
    images: Annotated[int, Field(ge=1, le=10_000)]
    """How many of its pictures are looked at, the first by name."""

    @property
    def identity(self) -> str:
        """Return what stands for it in a content key: which it is, and how many pictures are taken."""
        return f"{self.source.identity} x{self.images}"


class Calibration(ApiModel):
    """Pictures that the scales of an INT8 or FP8 engine are taken from."""

    source: Source
    """Where they come from: a zip archive of pictures."""
    images: Annotated[int, Field(ge=FEWEST_PICTURES, le=100_000)] = 512
    """How many of them are used, evenly spread over the archive by name."""

    @property
    def identity(self) -> str:
        """Return what stands for them in a content key: which they are, and how many are taken."""
        return f"{self.source.identity} x{self.images}"


class BuildRequest(ApiModel):
    """What one build pod is asked to make."""

    key: SHA256
    name: Annotated[str, text(63, min_length=1)]
    source: Source
    labelled: Labelled | None = None
    calibration: Calibration | None = None
    recipe: Recipe
    target: Target | None = None
    builder: Builder
    timings_of: SHA256 | None = None
    """The key of an engine in the same store whose timing cache the compiler begins with; no part of this one's key."""
    measure_seconds: Annotated[int, Field(ge=1, le=600)] | None = None
    """For how long the engine is measured on the slice it was built on; absent: not at all."""


class Artifact(ApiModel):
    """What lies in the store under a key; `sha256` is the manifest's own digest."""

    uri: Annotated[str, text(1024)]
    """Where it lies."""
    sha256: SHA256
    """SHA-256 of the artefact's manifest."""
    size_bytes: Annotated[int, Field(ge=0)]
    """Size of all its files, in bytes."""


Figure = Annotated[str, text(16, r"^[0-9][0-9.e+-]*$")]
"""A measured number as text."""


Metric = Literal["MAP50", "MAP50To95"]


class Accuracy(ApiModel):
    """How much of what is labelled an engine finds."""

    dataset_sha256: SHA256 = Field(alias="datasetSHA256")
    """SHA-256 of the labelled set."""
    images: Annotated[int, Field(ge=1, le=10_000)]
    """Over how many of its pictures."""
    objects: Annotated[int, Field(ge=1, le=10_000_000)]
    """How many objects are labelled in them."""
    map50: Figure
    """Mean average precision at an overlap of 0.5, over the classes that are labelled."""
    map50_to95: Figure = Field(alias="map50To95")
    """The mean of that at overlaps from 0.5 to 0.95, as COCO has it."""
    onnx_map50: Figure | None = None
    """`map50` of the ONNX file that it was compiled from; absent: it is that file."""
    onnx_map50_to95: Figure | None = Field(default=None, alias="onnxMap50To95")
    """`map50To95` of the ONNX file that it was compiled from; absent: it is that file."""

    def of_onnx(self, metric: Metric) -> str | None:
        """Return one of the figures of the ONNX file."""
        return self.onnx_map50 if metric == "MAP50" else self.onnx_map50_to95

    def of(self, metric: Metric) -> str:
        """Return one of the two figures."""
        return self.map50 if metric == "MAP50" else self.map50_to95

    def sentence(self) -> str:
        """Return it in words."""
        seen = f"{self.objects} objects in {self.images} labelled pictures"
        return f"mAP50 {self.map50}, mAP50-95 {self.map50_to95} ({seen})"


class Gate(ApiModel):
    """How an engine compares with what it was made from; without that, only its outputs' shapes were looked at."""

    reference: Annotated[str, text(64)]
    """What it was compared with."""
    frames: Annotated[int, Field(ge=0, le=1_000_000)]
    """Over how many frames."""
    largest_error: Figure
    """Largest difference of an output, relative to the largest value of its channel."""
    allowed_error: Figure
    """What that may be; boxes count instead where an engine computes less exactly."""
    boxes: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Boxes that the reference sees; absent: a classifier, or no reference."""
    unmatched_boxes: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Sure boxes that only one of the two sees."""
    lowest_iou: Figure | None = Field(default=None, alias="lowestIoU")
    """Smallest overlap of two boxes that are one."""
    score_gap: Figure | None = None
    """Largest difference of their scores."""
    accuracy: Accuracy | None = None
    """How much it finds in the labelled set of the spec; absent: none is given."""

    def sentence(self) -> str:
        """Return it in words."""
        told = f"{self.frames} frames against {self.reference}: largest error {self.largest_error}"
        if self.boxes is not None:
            pairs = f"lowest IoU {self.lowest_iou}, scores within {self.score_gap}"
            told += f"; {self.boxes} boxes, {self.unmatched_boxes} seen by one only, {pairs}"
        return f"{told}; {self.accuracy.sentence()}" if self.accuracy is not None else told


class Failure(ApiModel):
    """Why something did not work, in the words that a condition shows."""

    field: Annotated[str, text(256), Printable] = ""
    """Field of the spec that is at fault."""
    value: Annotated[str, text(512), Printable] = ""
    """What it holds."""
    message: Annotated[str, text(1024), Printable]
    """What is wrong."""
    remedy: Annotated[str, text(512), Printable] = ""
    """What to do about it."""

    def sentence(self) -> str:
        """Return field, message, value and remedy as one line."""
        where = f"{self.field}: " if self.field else ""
        got = f" (got {self.value!r})" if self.value else ""
        return f"{where}{self.message}{got}" + (f"; {self.remedy}" if self.remedy else "")


class ServeFailure(Failure):
    """What a serving pod's init container leaves in its termination message."""

    damaged: bool = False
    """Whether what lies in the store is at fault, so that only another build can mend it."""


class BuildResult(ApiModel):
    """What a build pod leaves in its termination message; `rows` are the points that its slice was measured at."""

    outcome: Literal["Published", "Cached", "Refused", "Failed"]
    artifact: Artifact | None = None
    weights_sha256: SHA256 | None = Field(default=None, alias="weightsSHA256")
    gate: Gate | None = None
    work: Work | None = None
    rows: Annotated[list[Row], Field(max_length=64)] | None = None
    failure: Failure | None = None


class LenderRef(ApiModel):
    """A YoloDeployment that gives up a replica for the time of a build."""

    namespace: Name
    name: Name


class BuildSlice(ApiModel):
    """How a build came by its slice; an annotation of its Job, so that a restart forgets no loan."""

    way: Literal["Free", "Reserved", "Borrowed"]
    pool: ObjectName
    profile: Profile
    product: Annotated[str, text(63)] = ""
    resource: Annotated[str, text(128, r"^nvidia\.com/[A-Za-z0-9.-]+$")]
    lender: LenderRef | None = None


class Progress(ApiModel):
    """What a build pod answers to GET /progress."""

    stage: Stage
    percent: Percent
    message: Annotated[str, text(256), Printable] = ""


class ServeRequest(ApiModel):
    """What a serving pod's init container assembles: the models of a Triton repository, one for each endpoint.

    `instances` is the count of Triton's instance group, `queue_delay_microseconds` the dynamic batcher's delay.
    `endpoints` absent: Ultralytics alone. `postprocess` are the thresholds of who sends none.
    `tuning` goes before the request's own numbers, for the endpoints that it names.
    """

    key: SHA256
    model_name: Annotated[str, text(63, min_length=1)]
    max_batch_size: BatchSize
    instances: Annotated[int, Field(ge=1, le=64)] = 1
    queue_delay_microseconds: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    endpoints: Annotated[list[Endpoint], Field(min_length=1, max_length=3)] | None = None
    postprocess: Postprocess | None = None
    tuning: Annotated[list[ModelTuning], Field(max_length=3)] | None = None

    def tuning_of(self, *endpoints: Endpoint) -> ModelTuning | None:
        """Return the numbers for a model that answers these endpoints: those of the first that has some."""
        told = {one.endpoint: one for one in self.tuning or []}
        return next((told[endpoint] for endpoint in endpoints if endpoint in told), None)
