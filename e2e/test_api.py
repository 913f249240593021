"""Story: what the API server accepts the operator accepts, what it refuses the operator refuses, defaults included.

The API server is the real one, asked by dry run with fieldValidation=Strict. Two asymmetries are known:
a field that nobody knows is refused by the API server, and ignored by the operator, so that an older operator
survives a newer object; and the API server takes 2.0 for 2 (and hands out 2) only where neither a CEL rule nor
/scale reads the field, while the operator takes it everywhere. kubectl never sends 2.0.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from pydantic import ValidationError

from e2e.api_manifests import SOURCES, STEADY, Odd, Path, places, specs, sweep
from e2e.api_rules import mend_deployment, mend_pool
from e2e.api_samples import base_specs
from e2e.api_server import ApiServer
from yolofleet.api import API_VERSION
from yolofleet.api.crd import object_schema
from yolofleet.api.migpool import MigPool
from yolofleet.api.yolodeployment import YoloDeployment
from yolofleet.api.yoloengine import IMMUTABLE, YoloEngine

pytestmark = pytest.mark.e2e
pytest_plugins = ("e2e.api_fixture",)

Spec = Any
Model = YoloDeployment | YoloEngine | MigPool
MODELS: dict[str, type[Model]] = {model.kind: model for model in (YoloDeployment, YoloEngine, MigPool)}
MENDS: dict[str, Callable[[Any], None]] = {"YoloDeployment": mend_deployment, "MigPool": mend_pool}
SCHEMAS = {kind: object_schema(model)["properties"]["spec"] for kind, model in MODELS.items()}
EXAMPLES = {"YoloDeployment": 300, "YoloEngine": 80, "MigPool": 120}
KINDS = sorted(MODELS)


def manifest(kind: str, spec: Spec, *, name: str = "drawn") -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def operator_reads(kind: str, told: dict[str, Any]) -> Model | str:
    """Return the model that the operator makes of an object, or why it refuses it."""
    try:
        return MODELS[kind].model_validate(told)
    except ValidationError as error:
        return str(error)


@dataclass(frozen=True)
class Judged:
    """What both made of one manifest; `differs` is empty when they agree."""

    accepted: bool
    differs: str = ""


def judged(api: ApiServer, kind: str, told: dict[str, Any]) -> Judged:
    """Let both judge one manifest."""
    answer, read = api.dry_run(told, kind=kind), operator_reads(kind, told)
    if isinstance(read, str):
        differs = f"only the API server accepts it; the operator says: {read}"
        return Judged(answer.accepted, differs if answer.accepted else "")
    if not answer.accepted:
        differs = f"only the operator accepts it; the API server says: {answer.message}"
        return Judged(accepted=False, differs="" if has_whole_float(told) else differs)
    kept = MODELS[kind].model_validate(answer.body)
    same = kept.spec == read.spec and answer.body["spec"] == read.spec.wire()
    differs = f"other defaults: API server {answer.body['spec']}, operator {read.spec.wire()}"
    return Judged(accepted=True, differs="" if same else differs)


def has_whole_float(value: Any) -> bool:
    """Whether 2.0 stands somewhere for 2."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (isinstance(value, float) and value.is_integer()) or any(map(has_whole_float, inner))


