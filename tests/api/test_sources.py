"""The identity of a source stands for its contents: no two places share one, and a digest beats any place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from e2e.api_manifests import STEADY, fitting
from yolofleet.api.crd import object_schema
from yolofleet.api.sources import KINDS, Source
from yolofleet.api.yoloengine import YoloEngine

SCHEMA = object_schema(YoloEngine)["properties"]["spec"]["properties"]["source"]
DIGEST, OTHER = "a" * 64, "b" * 64


def valid(told: Any) -> Source | None:
    try:
        return Source.model_validate(told)
    except ValueError:
        return None


SOURCES = fitting(SCHEMA).map(valid).filter(lambda source: source is not None)
PLACES = SOURCES.filter(lambda source: not source.identity.startswith("sha256:"))


@STEADY
@given(SOURCES)
def test_same_source_same_identity(source: Source) -> None:
    assert Source.model_validate(source.wire()).identity == source.identity
    assert source.kind in KINDS


@STEADY
@given(PLACES, PLACES)
def test_other_place_other_identity(one: Source, other: Source) -> None:
    assume(_place(one) != _place(other))
    assert one.identity != other.identity


def _place(source: Source) -> Source:
    """Return the source without what does not tell places apart: who may read them."""
    return source.model_copy(update={"s3": source.s3.model_copy(update={"secret_ref": None})}) if source.s3 else source


def test_bucket_endpoint_and_key_do_not_run_into_each_other() -> None:
    one = Source.model_validate({"s3": {"endpoint": "http://h/a", "bucket": "b", "key": "c"}})
    other = Source.model_validate({"s3": {"endpoint": "http://h", "bucket": "a", "key": "b/c"}})
    assert one.identity != other.identity


@pytest.mark.parametrize(
    "told",
    [
        {"http": {"url": "https://a.example.com/best.pt", "sha256": DIGEST}},
        {"http": {"url": "https://mirror.example.com/x.pt", "sha256": DIGEST}},
        {"pvc": {"claimName": "weights", "path": "best.pt", "sha256": DIGEST}},
        {"s3": {"bucket": "models", "key": "best.pt", "sha256": DIGEST}},
    ],
)
def test_a_digest_stands_for_the_contents_wherever_they_lie(told: dict[str, Any]) -> None:
    assert Source.model_validate(told).identity == f"sha256:{DIGEST}"


@pytest.mark.parametrize(
    ("told", "identity"),
    [
        ({"builtin": "yolo26n"}, "builtin:yolo26n"),
        ({"pvc": {"claimName": "weights", "path": "a/best.pt"}}, "pvc:weights/a/best.pt"),
        ({"oci": {"image": f"registry.example.com/a@sha256:{OTHER}"}}, f"oci:registry.example.com/a@sha256:{OTHER}"),
    ],
)
def test_without_a_digest_the_place_stands_for_them(told: dict[str, Any], identity: str) -> None:
    assert Source.model_validate(told).identity == identity


@STEADY
@given(st.sets(st.sampled_from(KINDS)))
def test_exactly_one_source(kinds: set[str]) -> None:
    places: dict[str, Any] = {
        "builtin": "yolo26n",
        "http": {"url": "https://a.example.com/best.pt", "sha256": DIGEST},
        "s3": {"bucket": "models", "key": "best.pt"},
        "pvc": {"claimName": "weights", "path": "best.pt"},
        "oci": {"image": f"registry.example.com/a@sha256:{OTHER}"},
    }
    assert (valid({kind: places[kind] for kind in kinds}) is not None) == (len(kinds) == 1)
