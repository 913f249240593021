"""Laws of the sweep: whatever lies in the store and whoever uses what."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.planning.worlds import NOW
from yolofleet.api.recipe import engine_name
from yolofleet.planning.builds.sweeping import (
    YOUNG_S,
    InUse,
    StoredObject,
    Survey,
    Sweep,
    SweepPolicy,
    Why,
    full,
    sweep,
)

KEYS = [letter * 64 for letter in "abcdef"]
PLACES = st.sampled_from([(namespace, key) for namespace in ("cams", "gates") for key in KEYS[:3]])
AGES = st.sampled_from([0, 100, YOUNG_S, 5000, 90_000])
POLICY = SweepPolicy(retention_s=86_400, leftover_s=4200)


def ago(seconds: float):
    return NOW - timedelta(seconds=seconds)


def stored(place, attempt, *, age: float = 5000, size: int = 10, name: str = "") -> StoredObject:
    path = "/".join(filter(None, (*place, attempt, name or ("manifest.json" if attempt is None else "model.onnx"))))
    return StoredObject(place, attempt, path, size, ago(age))


def using(*places) -> InUse:
    return InUse({(namespace, engine_name(key)) for namespace, key in places}, set())


@st.composite
def surveys(draw) -> Survey:
    objects, published = [], {}
    for place in draw(st.sets(PLACES)):
        attempts = draw(st.sets(st.sampled_from(["a1", "a2", "a3"]), min_size=1))
        objects += [stored(place, attempt, age=draw(AGES), size=draw(st.integers(0, 50))) for attempt in attempts]
        named = draw(st.sampled_from([None, "absent", *sorted(attempts)]))
        if named != "absent":
            objects.append(stored(place, None, size=1))
            published[place] = named
    return Survey(tuple(objects), published)


@st.composite
def uses(draw) -> InUse:
    jobs = draw(st.sets(st.tuples(st.sampled_from(["cams", "gates"]), st.sampled_from(["a1", "a2"]))))
    return InUse(using(*draw(st.sets(PLACES))).engines, jobs)


policies = st.builds(SweepPolicy, st.just(86_400.0), st.just(4200.0), st.none() | st.integers(0, 200))
moments = st.dictionaries(PLACES, AGES.map(ago))


@given(surveys(), uses(), moments, policies)
def test_what_is_in_use_stays(survey: Survey, in_use: InUse, since, policy: SweepPolicy) -> None:
    made = sweep(survey, in_use, since, policy=policy, now=NOW)
    by_name = {found.name: found for found in survey.objects}
    for doomed in made.deletions:
        for found in (by_name[name] for name in doomed.names):
            assert found.place == doomed.place
            if in_use.has(found.place):
                assert doomed.why == Why.LEFTOVER
                assert found.attempt not in (None, survey.published.get(found.place))
                assert (found.place[0], found.attempt) not in in_use.attempts
                assert found.modified <= ago(policy.leftover_s)


@given(surveys(), uses(), moments, policies)
def test_nothing_goes_twice_and_the_sums_are_right(survey, in_use, since, policy) -> None:
    made = sweep(survey, in_use, since, policy=policy, now=NOW)
    gone = [name for doomed in made.deletions for name in doomed.names]
    assert len(gone) == len(set(gone))
    assert made.kept_bytes == sum(found.size_bytes for found in survey.objects if found.name not in gone)
    for doomed in made.deletions:
        manifests = [name for name in doomed.names if name.count("/") == 2]
        assert list(doomed.names[: len(manifests)]) == manifests, "a manifest goes before its files"


@given(surveys(), uses(), moments, policies)
def test_a_second_sweep_at_once_finds_nothing_more(survey, in_use, since, policy) -> None:
    made = sweep(survey, in_use, since, policy=policy, now=NOW)
    gone = {name for doomed in made.deletions for name in doomed.names}
    left = tuple(found for found in survey.objects if found.name not in gone)
    places = {found.place for found in left if found.attempt is None}
    again = Survey(left, {place: named for place, named in survey.published.items() if place in places})
    assert sweep(again, in_use, made.unused_since, policy=policy, now=NOW).deletions == ()


@given(surveys(), uses(), moments, policies)
def test_over_the_quota_only_what_is_used_or_young_is_left(survey, in_use, since, policy) -> None:
    made = sweep(survey, in_use, since, policy=policy, now=NOW)
    assert bool(made.over_bytes) == bool(full(made, policy))
    if made.over_bytes:
        assert all((NOW - moment).total_seconds() < YOUNG_S for moment in made.unused_since.values())


def swept(*objects: StoredObject, published=None, in_use=None, since=None, policy=POLICY) -> Sweep:
    survey = Survey(objects, published or {})
    return sweep(survey, in_use or using(), since or {}, policy=policy, now=NOW)


def test_an_engine_goes_when_nobody_used_it_for_the_retention_and_not_before() -> None:
    place = ("cams", KEYS[0])
    mine = (stored(place, None), stored(place, "a1"))
    first = swept(*mine, published={place: "a1"})
    assert first.deletions == ()
    assert first.unused_since == {place: NOW}, "the clock starts when it is first seen unused"
    (gone,) = swept(*mine, published={place: "a1"}, since={place: ago(86_400)}).deletions
    assert (gone.why, gone.size_bytes) == (Why.UNUSED, 20)
    assert gone.names[0].endswith(f"{KEYS[0]}/manifest.json")
    assert swept(*mine, published={place: "a1"}, since={place: ago(86_400)}, in_use=using(place)).unused_since == {}


def test_room_is_made_by_who_is_unused_longest_and_no_more_than_needed() -> None:
    places = [("cams", key) for key in KEYS[:3]]
    objects = [stored(place, "a1", size=10) for place in places]
    published = dict.fromkeys(places, "a1")
    since = {places[0]: ago(1000), places[1]: ago(3000), places[2]: ago(10)}
    policy = SweepPolicy(86_400, 4200, quota_bytes=20)
    (gone,) = swept(*objects, published=published, since=since, policy=policy).deletions
    assert (gone.place, gone.why) == (places[1], Why.NO_ROOM)
    tight = SweepPolicy(86_400, 4200, quota_bytes=5)
    made = swept(*objects, published=published, since=since, policy=tight, in_use=using(places[0]))
    assert [doomed.place for doomed in made.deletions] == [places[1]]
    assert made.over_bytes == 15
    assert "all of it in use" in full(made, tight)


def test_an_attempt_of_a_job_that_is_there_waits_however_old_it_is() -> None:
    place = ("cams", KEYS[0])
    old = stored(place, "a1", age=90_000)
    assert [doomed.why for doomed in swept(old, in_use=using(place)).deletions] == [Why.LEFTOVER]
    assert swept(old, in_use=InUse(using(place).engines, {("cams", "a1")})).deletions == ()
