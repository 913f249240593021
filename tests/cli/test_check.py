"""`check`: a plan that was written holds, and each claim that is forged is found."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.planning import files
from yolofleet.cli.__main__ import main

FLEET = Path(__file__).parents[2] / "docs" / "placement" / "fleet.json"
Plan = dict[str, Any]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Return the plan of the documentation's fleet, as `simulate -o json` writes it."""
    from contextlib import redirect_stdout
    from io import StringIO

    with redirect_stdout(StringIO()) as out:
        assert main(["simulate", "-f", str(FLEET), "-o", "json"]) == 0
    told: Plan = json.loads(out.getvalue())
    return told


def check(capsys: pytest.CaptureFixture[str], folder: Path, plan: Any, given: Any = None) -> tuple[int, str, str]:
    (folder / "plan.json").write_text(plan if isinstance(plan, str) else json.dumps(plan))
    (folder / "given.json").write_text(FLEET.read_text() if given is None else json.dumps(given))
    code = main(["check", str(folder / "plan.json"), "-f", str(folder / "given.json")])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_plan_in_the_docs_holds(capsys, tmp_path, written: Plan) -> None:
    code, out, _ = check(capsys, tmp_path, written)
    words = "16 GPUs are cut legally, 8 deployments get what it says; no plan costs less than 48, by its prices\n"
    assert (code, out) == (0, words)


def cheaper(plan: Plan) -> None:
    plan["cost"] = plan["lowerBound"] = 47.0


def bolder(plan: Plan) -> None:
    plan["lowerBound"] = 50.0


def dearer_slices(plan: Plan) -> None:
    for one in plan["proof"]["slices"]:
        one["worth"] *= 1.5


def overlapping(plan: Plan) -> None:
    slices = plan["gpus"][0]["slices"]
    slices[1]["start"] = slices[0]["start"]


def taken_away(plan: Plan) -> None:
    next(one for one in plan["gpus"][0]["slices"] if one["deployment"])["deployment"] = None


def forgotten(plan: Plan) -> None:
    plan["deployments"] = plan["deployments"][1:]


def too_many(plan: Plan) -> None:
    plan["gpus"] += [gpu for gpu in plan["gpus"] if gpu["product"] == files.H100]


def unproven(plan: Plan) -> None:
    plan["lowerBound"] = 40.0


@pytest.mark.parametrize(
    ("forge", "told"),
    [
        (cheaper, "cost: 47 is claimed, the GPUs cost 48"),
        (bolder, "lowerBound: 50 is claimed, the prices prove 48"),
        (dearer_slices, "a layout is worth"),
        (overlapping, "overlaps"),
        (taken_away, "is served, 0 are said to be missing"),
        (forgotten, "counting is missing"),
        (too_many, f"gpus: 16 × {files.H100}, there are 8"),
        (unproven, "proven: the cost is 48, the bound 40"),
    ],
)
def test_what_is_forged_is_found(capsys, tmp_path, written: Plan, forge: Callable[[Plan], None], told: str) -> None:
    plan = copy.deepcopy(written)
    forge(plan)
    code, out, _ = check(capsys, tmp_path, plan)
    assert code == 1
    assert out.startswith("the plan does not hold:\n")
    assert told in out


def test_a_snapshots_plan_holds_pool_by_pool_also_when_somebody_goes_short(capsys, tmp_path) -> None:
    short = files.snapshot(deployments=[files.deployment("gate", 900, 100), files.deployment("dock", 1, 2)])
    path = tmp_path / "snapshot.json"
    path.write_text(json.dumps(short))
    assert main(["plan", "-f", str(path), "--layouts", "free", "-o", "json"]) == 1
    plan = json.loads(capsys.readouterr().out)
    code, out, _ = check(capsys, tmp_path, plan, short)
    assert (code, out) == (
        0,
        "pool default: 1 GPUs are cut legally, 2 deployments get what it says; no bound is claimed\n",
    )
    plan["pools"][0]["deployments"][0]["unservedFps"] = 0
    assert check(capsys, tmp_path, plan, short)[0] == 1


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ("{", "no JSON"),
        ({"cost": -1}, "cost: Input should be greater than or equal to 0"),
        ({}, "cost: Field required"),
        ([], "PLAN: file: Input should be an object"),
    ],
)
def test_what_is_no_plan_is_refused_with_the_remedy(capsys, tmp_path, plan: Any, told: str) -> None:
    code, out, err = check(capsys, tmp_path, plan)
    assert (code, out) == (2, "")
    assert told in err
    assert "simulate -f FILE -o json" in err


def test_a_plan_of_another_file_is_refused(capsys, tmp_path, written: Plan) -> None:
    assert "of which -f says nothing" in check(capsys, tmp_path, written, files.snapshot())[2]
    manifests = {"apiVersion": "yolofleet.dev/v1alpha1", "kind": "YoloDeployment", "metadata": {"name": "x"}}
    given = manifests | {"spec": {"model": {"builtin": "yolo26n"}}}
    assert "holds manifests" in check(capsys, tmp_path, written, given)[2]
    assert main(["check", str(tmp_path / "nothing"), "-f", str(FLEET)]) == 2
