"""Who asks and what may they list: the API server's answers are kept for a while, and strangers are bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from kubernetes.aio.client import Configuration

from tests.reviews import Reviews
from yolofleet.errors import ApiServerError, NotYet
from yolofleet.kube import Kube
from yolofleet.observe import access as module
from yolofleet.observe.access import BURST, KEPT_S, Access
from yolofleet.observe.resources import YOLODEPLOYMENT

AUDIENCE = "yolofleet.dev"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def reviews() -> Reviews:
    tokens = {"t-ann": ("ann", ""), "t-bob": ("bob", ""), "made-for-us": ("viewer", AUDIENCE)}
    return Reviews(tokens, {"ann": {("yolodeployments", "cams")}})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def access(reviews, clock) -> AsyncIterator[Access]:
    async with reviews.server() as server:
        kube = Kube(Configuration(host=str(server.make_url("")).rstrip("/")))
        yield Access(kube, clock)
        await kube.close()


async def test_a_known_token_is_somebody_and_an_unknown_one_nobody(access) -> None:
    asker = await access.who("t-ann")
    assert asker is not None
    assert asker.name == "ann"
    assert await access.who("t-eve") is None


async def test_a_token_counts_only_for_the_audience_that_it_was_made_for(access) -> None:
    assert (await access.who("made-for-us", audience=AUDIENCE)).name == "viewer"
    assert await access.who("made-for-us") is None
    assert await access.who("t-ann", audience=AUDIENCE) is None


async def test_an_authenticator_that_knows_no_audiences_vouches_for_none(access, reviews, monkeypatch) -> None:
    reviews.tokens = {"legacy": ("ann", AUDIENCE)}
    original = access._review

    async def without_audiences(*arguments):
        return {k: v for k, v in (await original(*arguments)).items() if k != "audiences"}

    monkeypatch.setattr(access, "_review", without_audiences)
    assert await access.who("legacy", audience=AUDIENCE) is None


async def test_rights_are_asked_for_the_user_with_all_that_the_api_server_said_of_it(access, reviews) -> None:
    ann = await access.who("t-ann")
    assert await access.may(ann, "list", YOLODEPLOYMENT, "cams")
    assert not await access.may(ann, "list", YOLODEPLOYMENT, "gates")
    assert not await access.may(ann, "list", YOLODEPLOYMENT, None)
    assert reviews.asked[-1]["groups"] == ["system:authenticated"]
    assert "namespace" not in reviews.asked[-1]["resourceAttributes"]


async def test_answers_are_kept_for_some_seconds_refusals_too(access, reviews, clock) -> None:
    for _ in range(5):
        ann = await access.who("t-ann")
        await access.who("t-eve")
        await access.may(ann, "list", YOLODEPLOYMENT, "gates")
    assert len(reviews.asked) == 3
    clock.now += KEPT_S
    await access.who("t-ann")
    assert len(reviews.asked) == 4


async def test_one_persons_rights_are_not_anothers(access) -> None:
    ann, bob = await access.who("t-ann"), await access.who("t-bob")
    assert await access.may(ann, "list", YOLODEPLOYMENT, "cams")
    assert not await access.may(bob, "list", YOLODEPLOYMENT, "cams")


async def test_strangers_without_end_are_turned_away_and_load_nobody(access, reviews, clock) -> None:
    for number in range(int(BURST)):
        assert await access.who(f"guess-{number}") is None
    with pytest.raises(NotYet):
        await access.who("one-too-many")
    assert len(reviews.asked) == BURST
    assert await access.who("guess-0") is None, "what is known is answered all the same"
    clock.now += 1
    assert (await access.who("t-ann")).name == "ann"


async def test_tokens_are_not_kept_and_memory_is_bounded(access, clock, monkeypatch) -> None:
    monkeypatch.setattr(module, "KEPT_ANSWERS", 20)
    for number in range(70):
        clock.now += 0.001 + 1 / 20
        await access.who(f"guess-{number}")
    assert len(access._askers._answers) == 20
    assert "guess" not in repr(access._askers._answers)


async def test_a_failing_api_server_is_not_kept_as_an_answer(access, reviews) -> None:
    reviews.broken = 403
    with pytest.raises(ApiServerError):
        await access.who("t-ann")
    reviews.broken = 0
    assert (await access.who("t-ann")).name == "ann"