@pytest.mark.parametrize("kind", KINDS)
def test_every_odd_value_of_every_field_gets_the_same_answer_from_both(api: ApiServer, kind: str) -> None:
    found: list[str] = []
    verdicts: Counter[bool] = Counter()
    for base, odd in sweep(SCHEMAS[kind], base_specs(kind)):
        told = manifest(kind, odd.put_into(base))
        if odd.path == () and odd.value is ...:
            del told["spec"]
        both = judged(api, kind, told)
        verdicts[both.accepted] += 1
        found += [f"spec.{_name(odd.path)}, {odd.what}: {both.differs}"] if both.differs else []
    print(f"{kind}: {verdicts[True]} accepted, {verdicts[False]} refused")
    assert not found, f"{len(found)} disagreements\n" + "\n".join(found)
    assert min(verdicts.values()) > 20, "the sweep is one-sided: it shows little"


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_specs_get_the_same_answer_from_both(api: ApiServer, kind: str) -> None:
    verdicts: Counter[bool] = Counter()

    @settings(STEADY, max_examples=EXAMPLES[kind])
    @given(specs(SCHEMAS[kind], MENDS.get(kind, lambda _: None)))
    def judge(spec: Spec) -> None:
        told = manifest(kind, spec)
        both = judged(api, kind, told)
        assert not both.differs, f"{both.differs}\n{yaml.safe_dump(told)}"
        verdicts[both.accepted] += 1

    judge()
    print(f"{kind}: {verdicts[True]} accepted, {verdicts[False]} refused")
    assert min(verdicts[True], verdicts[False]) * 10 > EXAMPLES[kind], f"drawn specs are one-sided: {verdicts}"


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "a" * 40,
        "gate-2",
        "a" * 41,
        "2gate",
        "-gate",
        "gate-",
        "gate.north",
        "Gate",
        "gate_2",
        "",
        "a b",
        "é",
        "a\n",
    ],
)
def test_names_of_deployments_get_the_same_answer_from_both(api: ApiServer, name: str) -> None:
    told = manifest("YoloDeployment", {"model": {"builtin": "yolo26n"}}, name=name)
    assert judged(api, "YoloDeployment", told).differs == ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_that_nobody_knows_is_refused_by_the_api_server_and_ignored_by_the_operator(
    api: ApiServer, kind: str
) -> None:
    base = base_specs(kind)[0]
    for path in [path for path, node, _ in places(SCHEMAS[kind], base) if "properties" in node]:
        told = manifest(kind, _with_unknown(base, path))
        answer = api.dry_run(told, kind=kind)
        assert not answer.accepted
        assert 'unknown field "spec.' in answer.message
        assert operator_reads(kind, told) == operator_reads(kind, manifest(kind, base)), yaml.safe_dump(told)


def _with_unknown(base: Spec, path: Path) -> Spec:
    made = copy.deepcopy(base)
    place = made
    for step in path:
        place = place[step]
    place["fieldOfTomorrow"] = {"mode": "Fast"}
    return made


def test_the_sweep_reaches_every_field_of_every_kind() -> None:
    for kind, schema in SCHEMAS.items():
        reached = {_name(path) for base in base_specs(kind) for path, _, _ in places(schema, base)}
        missing = {name for name in _fields(schema) if name not in reached and not _another_source(name)}
        assert missing == set()


def _another_source(name: str) -> bool:
    """Whether a field is of a source that the base shows elsewhere; the types are the same."""
    parent, _, rest = name.partition(".source.") if ".source." in name else name.partition(".dataset.")
    return bool(parent.startswith(("engine.", "labelled", "calibration")) and rest.split(".")[0] in SOURCES)


def _name(path: Path) -> str:
    return ".".join("[]" if isinstance(step, int) else step for step in path)


def _fields(schema: dict[str, Any], path: Path = ()) -> list[str]:
    inner = [((*path, name), child) for name, child in schema.get("properties", {}).items()]
    inner += [((*path, 0), schema["items"])] if "items" in schema else []
    return [_name(path)] + [name for where, child in inner for name in _fields(child, where)]


def test_the_spec_of_an_engine_is_never_changed(api: ApiServer) -> None:
    spec = base_specs("YoloEngine")[0]
    created = api.create(manifest("YoloEngine", spec, name=f"e-{spec['key'][:20]}"), kind="YoloEngine")
    assert created.accepted, created.message
    try:
        for odd in _changes(spec):
            answer = api.replace(created.body | {"spec": odd.put_into(spec)}, kind="YoloEngine")
            assert not answer.accepted, odd
            assert IMMUTABLE in answer.message, odd
        assert api.replace(created.body, kind="YoloEngine").accepted, "the same spec again is no change"
    finally:
        api.delete(created.body["metadata"]["name"], kind="YoloEngine")


def _changes(spec: Spec) -> list[Odd]:
    """Return one valid change of every field that keeps the object valid but for the change."""
    return [
        Odd(("key",), "another key", "f" * 64),
        Odd(("source",), "another source", {"builtin": "yolo11n"}),
        Odd(("recipe", "task"), "another task", "Pose"),
        Odd(("recipe", "maxBatchSize"), "another batch", spec["recipe"]["maxBatchSize"] + 1),
        Odd(("recipe", "endpoints"), "fewer endpoints", ["JPEG"]),
        Odd(("recipe", "imageSize", "height"), "another size", 320),
        Odd(("target",), "no target", ...),
        Odd(("builder", "image"), "another image", "localhost/other"),
    ]
