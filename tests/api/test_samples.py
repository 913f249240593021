"""The samples are manifests of ours, and the full ones are full."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.api_manifests import SOURCES, places
from e2e.api_samples import SAMPLES, documents
from yolofleet.api.crd import object_schema
from yolofleet.api.migpool import MigPool
from yolofleet.api.yolodeployment import YoloDeployment, YoloDeploymentSpec

MODELS = {"YoloDeployment": YoloDeployment, "MigPool": MigPool}
FILES = sorted(SAMPLES.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_sample_is_read_and_says_what_it_is(path: Path) -> None:
    assert path.read_text().startswith("# ")
    for manifest in documents(path):
        if manifest["kind"] in MODELS:
            MODELS[manifest["kind"]].model_validate(manifest)


def test_names_of_samples_differ_so_that_all_can_be_applied_at_once() -> None:
    names = [(doc["kind"], doc["metadata"]["name"]) for path in FILES for doc in documents(path)]
    assert len(names) == len(set(names))


def test_shortest_is_short() -> None:
    (manifest,) = documents(SAMPLES / "yolodeployment-shortest.yaml")
    assert manifest["spec"] == {"model": {"builtin": "yolo26n"}}


def test_full_deployment_has_every_field() -> None:
    path = SAMPLES / "yolodeployment-full.yaml"
    (manifest,) = documents(path)
    schema = object_schema(YoloDeployment)["properties"]["spec"]
    missing = [
        ".".join(map(str, (*where, name)))
        for where, node, present in places(schema, manifest["spec"])
        for name in node.get("properties", {})
        if name not in SOURCES and name not in present and where[:-1] != ("serving", "tolerations")
    ]
    assert missing == []
    assert all(f"{kind}:" in path.read_text() for kind in SOURCES), "a comment shows each other source"


def test_full_pool_has_every_field_but_those_of_the_other_mode() -> None:
    (manifest,) = documents(SAMPLES / "migpool-mig-manager.yaml")
    schema = object_schema(MigPool)["properties"]["spec"]
    missing = {
        name
        for _, node, at in places(schema, manifest["spec"])
        for name in node.get("properties", {})
        if name not in at
    }
    assert missing == {"dra"}


def test_onnxruntime_sample_is_what_the_demo_applies() -> None:
    (manifest,) = documents(SAMPLES / "yolodeployment-onnxruntime.yaml")
    spec = YoloDeploymentSpec.model_validate(manifest["spec"])
    assert (spec.model.builtin, spec.engine.backend, spec.engine.precision) == ("yolo26n-shapes", "ONNXRuntime", None)


def test_external_sample_scales_what_it_deploys() -> None:
    deployment, autoscaler = documents(SAMPLES / "yolodeployment-external-scaling.yaml")
    target = autoscaler["spec"]["scaleTargetRef"]
    assert target == {key: deployment[key] for key in ("apiVersion", "kind")} | {"name": deployment["metadata"]["name"]}
