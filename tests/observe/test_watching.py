"""Lists, watches and audits against the fake API server: what is told, what is missed, what is mended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.fake_api_server import FakeApiServer, Fault, resource
from tests.raw_objects import Object, node, yolodeployment
from yolofleet.errors import ApiServerError
from yolofleet.kube import PAGE, Kube
from yolofleet.observe import reflector
from yolofleet.observe.audit import audit
from yolofleet.observe.cache import Cache, Key
from yolofleet.observe.reflector import reflect, relist

OURS = {"app.kubernetes.io/managed-by": "yolofleet", "yolofleet.dev/deployment": "gate"}
GATE = Key("YoloDeployment", "cams", "gate")


def pod(name: str = "p1", labels: Object | None = None, namespace: str = "cams", **meta: str) -> Object:
    named = OURS if labels is None else labels
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": named, "annotations": meta},
        "spec": {"containers": []},
        "status": {"phase": "Pending"},
    }


def names(cache: Cache, kind: str = "Pod") -> list[str]:
    return sorted(key.name for key in cache.all(kind))


async def until(met: Callable[[], bool]) -> None:
    """Wait for something that other tasks bring about."""
    async with asyncio.timeout(30):
        while not met():  # noqa: ASYNC110 - whatever it is, it may happen in another task or on the server
            await asyncio.sleep(0.005)


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.fixture
def backs() -> list[int]:
    """How many pods were known each time that the server was said to be back."""
    return []


@pytest.fixture
async def watching(server: FakeApiServer, kube: Kube, cache: Cache, backs, monkeypatch) -> AsyncIterator[Callable]:
    """Start a reflector of pods, from a list or from a version."""
    monkeypatch.setattr(reflector, "FIRST_PAUSE_S", 0.01)
    tasks = []

    def back() -> None:
        backs.append(len(names(cache)))

    async def start(since: str = "", namespace: str | None = None) -> None:
        tasks.append(asyncio.create_task(reflect(kube, cache, resource("Pod"), namespace, since, back=back)))
        await until(lambda: server.watched("Pod"))

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# Lists


async def test_a_list_in_pages_is_one_list(server, kube, cache):
    for number in range(PAGE + 1):
        server.put(pod(f"p{number}"))
    version = await relist(kube, cache, resource("Pod"), None)
    assert len(names(cache)) == PAGE + 1
    assert version == str(server.version)
    assert [a.query.get("limit") for a in server.asked] == [str(PAGE), str(PAGE)]


async def test_an_empty_list_is_a_list(kube, cache):
    assert await relist(kube, cache, resource("Pod"), None) == "100"
    assert names(cache) == []


async def test_a_list_forgets_what_is_gone_and_keeps_other_namespaces(server, kube, cache):
    server.put(pod("a"))
    server.put(pod("b"))
    server.put(pod("c", namespace="others"))
    await relist(kube, cache, resource("Pod"), None)
    server.remove("Pod", "a")
    server.remove("Pod", "c", "others")
    await relist(kube, cache, resource("Pod"), "cams")
    assert names(cache) == ["b", "c"]


async def test_of_services_only_metadata_is_asked_for(server, kube, cache):
    server.put(
        {"kind": "Service", "metadata": {"name": "s", "namespace": "cams", "labels": OURS}, "spec": {"ports": []}}
    )
    await relist(kube, cache, resource("Service"), None)
    assert cache.get(Key("Service", "cams", "s")).keys() == {"kind", "metadata"}


async def test_a_refused_list_is_an_error_and_forgets_nothing(server, kube, cache):
    server.put(pod())
    await relist(kube, cache, resource("Pod"), None)
    server.faults.append(Fault("GET", "pods", 403, "Forbidden", "pods is forbidden"))
    with pytest.raises(ApiServerError, match="403 Forbidden: pods is forbidden"):
        await relist(kube, cache, resource("Pod"), None)
    assert names(cache) == ["p1"]


# Watches


async def test_a_watch_tells_of_ours_only(server, cache, watching):
    await watching()
    server.put(pod("ours"))
    server.put(pod("theirs", {}))
    server.put(pod("ours-too"))
    await until(lambda: "ours-too" in names(cache))
    assert names(cache) == ["ours", "ours-too"]
    server.remove("Pod", "ours")
    await until(lambda: names(cache) == ["ours-too"])


async def test_a_watch_begins_where_the_list_ended(server, kube, cache, watching):
    server.put(pod("before"))
    since = await relist(kube, cache, resource("Pod"), None)
    server.put(pod("between"))
    server.asked.clear()
    await watching(since)
    await until(lambda: names(cache) == ["before", "between"])
    assert all(asked.query.get("watch") for asked in server.asked), "no second list"


async def test_a_watch_that_ends_goes_on_from_its_last_bookmark(server, cache, watching):
    await watching()
    server.tell("Pod", {"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": {"resourceVersion": "777"}}})
    server.end_watches()
    await until(lambda: server.asked[-1].query.get("resourceVersion") == "777")
    assert names(cache) == []


@pytest.mark.parametrize("code", [410, 500])
async def test_an_error_in_the_stream_means_a_new_list(server, kube, cache, watching, caplog, code):
    server.put(pod("stays"))
    server.put(pod("goes"))
    await watching(await relist(kube, cache, resource("Pod"), None))
    assert names(cache) == ["goes", "stays"]
    server.silent.add("pods")
    server.remove("Pod", "goes")
    server.put(pod("comes"))
    server.silent.clear()
    error = {"kind": "Status", "code": code, "reason": "Expired", "message": "too old"}
    server.tell("Pod", {"type": "ERROR", "object": error})
    await until(lambda: names(cache) == ["comes", "stays"])
    assert ("watch interrupted" in caplog.text) == (code != 410), "a forgotten version is nobody's fault"


async def test_a_version_that_the_server_forgot_means_a_new_list(server, cache, watching):
    server.put(pod("a"))
    server.compacted = server.version + 1
    task = asyncio.create_task(watching("5"))
    await until(lambda: names(cache) == ["a"])
    server.compacted = 0
    await task


async def test_a_server_that_is_away_is_asked_again_and_said_to_be_back_once(server, cache, watching, backs):
    server.faults.append(Fault("GET", "pods", 0, times=2))
    server.put(pod("a"))
    await watching()
    assert names(cache) == ["a"]
    assert backs == [1], "when all is known again"


async def test_a_large_object_comes_through(server, cache, watching):
    await watching()
    server.put(pod("large", note="x" * 900_000))
    await until(lambda: names(cache) == ["large"])


async def test_a_stream_of_one_namespace_stays_in_it(server, cache, watching):
    await watching(namespace="cams")
    server.put(pod("there", namespace="others"))
    server.put(pod("here"))
    await until(lambda: names(cache) == ["here"])


# Audits


async def found(kube: Kube, cache: Cache, kind: str = "Pod", **given) -> int:
    facts = {"namespace": None, "grace_s": 0.0} | given
    return (await audit(kube, cache, resource(kind), **facts)).missed


async def test_when_nothing_was_missed_an_audit_is_one_list_of_metadata(server, kube, cache):
    server.put(pod())
    await relist(kube, cache, resource("Pod"), None)
    server.asked.clear()
    assert await found(kube, cache) == 0
    assert len(server.asked) == 1


async def test_a_missed_change_is_found_and_mended(server, kube, cache):
    server.put(yolodeployment())
    await relist(kube, cache, resource("YoloDeployment"), None)
    cache.dirty.take(10)
    server.put(yolodeployment(suspend=True))
    assert await found(kube, cache, "YoloDeployment") == 1
    assert cache.get(GATE)["spec"]["suspend"] is True
    assert cache.dirty.take(10) == {GATE}


async def test_a_missed_birth_is_found_and_mended(server, kube, cache):
    server.put(pod())
    assert await found(kube, cache) == 1
    assert names(cache) == ["p1"]


async def test_a_missed_end_is_found_and_mended(server, kube, cache):
    server.put(pod())
    await relist(kube, cache, resource("Pod"), None)
    server.remove("Pod", "p1")
    cache.dirty.take(10)
    assert await found(kube, cache) == 1
    assert names(cache) == []
    assert cache.dirty.take(10) == {GATE}


async def test_what_the_watch_tells_within_the_grace_was_not_missed(server, kube, cache):
    server.put(pod("a"))
    await relist(kube, cache, resource("Pod"), None)
    server.remove("Pod", "a")
    changed = server.put(pod("b"))

    async def told_late() -> None:
        await until(lambda: bool(server.asked) and server.asked[-1].method == "GET")
        await asyncio.sleep(0.02)
        cache.put("Pod", changed)
        cache.remove("Pod", cache.get(Key("Pod", "cams", "a")))

    server.asked.clear()
    late = asyncio.create_task(told_late())
    assert await found(kube, cache, grace_s=1) == 0
    await late


async def test_what_was_born_after_the_list_is_not_taken_for_gone(server, kube, cache, monkeypatch):
    """Our own write is in the cache before any list knows of it."""
    whole = Kube.pages

    async def pages(self, *args, **given):
        async for page in whole(self, *args, **given):
            cache.put("Pod", server.put(pod("new")))
            yield page

    monkeypatch.setattr(Kube, "pages", pages)
    assert await found(kube, cache) == 0


async def test_one_namespace_is_not_blamed_for_another(server, kube, cache):
    server.put(pod("here"))
    server.put(pod("there", namespace="others"))
    await relist(kube, cache, resource("Pod"), None)
    finding = await audit(kube, cache, resource("Pod"), namespace="cams", grace_s=0)
    assert (finding.missed, finding.namespace) == (0, "cams")


async def test_nodes_are_audited_too(server, kube, cache):
    server.put(node())
    assert await found(kube, cache, "Node") == 1
    assert names(cache, "Node") == ["n1"]
