"""A store that is full, slow or silent, and builds that are killed: the next try completes, or words say why not."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from model_repo_builder.build import Build
from model_repo_builder.errors import Failed
from model_repo_builder.granted_store import GrantedStore
from model_repo_builder.progress import Board
from model_repo_builder.repository import assemble
from model_repo_builder.settings import Places, Settings
from tests.apply.test_engine_store import built, granted, operators, peek, shelf
from tests.model_repo_builder.making import LOOPBACK, QUICK, TinyYolo, pvc, request
from tests.model_repo_builder.test_store import KEY
from tests.s3_server import WRITER, S3Server, s3_server
from tests.slow_link import slow_link
from yolofleet.api.build import BuildResult, Progress, ServeRequest
from yolofleet.api.store import Grant
from yolofleet.apply.engine_store import Attempt, EngineStore
from yolofleet.errors import StoreError

STAGES = ("Fetch", "Export", "Compare", "Publish")


def whole_build(root: Path, grant: Grant, *listeners) -> BuildResult:
    """Build as the Job's pod does, into the place that the grant gives."""
    places = Places(store=root, source=root, models=root / "models", work=root)
    settings = Settings(places=places, rules=LOOPBACK, limits=QUICK)
    board = Board(listeners=listeners)
    return Build(request=request(pvc("m.onnx")), settings=settings, store=GrantedStore(grant), board=board).run()


def build_until(stage: str, root: Path, grant: str, told: Connection) -> None:
    """Build, say so when the stage begins, and stand still there."""

    def look(progress: Progress) -> None:
        if progress.stage == stage:
            told.send(stage)
            time.sleep(60)

    whole_build(root, Grant.model_validate_json(grant), look)


async def test_a_build_that_is_killed_in_any_stage_leaves_nothing_and_the_next_one_completes(
    s3: S3Server, tmp_path: Path
) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.apply.test_store_faults", "model_repo_builder.onnx_from_onnx"])
    TinyYolo().save(tmp_path / "m.onnx")
    key = request(pvc("m.onnx")).key
    at = Attempt(f"killed-{tmp_path.name[-8:].replace('_', '-')}", key, "a0")
    for number, stage in enumerate(STAGES):
        grant = await granted(s3, replace(at, name=f"a{number}"))
        hear, tell = processes.Pipe(duplex=False)
        child = processes.Process(
            target=build_until, args=(stage, tmp_path, grant.model_dump_json(by_alias=True), tell)
        )
        child.start()
        assert await asyncio.to_thread(hear.poll, 60), f"the build never came to {stage}"
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join(10)
        assert await asyncio.to_thread(shelf(s3, at).peek, key) is None
    last = replace(at, name="last")
    done = await asyncio.to_thread(whole_build, tmp_path, await granted(s3, last))
    assert (done.outcome, done.failure) == ("Published", None)
    assert await operators(s3).confirm(last, done.artifact) == done.artifact
    wanted = ServeRequest.model_validate({"key": key, "modelName": "gate", "maxBatchSize": 4})
    folder = await asyncio.to_thread(assemble, shelf(s3, last), wanted, tmp_path / "models")
    assert (folder / "1/model.onnx").is_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own needs root")
async def test_a_full_disk_is_said_with_a_remedy_and_nothing_half_is_ever_served(tmp_path: Path) -> None:
    at = Attempt("full", KEY, "a1")
    with s3_server(tmp_path / "s3", room_kib=512) as server:
        grant = await granted(server, at)
        with pytest.raises(Failed, match=r"the store refused it: HTTP \d+ InsufficientStorage.*the store is full"):
            await asyncio.to_thread(built, grant, b"x" * 1024 * 1024)
        assert (await granted(server, replace(at, name="a2"))).published is None
        small = await asyncio.to_thread(built, await granted(server, replace(at, name="a2")), b"it has room")
        assert await operators(server).confirm(replace(at, name="a2"), small.artifact) == small.artifact


async def test_a_slow_store_costs_time_and_nothing_else(s3: S3Server) -> None:
    at = Attempt("slow", KEY, "a1")
    with slow_link(s3.ports[0], pause_s=0.05) as port:
        bucket = s3.bucket("engines/").model_copy(update={"endpoint": f"http://127.0.0.1:{port}"})
        store = EngineStore(bucket, lambda: WRITER)
        grant = await store.grant(at, seconds=60)
        stored = await asyncio.to_thread(built, grant, b"x" * 200_000)
        assert await store.confirm(at, stored.artifact) == stored.artifact
    seen = await peek(s3, at)
    assert seen is not None
    assert seen.artifact == stored.artifact


async def test_a_store_that_never_answers_holds_a_pass_up_for_a_bounded_time(s3: S3Server) -> None:
    with slow_link(s3.ports[0], pause_s=None) as port:
        bucket = s3.bucket("engines/").model_copy(update={"endpoint": f"http://127.0.0.1:{port}"})
        began = time.monotonic()
        with pytest.raises(StoreError, match="NetworkPolicies"):
            await EngineStore(bucket, lambda: WRITER, timeout_s=0.5).grant(Attempt("mute", KEY, "a1"), seconds=60)
        assert time.monotonic() - began < 20  # twice half a second, and whatever else runs here
