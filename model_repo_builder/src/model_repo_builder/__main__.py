"""`build` makes an engine (a pod: `fetch`, `convert`, `publish`), `assemble` serves it, `measure` tells its curve.

`estimate` guesses the curve of a model that nobody has measured.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from functools import partial
from typing import TYPE_CHECKING

from model_repo_builder import apart, command, request, termination
from model_repo_builder.build import Build, outcome_of
from model_repo_builder.errors import Damaged, Failed, Interrupted, Refused, clip, failure_of
from model_repo_builder.pod_build import PodBuild
from model_repo_builder.progress import BEGINS, Board, Log
from model_repo_builder.progress_server import serving
from model_repo_builder.seccomp import give_up_network
from model_repo_builder.settings import settings_from
from model_repo_builder.store import FolderStore, Shelf, Store
from yolofleet.api.build import BUILD_ENV, SERVE_ENV, BuildRequest, BuildResult, Failure, ServeFailure, ServeRequest
from yolofleet.api.store import GRANT_ENV, STORE_ENV, Bucket, Grant, folder_at
from yolofleet.errors import SettingsError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

    from yolofleet.api.build import Progress


def main(arguments: list[str] | None = None) -> int:
    """Run a verb and return the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    asked = command.parse(arguments)
    verbs = {
        "build": build,
        "convert": convert_apart,
        "assemble": assemble_model,
        "measure": measure_model,
        "estimate": estimate_model,
    }
    return verbs.get(asked.verb, in_pod)(asked)


def build(asked: argparse.Namespace) -> int:
    """Build as a person asks for it, and return the exit code."""
    return _ended(asked, partial(_built, asked), tell=_tell)


def in_pod(asked: argparse.Namespace) -> int:
    """Run one container of a build pod, and return the exit code."""
    return _ended(asked, partial(_phase, asked), tell=_print)


def _ended(
    asked: argparse.Namespace, run: Callable[[Log], BuildResult | None], *, tell: Callable[[BuildResult], None]
) -> int:
    """Run, leave what came of it in the termination message, and return the exit code; None is for the next one."""
    log = Log()
    try:
        result = run(log)
    except Refused as error:
        result = BuildResult(outcome="Refused", failure=failure_of(error))
    except SettingsError as error:
        result = _failed(str(error), "correct the builder's environment")
    except Interrupted:
        result = _failed("the build was stopped (SIGTERM); nothing of it was left in the store", "it is tried again")
    except Exception as error:  # noqa: BLE001 - a bug: loud in the log, one line in the status
        traceback.print_exc()
        result = _failed(f"bug in the builder: {type(error).__name__}: {error}", "report it with the pod's log")
    log.close()
    if result is None:
        return 0
    termination.leave(result, asked.termination_log)
    tell(result)
    return termination.EXIT_CODE[result.outcome]


def _built(asked: argparse.Namespace, log: Log) -> BuildResult:
    wanted, places = command.build_request(asked)
    asked.out.mkdir(parents=True, exist_ok=True)
    return Build(
        request=wanted,
        settings=settings_from(os.environ, places=places),
        store=FolderStore(asked.out),
        board=Board(listeners=(log.show,)),
        pictures=asked.pictures,
        optimization_level=asked.optimization_level,
    ).run()


def _phase(asked: argparse.Namespace, log: Log) -> BuildResult | None:
    made = _in_pod(asked, log.show)
    with serving(made.board, port=asked.progress_port):
        store = _store(asked.out)
        return outcome_of(partial(made.fetch if asked.verb == "fetch" else made.publish, store))


def convert_apart(asked: argparse.Namespace) -> int:
    """Run the container of a build pod that opens weights, in a process without a network; return the exit code."""

    def work(tell: Callable[[Progress], None]) -> int:
        return _ended(asked, lambda log: _converted(asked, log, tell), tell=_print)

    return apart.run(work, Board.beginning(BEGINS[asked.verb]), port=asked.progress_port)


def _converted(asked: argparse.Namespace, log: Log, tell: Callable[[Progress], None]) -> BuildResult | None:
    def behind() -> BuildResult | None:
        give_up_network()
        return _in_pod(asked, log.show, tell).convert()

    return outcome_of(behind)


