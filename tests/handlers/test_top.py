"""`/top`: nobody without a token, nothing beyond what the asker may list, and the same figures for many at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from kubernetes.aio.client import Configuration

from tests.raw_objects import H100, yolodeployment
from tests.reviews import Reviews
from yolofleet.api.top import AUDIENCE, AUDIENCE_HEADER, TOKEN_HEADER, Top
from yolofleet.handlers import top as module
from yolofleet.handlers.figures import Figure, Figures
from yolofleet.handlers.top import Page, app
from yolofleet.kube import Kube
from yolofleet.observe.access import BURST, Access
from yolofleet.observe.cache import Cache, Key
from yolofleet.planning.scaling.memory import Figures as FpsFigures
from yolofleet.planning.scaling.signals import Signals
from yolofleet.planning.slices.pools import SliceUse

TOKENS = {"t-ann": ("ann", ""), "t-root": ("root", ""), "t-bob": ("bob", ""), "made": ("viewer", AUDIENCE)}
ALL = {("yolodeployments", ""), ("migpools", "")}
RIGHTS = {"ann": {("yolodeployments", "cams")}, "root": ALL, "viewer": ALL}
SIGNALS = Signals(
    arrival_fps=702.0,
    served_fps=690.5,
    failed_fps=0.0,
    queue_us=3250.0,
    p99_us=41_000.0,
    mean_batch=5.5,
    busy=0.81,
    engine_active=None,
    age_s=1.5,
)
GATE = Figure(
    desired=4,
    reason="FollowingDemand",
    capacity_fps=288.0,
    demand=FpsFigures(None, 702.0, 702.0, 690.5),
    signals=SIGNALS,
    conditions=(),
    replicas=4,
    ready=3,
    objective_ms=50,
)


@pytest.fixture
def cache() -> Cache:
    made = Cache()
    for version, (name, namespace) in enumerate((("gate", "cams"), ("yard", "cams"), ("dock", "gates")), 5):
        obj = yolodeployment(name, namespace, scaling={"minReplicas": 1, "maxReplicas": 8})
        obj["metadata"] |= {"uid": name, "resourceVersion": str(version)}
        obj["status"] = {
            "readyReplicas": 2,
            "scaling": {"desiredReplicas": 3, "reason": "FollowingDemand", "message": "702 ÷ …"},
        }
        made.put("YoloDeployment", obj)
    return made


@pytest.fixture
def reviews() -> Reviews:
    return Reviews(TOKENS, RIGHTS)


@pytest.fixture
async def client(cache, reviews) -> AsyncIterator[TestClient]:
    async with reviews.server() as server:
        kube = Kube(Configuration(host=str(server.make_url("")).rstrip("/")))
        figures = Figures()
        figures.slices = lambda: [SliceUse(product=H100, profile="1g.10gb", total=7, used=2, foreign=1)]
        figures.take(Key("YoloDeployment", "cams", "gate"), GATE)
        page = Page(cache, Access(kube, clock=lambda: 1.0), figures)  # a clock that stands: no new questions come due
        async with TestClient(TestServer(app(page))) as made:
            yield made
        await kube.close()


async def ask(client: TestClient, token: str = "", namespace: str = "", **headers: str) -> tuple[int, Any]:
    sent = ({TOKEN_HEADER: token} if token else {}) | headers
    answer = await client.get("/top", params={"namespace": namespace} if namespace else {}, headers=sent)
    return answer.status, await answer.json()


async def test_an_administrator_sees_all_with_slices(client) -> None:
    status, told = await ask(client, "t-root")
    top = Top.model_validate(told)
    assert status == 200
    assert [(row.namespace, row.name) for row in top.deployments] == [
        ("cams", "gate"),
        ("cams", "yard"),
        ("gates", "dock"),
    ]
    assert (top.version, top.omitted) == (1, 0)
    assert top.slices is not None
    assert (top.slices[0].used, top.slices[0].total) == (2, 7)


async def test_a_row_has_status_and_what_is_seen_now_and_null_for_what_is_not(client) -> None:
    _, told = await ask(client, "t-ann", "cams")
    gate, yard = told["deployments"]
    assert (gate["ready"], gate["desired"], gate["maxReplicas"], gate["reason"]) == (3, 4, 8, "FollowingDemand")
    assert (gate["demandFps"], gate["servedFps"], gate["busy"]) == (702.0, 690.5, 0.81)
    assert (gate["p99Ms"], gate["queueMs"], gate["capacityFps"], gate["signalsAgeSeconds"]) == (41.0, 3.25, 288.0, 1.5)
    assert gate["engineActive"] is None
    assert (yard["ready"], yard["desired"], yard["servedFps"]) == (2, 3, None)


async def test_a_viewer_of_one_namespace_sees_that_one_and_no_slices(client) -> None:
    status, told = await ask(client, "t-ann", "cams")
    assert status == 200
    assert {row["namespace"] for row in told["deployments"]} == {"cams"}
    assert told["slices"] is None


@pytest.mark.parametrize(
    ("token", "namespace", "status", "words"),
    [
        ("", "cams", 401, TOKEN_HEADER),
        ("t-eve", "cams", 401, "log in again"),
        ("t-ann", "gates", 403, "ann may not list yolodeployments in namespace gates; ask for"),
        ("t-ann", "", 403, "in all namespaces; name one of yours with -n"),
        ("t-bob", "cams", 403, "bob may not list"),
        ("t-ann", "../x", 400, "is no name of a namespace"),
        ("t-ann", "x" * 64, 400, "is no name of a namespace"),
        ("made", "cams", 401, "log in again"),
    ],
)
async def test_each_refusal_says_what_to_do_and_shows_nothing(client, token, namespace, status, words) -> None:
    got, told = await ask(client, token, namespace)
    assert got == status
    assert words in told["message"]
    assert "gate" not in str(told).replace("gates", "")


async def test_a_token_made_for_this_audience_is_taken_as_such(client) -> None:
    status, told = await ask(client, "made", **{AUDIENCE_HEADER: AUDIENCE})
    assert status == 200
    assert len(told["deployments"]) == 3


async def test_an_api_server_that_says_nothing_lets_nobody_in(client, reviews) -> None:
    reviews.broken = 500
    status, told = await ask(client, "t-root")
    assert status == 503
    assert "cannot ask the API server who you are" in told["message"]


async def test_guesses_without_end_are_turned_away(client) -> None:
    answers = [(await ask(client, f"guess-{n}"))[0] for n in range(int(BURST) + 20)]
    assert answers == [401] * int(BURST) + [429] * 20


async def test_many_who_look_at_once_cost_one_look(client, monkeypatch) -> None:
    looks = []
    monkeypatch.setattr(module, "top_row", lambda obj, *live: looks.append(obj) or original(obj, *live))
    for _ in range(20):
        await ask(client, "t-ann", "cams")
    assert len(looks) <= 4


original = module.top_row


async def test_rows_are_bounded_and_the_rest_counted(client, monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 2)
    _, told = await ask(client, "t-root")
    assert (len(told["deployments"]), told["omitted"]) == (2, 1)


async def test_nothing_else_is_served_on_this_port(client) -> None:
    assert (await client.get("/metrics")).status == 404
    assert (await client.post("/top")).status == 405
