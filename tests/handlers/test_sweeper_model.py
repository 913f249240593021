"""A fleet's life over a real S3 server, as a model check: builds, crashes, users who come and go, damage, sweeps."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from model_repo_builder.granted_store import GrantedStore
from tests.model_repo_builder.test_store import told_of
from tests.raw_objects import settings as operators_settings
from tests.s3_server import WRITER, S3Server
from yolofleet.api.recipe import engine_name
from yolofleet.apply.engine_store import Attempt, EngineStore, FalseReportError
from yolofleet.handlers.store_keeper import StoreKeeper
from yolofleet.handlers.sweeper import Sweeper
from yolofleet.observe.cache import Cache
from yolofleet.planning.builds.sweeping import YOUNG_S, InUse, SweepPolicy, sweep
from yolofleet.render.meta import ATTEMPT_ANNOTATION, ENGINE_LABEL

CASES = int(os.environ.get("LAW_CASES", "0"))
"""LAW_CASES=1000 for the thorough run: lives that begin with so many engines in the store, every other one in use."""
KEYS = [hashlib.sha256(str(index).encode()).hexdigest() for index in range(CASES or 8)]
NAMESPACE = "cams"
DAY_S = 86_400
QUOTA = 1500 * CASES or 4000
HERE: list[S3Server] = []
places = st.sampled_from(KEYS)


@pytest.fixture(autouse=True)
def _on(s3: S3Server) -> Iterator[None]:
    HERE.append(s3)
    yield
    HERE.pop()


class StoreLife(RuleBasedStateMachine):
    """The model: which keys are whole and published, who uses them, which attempts are under way."""

    def __init__(self) -> None:
        super().__init__()
        s3 = HERE[-1]
        prefix = f"{secrets.token_hex(6)}/"
        self.objects = s3.objects()
        self.prefix = prefix
        self.store = EngineStore(s3.bucket(prefix), lambda: WRITER)
        chosen = operators_settings(store={"kind": "S3", "s3": {"endpoint": s3.bucket().endpoint, "prefix": prefix}})
        self.keeper = StoreKeeper(chosen)
        self.cache = Cache()
        self.sweeper = Sweeper(chosen, self.cache, self.keeper)
        self.sweeper.policy = SweepPolicy(retention_s=DAY_S, leftover_s=8400, quota_bytes=QUOTA)
        self.now = datetime.now(UTC)
        self.version = 0
        self.users: set[str] = set()
        self.building: dict[str, str] = {}
        self.published: dict[str, str] = {}
        self.loop = asyncio.new_event_loop()

    def teardown(self) -> None:
        self.loop.close()

    def do(self, act: Any) -> Any:
        return self.loop.run_until_complete(act)

    def put(self, kind: str, name: str, **meta: Any) -> dict[str, Any]:
        self.version += 1
        stamp = {"namespace": NAMESPACE, "name": name, "resourceVersion": str(self.version), "uid": name}
        obj = {"kind": kind, "metadata": stamp | meta, "spec": {}}
        self.cache.put(kind, obj)
        return obj

    def remove(self, kind: str, name: str) -> None:
        self.cache.remove(kind, {"metadata": {"namespace": NAMESPACE, "name": name, "uid": name}})

    @initialize(alien=st.sampled_from(["notes.txt", "cams/notes.txt", f"cams/{KEYS[0]}/a/b/c", f"cams/{'A' * 64}/x"]))
    def somebody_else_has_a_thing_there(self, alien: str) -> None:
        self.alien = f"{self.prefix}{alien}"
        assert self.do(self.objects.put(self.alien, b"not ours"))

    @initialize()
    def many_are_there(self) -> None:
        for index, key in enumerate(KEYS[:CASES]):
            self.is_wanted_and_built(key, 64, "well")
            if index % 2:
                self.leaves(key)

    def comes_to_use(self, key: str) -> None:
        self.users.add(key)
        self.put("YoloEngine", engine_name(key))

    @precondition(lambda self: self.users)
    @rule(data=st.data())
    def goes(self, data: st.DataObject) -> None:
        """The engine goes with its Job; a pod of an upgrade may still serve it."""
        self.leaves(data.draw(st.sampled_from(sorted(self.users))))

    def leaves(self, key: str) -> None:
        self.users.discard(key)
        self.building.pop(key, None)
        for kind in ("YoloEngine", "Job", "Pod"):
            self.cache.remove(
                kind, {"metadata": {"namespace": NAMESPACE, "name": engine_name(key), "uid": engine_name(key)}}
            )

    @precondition(lambda self: self.users)
    @rule(data=st.data())
    def an_old_pod_serves_on(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.users)))
        name = engine_name(key)
        self.remove("YoloEngine", name)
        self.put("Pod", name, labels={ENGINE_LABEL: name})

    @rule(key=places, size=st.integers(1, 900), ends=st.sampled_from(["well", "well", "dead", "late"]))
    def is_wanted_and_built(self, key: str, size: int, ends: str) -> None:
        """A Job publishes; or dies in the middle; or is done when a sweep has just been."""
        self.comes_to_use(key)
        if key in self.published:
            return
        attempt = Attempt(NAMESPACE, key, f"a{self.version}")
        name = engine_name(key)
        self.put("Job", name, labels={ENGINE_LABEL: name}, annotations={ATTEMPT_ANNOTATION: attempt.name})
        self.building[key] = attempt.name
        grant = self.do(self.store.grant(attempt, seconds=60))
        assert grant.published is None
        with GrantedStore(grant).writing(key) as writer:
            (writer.folder / "model.onnx").write_bytes(os.urandom(size))
            if ends == "dead":
                os.truncate(writer.folder / "model.onnx", 0)
                self.do(self.objects.put(f"{self.prefix}{NAMESPACE}/{key}/{attempt.name}/model.onnx", b"half"))
                return
            stored = writer.publish(told_of(writer.folder, key))
        if ends == "late":
            self.sweep()
        assert self.do(self.store.confirm(attempt, stored.artifact)) == stored.artifact
        self.published[key] = attempt.name

    @rule(seconds=st.sampled_from([0, YOUNG_S, 9000, DAY_S, DAY_S, 3 * DAY_S]))
    def time_passes_and_it_is_swept(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.sweep()

    def sweep(self) -> None:
        before = self.unused_since()
        made = self.do(self.sweeper.once(self.store, self.now))
        gone = {doomed.place[1] for doomed in made.deletions if doomed.why != "Leftover"}
        assert not gone & self.users
        for key in gone:
            self.published.pop(key, None)
        over = [key for key, since in before.items() if self.now - since >= timedelta(days=1)]
        assert not set(over) & set(self.published), "what nobody used for a day is gone"
        kept = sum(found.size_bytes for found in self.do(self.store.survey()).objects)
        assert made.kept_bytes == kept
        assert bool(self.keeper.full) == (kept > QUOTA)

    def unused_since(self) -> dict[str, datetime]:
        known = self.sweeper._unused_since
        return {key: since for (_, key), since in known.items() if key not in self.users}

    @invariant()
    def every_published_engine_is_whole(self) -> None:
        """And what is another's is where it was."""
        survey = self.do(self.store.survey())
        there = {(found.place[1], found.attempt) for found in survey.objects}
        for key, attempt in self.published.items():
            assert {(key, None), (key, attempt)} <= there
            assert survey.published[(NAMESPACE, key)] == attempt
        assert {key for _, key in survey.published} == set(self.published)
        assert self.do(self.objects.size(self.alien)) == len(b"not ours")
        assert set(self.building.values()) <= {attempt for _, attempt in there}, "no attempt of a Job is taken"


