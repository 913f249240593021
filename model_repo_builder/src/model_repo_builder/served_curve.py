"""Measures an engine before it is published: through the server that will serve it, on the slice it was built on."""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tritonclient import grpc

from model_repo_builder import measure, repository
from model_repo_builder.errors import Failed, Refused
from model_repo_builder.store import Stored
from yolofleet.api.build import Artifact, ServeRequest
from yolofleet.api.endpoints import model_name
from yolofleet.api.store import folder_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_repo_builder.manifest import Manifest
    from model_repo_builder.progress import Report
    from yolofleet.api.curve import CurvePoint
    from yolofleet.api.recipe import Endpoint
    from yolofleet.api.store import StoredFile

SERVER = "tritonserver"
MEASURED: tuple[Endpoint, ...] = ("Ultralytics", "Frames")
"""Not JPEG: how large pictures are, nobody knows beforehand."""
NAME = "measured"
START_S = 120.0
"""Within which the server has the model loaded and warmed up."""
END_S = 30.0
LAST_WORDS = 400
PORT = 8001
"""Triton writes it behind any address: of a Unix socket it is the end of the file's name."""


class _NotServedError(Exception):
    """The server does not serve what was made."""


@dataclass(frozen=True)
class Draft:
    """What convert wrote, as a shelf of one engine."""

    manifest: Manifest
    folder: Path

    def peek(self, _key: str) -> Stored:
        """Return the engine; nobody else can have touched it."""
        uri = folder_address(self.folder)
        return Stored(self.manifest, Artifact(uri=uri, sha256="0" * 64, size_bytes=self.manifest.size_bytes()))

    def take(self, _stored: Stored, file: StoredFile, target: Path) -> None:
        """Copy a file."""
        shutil.copyfile(self.folder / file.path, target)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """For how long altogether, and at which batches (none: powers of two) and instances."""

    budget_s: float
    batches: tuple[int, ...] = ()
    instances: tuple[int, ...] = (1, 2)


def points(draft: Draft, scratch: Path, asked: Asked, report: Report) -> list[CurvePoint] | str:
    """Return the points of every endpoint that can be measured, or why there are none: a build goes on without."""
    endpoints = [one for one in MEASURED if one in draft.manifest.recipe.endpoints]
    if not endpoints:
        return f"endpoints {', '.join(draft.manifest.recipe.endpoints)} are not measured"
    if shutil.which(SERVER) is None:
        return f"this image has no {SERVER}"
    told = draft.manifest
    request = ServeRequest(key=told.key, model_name=NAME, max_batch_size=told.max_batch_size, endpoints=list(endpoints))
    models = scratch / "models"
    models.mkdir()
    try:
        repository.assemble(draft, request, models)
        with running(models, scratch / "server.log") as url:
            return [point for one in endpoints for point in _points(one, url, asked, len(endpoints), report)]
    except (Failed, Refused, OSError, _NotServedError, grpc.InferenceServerException) as error:
        return str(error)


def _points(endpoint: Endpoint, url: str, asked: Asked, of: int, report: Report) -> list[CurvePoint]:
    ask = measure.Ask(
        url=url,
        model=model_name(NAME, endpoint),
        endpoint=endpoint,
        batches=asked.batches,
        instances=asked.instances,
        budget_s=asked.budget_s / of,
    )
    return measure.curve_points(ask, report)


@contextmanager
def running(models: Path, log: Path) -> Iterator[str]:
    """Run the server behind a Unix socket, until the block ends: whatever opened weights has no other ones."""
    address = f"unix:{log.with_name('grpc')}"
    told = [
        f"--model-repository={models}",
        "--model-control-mode=explicit",
        "--load-model=*",
        "--disable-auto-complete-config",
        "--exit-on-error=true",
        "--allow-http=false",
        "--allow-metrics=false",
        f"--grpc-address={address}",
        f"--grpc-port={PORT}",
    ]
    with log.open("wb") as words:
        server = subprocess.Popen([SERVER, *told], stdout=words, stderr=subprocess.STDOUT)  # noqa: S603 - our own words
    try:
        _await_ready(server, f"{address}:{PORT}", log)
        yield f"{address}:{PORT}"
    finally:
        _stop(server)


def _await_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START_S
    with grpc.InferenceServerClient(url) as client:
        while not _ready(client):
            if (code := server.poll()) is not None:
                words = log.read_text(encoding="utf-8", errors="replace").strip()[-LAST_WORDS:]
                raise _NotServedError(f"{SERVER} ended with {code}: {words}")
            if time.monotonic() > until:
                raise _NotServedError(f"{SERVER} was not ready after {START_S:.0f} s")
            time.sleep(0.2)


def _ready(client: grpc.InferenceServerClient) -> bool:
    try:
        return bool(client.is_server_ready())
    except grpc.InferenceServerException:
        return False


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(END_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
