"""The packed mapping: what goes in comes out, as a copy of its own, for a fraction of the memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import orjson
import pytest

from tests.raw_objects import Object, yolodeployment
from yolofleet.observe.packed import Key, Packed

GATE = Key("YoloDeployment", "cams", "gate")


def obj(version: int = 7) -> Object:
    made = yolodeployment()
    made["metadata"] |= {"resourceVersion": str(version), "uid": "u1"}
    return made


def test_what_goes_in_comes_out_as_a_copy() -> None:
    packed = Packed()
    packed[GATE] = obj()
    packed[GATE]["metadata"]["name"] = "changed by a reader"
    assert packed[GATE] == obj()
    assert (list(packed), len(packed)) == ([GATE], 1)


def test_versions_are_known_without_unpacking() -> None:
    packed = Packed()
    packed[GATE] = obj(12)
    assert packed.version(GATE) == 12
    assert dict(packed.versions()) == {GATE: 12}


def test_what_is_not_there_has_no_version() -> None:
    packed = Packed()
    assert packed.version(GATE) == -1
    assert packed.get(GATE) is None
    with pytest.raises(KeyError):
        del packed[GATE]


def test_it_takes_less_than_half_of_what_dictionaries_take() -> None:
    text = orjson.dumps(obj() | {"status": {"conditions": [{"type": f"C{n}", "message": "x" * 60} for n in range(6)]}})

    def taken(fill: Callable[[], object]) -> int:
        tracemalloc.start()
        kept = fill()
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert kept
        return taken

    def packed() -> Packed:
        made = Packed()
        for n in range(500):
            made[Key("YoloDeployment", "cams", f"gate-{n}")] = orjson.loads(text)
        return made

    plain = taken(lambda: {Key("YoloDeployment", "cams", f"gate-{n}"): orjson.loads(text) for n in range(500)})
    assert taken(packed) < 0.5 * plain
