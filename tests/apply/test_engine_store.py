"""Grants, and what becomes an engine: with the real builder's writer against a real S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from model_repo_builder.bucket_shelf import BucketShelf
from model_repo_builder.errors import Failed
from model_repo_builder.granted_store import GrantedStore
from model_repo_builder.store import DamagedError, Stored
from tests.model_repo_builder.test_store import KEY, OTHER, publish
from tests.s3_server import READER, WRITER, S3Server, s3_server
from yolofleet.api.build import Artifact
from yolofleet.api.store import TIMINGS, Grant
from yolofleet.apply.engine_store import Attempt, EngineStore, FalseReportError
from yolofleet.errors import StoreError


@pytest.fixture
def at() -> Attempt:
    return Attempt(f"ns-{secrets.token_hex(4)}", KEY, "a1")


def operators(s3: S3Server) -> EngineStore:
    return EngineStore(s3.bucket("engines/"), lambda: WRITER)


def shelf(s3: S3Server, at: Attempt) -> BucketShelf:
    return BucketShelf(s3.bucket("engines/", read_only=True).of_namespace(at.namespace), READER)


async def peek(s3: S3Server, at: Attempt) -> Stored | None:
    """Look from a serving pod, which has a loop of its own."""
    return await asyncio.to_thread(shelf(s3, at).peek, KEY)


def file(s3: S3Server, at: Attempt, name: str) -> Path:
    return s3.path(f"engines/{at.namespace}/{at.key}/{name}")


async def granted(s3: S3Server, at: Attempt) -> Grant:
    return await operators(s3).grant(at, seconds=60)


def built(grant: Grant, content: bytes = b"a whole model", key: str = KEY) -> Stored:
    with GrantedStore(grant).writing(key) as writer:
        return publish(writer, content, key)


async def test_what_a_build_brings_is_an_engine_when_the_operator_confirms_it(s3: S3Server, at: Attempt) -> None:
    stored = built(await granted(s3, at))
    assert await peek(s3, at) is None
    artifact = await operators(s3).confirm(at, stored.artifact)
    assert artifact == stored.artifact
    assert await operators(s3).confirm(at, stored.artifact) == artifact, "an operator that was killed does it again"
    seen = await peek(s3, at)
    assert seen is not None
    assert (seen.artifact, seen.manifest) == (artifact, stored.manifest)


async def test_a_serving_pod_takes_what_was_built_and_nothing_damaged(
    s3: S3Server, at: Attempt, tmp_path: Path
) -> None:
    stored = built(await granted(s3, at))
    await operators(s3).confirm(at, stored.artifact)
    engines, (model,) = shelf(s3, at), stored.manifest.files
    await asyncio.to_thread(engines.take, stored, model, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == b"a whole model"
    for damage, told in ((b"a whole modem", "has sha256"), (b"half", "other than 13"), (b"x" * 50, "other than 13")):
        file(s3, at, "a1/model.onnx").write_bytes(damage)
        with pytest.raises(DamagedError, match=told):
            await asyncio.to_thread(engines.take, stored, model, tmp_path / "model.onnx")
    file(s3, at, "a1/model.onnx").unlink()
    with pytest.raises(DamagedError, match="is missing"):
        await asyncio.to_thread(engines.take, stored, model, tmp_path / "model.onnx")
    file(s3, at, "manifest.json").write_bytes(b"{}")
    with pytest.raises(DamagedError, match="not readable"):
        await peek(s3, at)


async def test_a_later_build_finds_it_and_verifies_every_byte(s3: S3Server, at: Attempt) -> None:
    assert GrantedStore(await granted(s3, at)).find(KEY) is None
    stored = built(await granted(s3, at))
    await operators(s3).confirm(at, stored.artifact)
    later = replace(at, name="a2")
    found = GrantedStore(await granted(s3, later)).find(KEY)
    assert found is not None
    assert found.artifact == await operators(s3).confirm(later, found.artifact)
    file(s3, at, "a1/model.onnx").write_bytes(b"a whole modem")
    with pytest.raises(DamagedError, match="has sha256"):
        GrantedStore(await granted(s3, later)).find(KEY)
    file(s3, at, "a1/model.onnx").unlink()
    with pytest.raises(DamagedError, match="is missing"):
        GrantedStore(await granted(s3, later)).find(KEY)


async def test_a_damaged_engine_is_replaced_by_who_was_told_of_it_only(s3: S3Server, at: Attempt) -> None:
    stored = built(await granted(s3, at))
    await operators(s3).confirm(at, stored.artifact)
    file(s3, at, "a1/model.onnx").write_bytes(b"a whole modem")
    grant = await granted(s3, replace(at, name="a2"))
    assert grant.published is not None
    second = replace(at, name="a2", replaces=grant.published.sha256)
    better = built(grant, b"a better model")
    assert await operators(s3).confirm(second, better.artifact) == better.artifact
    late = replace(at, name="a3", replaces=grant.published.sha256)
    slow = built(await granted(s3, late), b"a slower model")
    assert await operators(s3).confirm(late, slow.artifact) == better.artifact, "the first one stays"


async def test_of_two_attempts_the_first_wins_and_the_second_takes_it(s3: S3Server, at: Attempt) -> None:
    one, two = at, replace(at, name="a2")
    grants = await granted(s3, one), await granted(s3, two)
    first, second = built(grants[0], b"one"), built(grants[1], b"two")
    assert await operators(s3).confirm(two, second.artifact) == second.artifact
    assert await operators(s3).confirm(one, first.artifact) == second.artifact
    seen = await peek(s3, at)
    assert seen is not None
    assert seen.artifact == second.artifact


async def test_an_attempt_that_died_in_mid_write_is_never_seen(s3: S3Server, at: Attempt) -> None:
    grant = await granted(s3, at)
    partial = grant.model_copy(update={"files": {k: v for k, v in grant.files.items() if k != "manifest.json"}})
    with pytest.raises(Failed, match="no place for manifest"):
        built(partial)
    assert file(s3, at, "a1/model.onnx").exists()
    assert await peek(s3, at) is None
    assert (await granted(s3, replace(at, name="a2"))).published is None


async def test_a_build_that_lies_is_found_out(s3: S3Server, at: Attempt) -> None:
    grant = await granted(s3, at)
    nothing = Artifact(uri=grant.uri, sha256="0" * 64, size_bytes=1)
    with pytest.raises(FalseReportError, match="no such manifest"):
        await operators(s3).confirm(at, nothing)
    stored = built(grant)
    with pytest.raises(FalseReportError, match="no such manifest"):
        await operators(s3).confirm(at, nothing)
    file(s3, at, "a1/model.onnx").write_bytes(b"shorter")
    with pytest.raises(FalseReportError, match="has 7 bytes, its manifest says 13"):
        await operators(s3).confirm(at, stored.artifact)
    file(s3, at, "a1/model.onnx").unlink()
    with pytest.raises(FalseReportError, match="is missing"):
        await operators(s3).confirm(at, stored.artifact)
    assert await peek(s3, at) is None


@pytest.mark.parametrize("change", [{"key": OTHER}, {"attempt": "a9"}, {"files": []}, {"attempt": "../../other"}])
async def test_a_manifest_that_is_anothers_or_none_becomes_nothing(
    s3: S3Server, at: Attempt, change: dict[str, object]
) -> None:
    stored = built(await granted(s3, at))
    path = file(s3, at, "a1/manifest.json")
    content = json.dumps(json.loads(path.read_bytes()) | change).encode()
    path.write_bytes(content)
    told = stored.artifact.model_copy(update={"sha256": hashlib.sha256(content).hexdigest()})
    with pytest.raises(FalseReportError):
        await operators(s3).confirm(at, told)
    assert await peek(s3, at) is None


async def test_a_grant_reaches_its_own_attempt_only_and_holds_no_secret(s3: S3Server, at: Attempt) -> None:
    grant = await granted(s3, at)
    told = grant.model_dump_json()
    assert WRITER.secret not in told
    place = f"/engines/engines/{at.namespace}/{KEY}/a1/"
    assert all(place in url for url in grant.files.values())
    assert Grant.model_validate_json(told) == grant


async def test_a_namespace_sees_its_own_engines_only(s3: S3Server, at: Attempt) -> None:
    stored = built(await granted(s3, at))
    await operators(s3).confirm(at, stored.artifact)
    other = replace(at, namespace=f"{at.namespace}-b")
    assert await peek(s3, other) is None
    assert (await granted(s3, other)).published is None


async def test_a_store_that_is_away_is_a_failure_with_a_remedy_on_every_side(at: Attempt, tmp_path: Path) -> None:
    with s3_server(tmp_path / "s3") as server:
        grant = await granted(server, at)
        stored = built(grant)
        server.stop()
        with pytest.raises(Failed, match=r"does not answer.*NetworkPolicies"):
            built(grant)
        with pytest.raises(Failed, match=r"NetworkPolicies.*the pod tries again"):
            await peek(server, at)
        with pytest.raises(StoreError, match="NetworkPolicies"):
            await operators(server).confirm(at, stored.artifact)
        server.start()
        assert await operators(server).confirm(at, stored.artifact) == stored.artifact


async def test_a_build_may_read_the_timings_of_an_engine_of_its_namespace(
    s3: S3Server, at: Attempt, tmp_path: Path
) -> None:
    with GrantedStore(await granted(s3, at)).writing(KEY) as writer:
        (writer.folder / TIMINGS).write_bytes(b"timed")
        stored = publish(writer)
    await operators(s3).confirm(at, stored.artifact)
    grant = await operators(s3).grant(replace(at, key=OTHER), seconds=60, timings_of=KEY)
    assert GrantedStore(grant).take_timings(KEY, tmp_path / "taken")
    assert (tmp_path / "taken").read_bytes() == b"timed"
    file(s3, at, f"a1/{TIMINGS}").write_bytes(b"tamed")
    with pytest.raises(DamagedError, match="has sha256"):
        GrantedStore(grant).take_timings(KEY, tmp_path / "taken")
    file(s3, at, f"a1/{TIMINGS}").unlink()
    assert not GrantedStore(grant).take_timings(KEY, tmp_path / "taken")


async def test_no_timings_are_granted_of_an_engine_that_has_none_or_of_another_namespace(
    s3: S3Server, at: Attempt
) -> None:
    await operators(s3).confirm(at, built(await granted(s3, at)).artifact)
    for asked, key in ((replace(at, key=OTHER), KEY), (at, OTHER), (replace(at, namespace=f"{at.namespace}-2"), KEY)):
        assert (await operators(s3).grant(asked, seconds=60, timings_of=key)).timings is None