@pytest.mark.timeout(7200 if CASES else 300)
def test_a_stores_life_is_as_the_model_has_it() -> None:
    lives, steps = (2, 60) if CASES else (10, 25)
    checks = settings(
        max_examples=lives, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(StoreLife, settings=checks)


async def test_a_build_that_was_begun_after_the_decision_keeps_its_engine(s3: S3Server) -> None:
    """Between the decision and the deletion somebody comes: it is asked once more, under the key's lock."""
    store = EngineStore(s3.bucket(f"{secrets.token_hex(6)}/"), lambda: WRITER)
    attempt = Attempt(NAMESPACE, KEYS[0], "a1")
    with GrantedStore(await store.grant(attempt, seconds=60)).writing(KEYS[0]) as writer:
        (writer.folder / "model.onnx").write_bytes(b"whole")
        stored = writer.publish(told_of(writer.folder, KEYS[0]))
    await store.confirm(attempt, stored.artifact)
    policy, now = SweepPolicy(retention_s=0, leftover_s=0), datetime.now(UTC)
    (doomed,) = sweep(await store.survey(), InUse(set(), set()), {}, policy=policy, now=now).deletions
    assert not await store.discard(doomed, lambda: False)
    assert (await store.grant(attempt, seconds=60)).published is not None
    assert await store.discard(doomed, lambda: True)
    assert (await store.survey()).objects == ()
    with pytest.raises(FalseReportError):
        await store.confirm(attempt, stored.artifact)
    assert await store.survey(["other"]) == await store.survey(["cams"])
