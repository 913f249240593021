"""The fences name every field that there is: one that Kubernetes or our own API adds fails here first."""

import json
import re

import yaml

from tests.charts.kubernetes_schemas import SHARED, schemas
from tests.charts.rendering import RELEASE, ROOT, Helm, Object, named

POLICY = "ValidatingAdmissionPolicy"
PODLESS = {"resources", "nodeSelector", "service"}
"""Fields of `serving` that reach no further than any author may: bounded by quota, by the pool, by its own rules."""


def _expressions(policy: Object) -> str:
    return "\n".join(rule["expression"] for rule in policy["spec"]["validations"])


def test_the_node_fence_knows_every_field_of_a_nodes_spec(helm: Helm) -> None:
    definitions = json.loads((schemas() / SHARED).read_text())["definitions"]
    fields = set(definitions["io.k8s.api.core.v1.NodeSpec"]["properties"])
    told = _expressions(named(helm.objects(), POLICY, f"{RELEASE}-node-fence"))
    fenced = set(re.findall(r"object\.spec\.\?(\w+) == oldObject\.spec", told))
    assert fenced == fields - {"taints"}


def test_the_author_fence_knows_every_field_of_serving_and_every_source(helm: Helm) -> None:
    crd = yaml.safe_load((ROOT / "crds/yolodeployments.yolofleet.dev.yaml").read_text())
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    told = _expressions(named(helm.objects(), POLICY, f"{RELEASE}-author-fence")).replace("?", "")
    serving = set(spec["properties"]["serving"]["properties"])
    assert {field for field in serving if f"serving.{field}" in told} | PODLESS == serving
    assert set(re.findall(r"serving\.service\.(\w+)", told)) == {"type", "annotations"}
    assert set(spec["properties"]["serving"]["properties"]["service"]["properties"]) == {"type", "annotations"}
    places = [".".join(path) for path in _named(spec, "claimName")]
    assert len(places) == 3
    assert [place for place in places if f"object.spec.{place}.pvc" not in told] == []
    secrets = [".".join(path) for path in _named(spec, "secretRef")]
    assert [place for place in secrets if f"object.spec.{place}.s3.secretRef" not in told] == []


def _named(schema: Object, field: str, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the places of a source (a pvc, an s3) that has the field."""
    found: list[tuple[str, ...]] = []
    for key, value in schema.get("properties", {}).items():
        if key == field:
            found.append(path[:-1])
        found += _named(value, field, (*path, key))
    return found


def test_every_refusal_names_its_reason_and_is_final_for_the_operator(helm: Helm) -> None:
    policies = [found for found in helm.objects() if found["kind"] == POLICY]
    assert len(policies) == 6
    for policy in policies:
        assert policy["spec"]["failurePolicy"] == "Fail"
        assert {rule["reason"] for rule in policy["spec"]["validations"]} == {"Forbidden"}
        assert all(rule["messageExpression"] for rule in policy["spec"]["validations"])
