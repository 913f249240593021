"""Every CEL rule of the CRDs has a twin in the models that says the same words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from yolofleet.api import yolodeployment as ydep
from yolofleet.api.base import LABEL_KEY_RULE
from yolofleet.api.crd import object_schema
from yolofleet.api.migpool import DRA, MIG_MANAGER, MigPool
from yolofleet.api.scaling import BOUNDS, SCHEDULE_BOUNDS
from yolofleet.api.serving import REQUEST_LIMIT, TOLERATION_KEY, TOLERATION_SECONDS, TOLERATION_VALUE
from yolofleet.api.sources import INSIDE, ONE_SOURCE
from yolofleet.api.yolodeployment import YoloDeployment
from yolofleet.api.yoloengine import IMMUTABLE, YoloEngine

MODEL = {"builtin": "yolo26n"}
PVC = {"pvc": {"claimName": "frames", "path": "set.zip"}}
SCHEDULE = {"name": "rush", "cron": "0 6 * * *", "durationMinutes": 60, "minReplicas": 9}


def tolerating(**toleration: Any) -> dict[str, Any]:
    return {"serving": {"tolerations": [toleration]}}


DEPLOYMENTS: dict[str, list[dict[str, Any]]] = {
    ONE_SOURCE: [
        {"model": {}},
        {"model": MODEL | PVC},
        {"engine": {"precision": "INT8", "calibration": {"source": {}}}},
        {"engine": {"accuracyGate": {"dataset": MODEL | PVC}}},
    ],
    INSIDE: [{"model": {"pvc": {"claimName": "a", "path": path}}} for path in ("../b", "a/../b", "a/..")],
    ydep.CALIBRATION: [
        {"engine": {"precision": "FP8"}},
        {"engine": {"calibration": {"source": PVC}}},
        {"engine": {"precision": "FP16", "calibration": {"source": PVC}}},
    ],
    ydep.ONNX_PRECISION: [
        {"engine": {"backend": "ONNXRuntime", "precision": "FP16"}},
        {"engine": {"backend": "ONNXRuntime", "precision": "FP8", "calibration": {"source": PVC}}},
    ],
    ydep.PORTABLE: [{"engine": {"backend": "ONNXRuntime", "portable": "Build"}}],
    ydep.EXTERNAL: [
        {"scaling": {"mode": "External"}},
        {"scaling": {"mode": "External"}, "placement": {"profiles": ["gpu", "1g.10gb"]}},
    ],
    ydep.DECLARED: [{"scaling": {"mode": "Declared"}}],
    ydep.FRAMES: [{"frames": {"format": "NV12"}}, {"frames": {}, "endpoints": ["Frames", "JPEG"]}],
    BOUNDS: [{"scaling": {"minReplicas": 9}}, {"scaling": {"minReplicas": 3, "maxReplicas": 2}}],
    SCHEDULE_BOUNDS: [{"scaling": {"schedules": [SCHEDULE]}}],
    REQUEST_LIMIT: [
        {"serving": {"resources": {"requests": {name: 2}, "limits": {name: "1999m"}}}}
        for name in ("cpu", "memory", "ephemeral-storage")
    ],
    TOLERATION_KEY: [tolerating(), tolerating(operator="Equal", value="a")],
    TOLERATION_VALUE: [tolerating(key="a", operator="Exists", value="b")],
    TOLERATION_SECONDS: [tolerating(key="a", tolerationSeconds=1, effect="NoSchedule")],
    LABEL_KEY_RULE: [
        {"serving": {"nodeSelector": {"a b": "c"}}},
        {"serving": {"service": {"annotations": {"/a": "c"}}}},
    ],
}
POOLS: dict[str, list[dict[str, Any]]] = {
    MIG_MANAGER: [{"partitioning": {"mode": "MigManager"}}],
    DRA: [{"partitioning": {"mode": "DRA"}}, {"partitioning": {"dra": {}}}],
    LABEL_KEY_RULE: [{"nodeSelector": {"matchLabels": {"": "c"}}}],
}
CASES = [
    pytest.param(words, case, id=f"{words[:30]}-{i}")
    for words, told in DEPLOYMENTS.items()
    for i, case in enumerate(told)
]
POOL_CASES = [
    pytest.param(words, case, id=f"{words[:30]}-{i}") for words, told in POOLS.items() for i, case in enumerate(told)
]
BY_TYPE = {LABEL_KEY_RULE: "String should match pattern"}
"""The models say of a key what they say of any text that does not fit."""


def messages(node: dict[str, Any]) -> Iterator[str]:
    yield from (rule["message"] for rule in node.get("x-kubernetes-validations", []))
    inner = [node[word] for word in ("items", "additionalProperties") if isinstance(node.get(word), dict)]
    for child in [*node.get("properties", {}).values(), *inner]:
        yield from messages(child)


@pytest.mark.parametrize(("words", "fields"), CASES)
def test_twin_of_a_rule_for_deployments(words: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        YoloDeployment.model_validate({"metadata": {"name": "a"}, "spec": {"model": MODEL} | fields})
    assert BY_TYPE.get(words, words) in str(refused.value)


@pytest.mark.parametrize(("words", "fields"), POOL_CASES)
def test_twin_of_a_rule_for_pools(words: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        MigPool.model_validate({"spec": fields})
    assert BY_TYPE.get(words, words) in str(refused.value)


@pytest.mark.parametrize("name", ["", "A", "4th", "a" * 41, "a.b", "a-"])
def test_twin_of_the_rule_for_names(name: str) -> None:
    with pytest.raises(ValidationError) as refused:
        YoloDeployment.model_validate({"metadata": {"name": name}, "spec": {"model": MODEL}})
    assert ydep.NAME_MESSAGE in str(refused.value)


def test_no_rule_is_without_a_twin() -> None:
    assert set(messages(object_schema(YoloDeployment))) == {*DEPLOYMENTS, ydep.NAME_MESSAGE}
    assert set(messages(object_schema(MigPool))) == set(POOLS)
    assert set(messages(object_schema(YoloEngine))) == {ONE_SOURCE, INSIDE, IMMUTABLE}, "IMMUTABLE compares two objects"
