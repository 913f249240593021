"""Models read what the API server hands out: strictly, without what they do not know, null as absent."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from yolofleet.api.serving import amount
from yolofleet.api.yolodeployment import YoloDeployment, YoloDeploymentSpec, spec_from

MODEL = {"model": {"builtin": "yolo26n"}}


def read(**fields: Any) -> YoloDeploymentSpec:
    return YoloDeploymentSpec.model_validate(MODEL | fields)


def test_unknown_fields_are_ignored_at_every_depth() -> None:
    told = MODEL | {
        "tomorrow": 1,
        "scaling": {"tomorrow": {}},
        "serving": {"tolerations": [{"operator": "Exists", "x": 1}]},
    }
    assert YoloDeploymentSpec.model_validate(told) == read(serving={"tolerations": [{"operator": "Exists"}]})


@pytest.mark.parametrize("fields", [{"engine": None}, {"demand": None}, {"serving": {"nodeSelector": {"a": None}}}])
def test_null_is_absent(fields: dict[str, Any]) -> None:
    assert read(**fields) == read()


@pytest.mark.parametrize(
    "fields",
    [
        {"endpoints": ["JPEG", "JPEG"]},
        {"placement": {"profiles": ["gpu", "1g.10gb", "gpu"]}},
        {"placement": {"products": ["NVIDIA-H200", "NVIDIA-H200"]}},
        {"serving": {"imagePullSecrets": [{"name": "a"}, {"name": "a"}]}},
        {"scaling": {"schedules": [{"name": "a", "cron": "0 6 * * *", "durationMinutes": 1, "minReplicas": 1}] * 2}},
    ],
)
def test_sets_and_maps_have_no_duplicates(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="duplicate"):
        read(**fields)


def test_null_in_a_list_is_an_error() -> None:
    with pytest.raises(ValidationError, match=r"endpoints\.0"):
        read(endpoints=[None])


@pytest.mark.parametrize(
    "fields", [{"replicas": "2"}, {"replicas": 2.5}, {"replicas": True}, {"suspend": "true"}, {"suspend": 1}]
)
def test_nothing_is_converted(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        read(**fields)


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert read(replicas=2.0) == read(replicas=2)


def test_values_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read().replicas = 3  # type: ignore[misc]


def test_a_spec_is_read_from_a_whole_object() -> None:
    assert spec_from({"kind": "YoloDeployment", "spec": MODEL}) == read()


def test_a_name_that_no_service_can_bear_is_refused() -> None:
    with pytest.raises(ValidationError, match="at most 40"):
        YoloDeployment.model_validate({"metadata": {"name": "a" * 41}, "spec": MODEL})


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [("999m", 1), ("1k", "1Ki"), ("1.5", "1501m"), ("1Gi", "1.1G"), ("1023Ki", "1Mi"), ("999G", "1T"), (0, "1m")],
)
def test_quantities_compare_by_what_they_stand_for(smaller: str | int, larger: str | int) -> None:
    assert amount(smaller) < amount(larger)


@pytest.mark.parametrize(
    ("one", "other"), [("1000m", 1), ("1024", "1Ki"), ("1.5k", 1500), ("1Gi", "1024Mi"), ("01", 1)]
)
def test_quantities_have_several_spellings(one: str | int, other: str | int) -> None:
    assert amount(one) == amount(other)