def _in_pod(asked: argparse.Namespace, *listeners: Callable[[Progress], None]) -> PodBuild:
    wanted = request.read(BuildRequest, os.environ.get(BUILD_ENV), variable=BUILD_ENV)
    settings = settings_from(os.environ, places=command.places(asked))
    board = Board.beginning(BEGINS[asked.verb], listeners=listeners)
    return PodBuild(request=wanted, settings=settings, board=board)


def assemble_model(asked: argparse.Namespace) -> int:
    """Write a Triton model from a published engine, and return the exit code."""
    try:
        wanted = (
            command.serve_request(asked)
            if asked.key is not None
            else request.read(ServeRequest, os.environ.get(SERVE_ENV), variable=SERVE_ENV)
        )
        # Triton's protobufs take longer to load than a cached build.
        from model_repo_builder.repository import ByHand, assemble

        curve = command.curve_of(asked)
        by = ByHand(curve, float(asked.objective_ms)) if curve is not None else None
        folder = assemble(_shelf(asked.store), wanted, asked.models, by=by)
    except (Refused, Failed) as error:
        failure = ServeFailure(**dict(failure_of(error)), damaged=isinstance(error, Damaged))
    except Interrupted:
        failure = ServeFailure(message="stopped (SIGTERM)", remedy="the pod's next start does it again")
    except Exception as error:  # noqa: BLE001 - a bug: loud in the log, one line in the status
        traceback.print_exc()
        failure = ServeFailure(message=clip(f"bug in the builder: {type(error).__name__}: {error}", 1024))
    else:
        print(f"assembled {folder}")
        return 0
    termination.leave(failure, asked.termination_log)
    print(failure.sentence(), file=sys.stderr)
    return termination.EXIT_FAILED


def _store(folder: Path) -> Store:
    """Return the store that a build writes: an S3 store by its grant, else a folder."""
    if told := os.environ.get(GRANT_ENV):
        from model_repo_builder.granted_store import GrantedStore

        return GrantedStore(request.read(Grant, told, variable=GRANT_ENV))
    return FolderStore(folder)


def _shelf(folder: Path) -> Shelf:
    """Return the store that a pod serves from: a bucket by its credential, else a folder."""
    if told := os.environ.get(STORE_ENV):
        from model_repo_builder.bucket_shelf import BucketShelf, credential_of_pod

        return BucketShelf(request.read(Bucket, told, variable=STORE_ENV), credential_of_pod())
    return FolderStore(folder)


def measure_model(asked: argparse.Namespace) -> int:
    """Write the curve of a served model, and return the exit code."""
    from model_repo_builder import measure_command

    try:
        measure_command.run(asked)
    except (Refused, Failed) as error:
        print(failure_of(error).sentence(), file=sys.stderr)
        return termination.EXIT_FAILED
    return 0


def estimate_model(asked: argparse.Namespace) -> int:
    """Write a curve for a model that was never measured, and return the exit code."""
    from model_repo_builder import estimate_command

    try:
        estimate_command.run(asked)
    except Refused as error:
        print(failure_of(error).sentence(), file=sys.stderr)
        return termination.EXIT_FAILED
    return 0


def _failed(message: str, remedy: str) -> BuildResult:
    return BuildResult(outcome="Failed", failure=Failure(message=clip(message, 1024), remedy=remedy))


def _print(result: BuildResult) -> None:
    """Say the result in a pod's log."""
    print(result.model_dump_json(by_alias=True, exclude_none=True))


def _tell(result: BuildResult) -> None:
    """Say the result to a person: a sentence and the next command."""
    if result.artifact is not None:
        folder = folder_at(result.artifact.uri)
        store, key = folder.parent, folder.name
        print(f"{result.outcome}: {folder} ({result.artifact.size_bytes / 1e6:.1f} MB)")
        print(f"next: python -m model_repo_builder assemble --store {store} --key {key} --models MODELS --name yolo")
    if result.failure is not None:
        print(f"{result.outcome}: {result.failure.sentence()}", file=sys.stderr)


def _interrupt(_: int, __: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: cleaning up must not be cut short
    raise Interrupted


if __name__ == "__main__":
    sys.exit(main())
