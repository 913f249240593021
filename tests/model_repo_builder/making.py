"""Makes the small things that the builder's tests eat: ONNX graphs, checkpoints without torch, requests, a server."""

from __future__ import annotations

import pickle
import ssl
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model_repo_builder.addresses import AddressRules
from model_repo_builder.build import Build, outcome_of
from model_repo_builder.pod_build import PodBuild
from model_repo_builder.progress import BEGINS, Board
from model_repo_builder.settings import Limits, Places, Settings
from model_repo_builder.store import FolderStore
from yolofleet.api.build import FETCHED_FILE, PHASES, BuildRequest, BuildResult, Calibration, Labelled
from yolofleet.api.recipe import Builder, Recipe, engine_key, engine_name
from yolofleet.api.sources import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

LOOPBACK = AddressRules(allowed=(ip_network("127.0.0.0/8"),))
QUICK = Limits(connect_s=2, read_s=2, total_s=20, tries=3, backoff_s=0.01, redirects=3, max_bytes=4 * 1024**2)


def names(count: int) -> dict[int, str]:
    return {index: f"thing {index}" for index in range(count)}


@dataclass(frozen=True)
class TinyYolo:
    """A graph with a YOLO's inputs and outputs: one convolution of stride 32 and a reshape."""

    channels: int = 6
    size: tuple[int | str, int | str] = (64, 64)
    batch: int | str = "batch"
    metadata: dict[str, Any] | None = field(
        default_factory=lambda: {"task": "detect", "names": names(2), "stride": 32, "batch": 1, "imgsz": [64, 64]}
    )
    protos: bool = False
    kind: int = TensorProto.FLOAT
    output_names: tuple[str, str] = ("output0", "output1")
    classify: bool = False

    def model(self) -> onnx.ModelProto:
        weights = np.random.default_rng(1).normal(size=(self.channels, 3, 32, 32), scale=0.01).astype(np.float32)
        first = 1 if self.batch == 1 else -1
        target = np.array(
            [first, self.channels] if self.classify else [first, self.channels, self._anchors(first)], np.int64
        )
        constants = [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(target, "target")]
        kernel = {"kernel_shape": [32, 32], "strides": [32, 32]}
        nodes = [helper.make_node("Conv", ["images", "weights"], ["features"], **kernel)]
        source = "features"
        if self.classify:
            nodes.append(helper.make_node("GlobalAveragePool", ["features"], ["pooled"]))
            source = "pooled"
        nodes.append(helper.make_node("Reshape", [source, "target"], [self.output_names[0]]))
        outputs = [helper.make_tensor_value_info(self.output_names[0], TensorProto.FLOAT, None)]
        if self.protos:
            mask = np.random.default_rng(2).normal(size=(4, 3, 4, 4), scale=0.1).astype(np.float32)
            constants.append(numpy_helper.from_array(mask, "mask"))
            stride = {"kernel_shape": [4, 4], "strides": [4, 4]}
            nodes.append(helper.make_node("Conv", ["images", "mask"], [self.output_names[1]], **stride))
            outputs.append(helper.make_tensor_value_info(self.output_names[1], TensorProto.FLOAT, None))
        images = helper.make_tensor_value_info("images", self.kind, [self.batch, 3, *self.size])
        graph = helper.make_graph(nodes, "tiny", [images], outputs, constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        if self.metadata is not None:
            helper.set_model_props(made, {key: str(value) for key, value in self.metadata.items()})
        return made

    def _anchors(self, first: int) -> int:
        """One axis of a target may be -1; a fixed batch leaves it to the anchors, as exporters do."""
        if first == 1:
            return -1
        height, width = (value if isinstance(value, int) else 64 for value in self.size)
        return (height // 32) * (width // 32)

    def save(self, path: Path) -> Path:
        onnx.save(self.model(), str(path))
        return path


def pickled(*globals_: str, protocol: int = 2) -> bytes:
    """A pickle that names globals and drops them, as a list."""
    named = b"".join(
        b"c" + name.rpartition(".")[0].encode() + b"\n" + name.rpartition(".")[2].encode() + b"\n0" for name in globals_
    )
    return pickle.PROTO + bytes([protocol]) + named + b"]" + pickle.STOP


def checkpoint(path: Path, program: bytes, *, extra: Sequence[str] = ()) -> Path:
    """A file that looks like one torch wrote: a zip with the pickle inside."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("best/data.pkl", program)
        archive.writestr("best/version", "3\n")
        archive.writestr("best/data/0", b"\0" * 4096)
        for name in extra:
            archive.writestr(name, b"x")
    return path


def request(
    source: dict[str, Any],
    *,
    task: str = "Detect",
    size: int = 64,
    labelled: Labelled | None = None,
    calibration: Calibration | None = None,
    **recipe: Any,
) -> BuildRequest:
    """A request whose key is right."""
    read = Source.model_validate(source)
    measured = {"dataset": labelled.identity} if labelled else {}
    measured |= {"calibration": calibration.identity, "precision": "INT8"} if calibration else {}
    made = Recipe.model_validate(
        {
            "weights": read.identity,
            "task": task,
            "backend": "ONNXRuntime",
            "precision": "FP32",
            "imageSize": {"height": size, "width": size},
            "maxBatchSize": 8,
            "endpoints": ["Ultralytics"],
            **measured,
            **recipe,
        }
    )
    builder = Builder(image="builder:test", version="0")
    key = engine_key(recipe=made, target=None, builder=builder)
    return BuildRequest(
        key=key,
        name=engine_name(key),
        source=read,
        labelled=labelled,
        calibration=calibration,
        recipe=made,
        builder=builder,
    )


def pvc(path: str, **more: Any) -> dict[str, Any]:
    return {"pvc": {"claimName": "weights", "path": path, **more}}


@dataclass(frozen=True)
class Bench:
    """Folders for a build, and the build itself."""

    root: Path

    def __post_init__(self) -> None:
        for name in ("store", "source", "dataset", "calibration", "work", "models", "weights", "engine"):
            (self.root / name).mkdir()

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def store(self) -> FolderStore:
        return FolderStore(self.root / "store", wait_s=20)

    def settings(self, *, rules: AddressRules = LOOPBACK, builtin_url: str = "http://127.0.0.1:1") -> Settings:
        places = Places(
            store=self.root / "store",
            source=self.source,
            dataset=self.root / "dataset",
            calibration=self.root / "calibration",
            models=self.root / "models",
            work=self.root / "work",
            weights=self.root / "weights",
            fetched=self.root / "weights" / FETCHED_FILE,
            engine=self.root / "engine",
        )
        return Settings(places=places, rules=rules, limits=QUICK, builtin_url=builtin_url)

    def build(
        self, wanted: BuildRequest, *, settings: Settings | None = None, board: Board | None = None
    ) -> BuildResult:
        settings = settings or self.settings()
        return Build(request=wanted, settings=settings, store=self.store, board=board or Board()).run()

    def in_pod(
        self, wanted: BuildRequest, *, settings: Settings | None = None, between: Callable[[str], None] = lambda _: None
    ) -> BuildResult:
        """Build as a pod's containers do, one after the other; `between` hears which comes next."""
        settings = settings or self.settings()
        for name in PHASES:
            between(name)
            made = PodBuild(request=wanted, settings=settings, board=Board.beginning(BEGINS[name]))
            if (result := self._phase(made, name)) is not None:
                return result
        raise AssertionError("publish always says what came of it")

    def _phase(self, made: PodBuild, name: str) -> BuildResult | None:
        if name == "convert":
            return outcome_of(made.convert)
        return outcome_of(partial(made.fetch if name == "fetch" else made.publish, self.store))

    def leftovers(self) -> list[str]:
        staging = self.root / "store" / ".staging"
        return [*(path.name for path in (self.root / "work").iterdir()), *(path.name for path in staging.glob("*"))]


Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def server(
    answers: dict[str, Answer | Callable[[BaseHTTPRequestHandler], None]], *, certificate: Path | None = None
) -> Iterator[str]:
    """Serve fixed answers on loopback, over TLS if given a certificate with its key; yields the base URL."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            answer = answers.get(self.path.partition("?")[0], (404, {}, b"gone"))
            if callable(answer):
                answer(self)
                return
            status, headers, body = answer
            self.send_response(status)
            for key, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    thread = Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{httpd.server_address[1]}"
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
