"""`plan`, `layout`, `admit` and `simulate` on snapshots: what is foretold, drawn, refused, and the exit codes."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest
import yaml

from tests.planning import files
from yolofleet.api.snapshot import SnapshotFile
from yolofleet.cli.__main__ import main
from yolofleet.planning.capabilities import gpu_of
from yolofleet.planning.layouts.geometry import conflict, lattice_of
from yolofleet.planning.layouts.transition import after
from yolofleet.planning.whatif.optimum import optima


@pytest.fixture
def said(capsys, tmp_path):
    """Run a verb on a document; return exit code, what it printed, and what it complained of."""

    def run(verb: str, *arguments: str, document=None) -> tuple[int, str, str]:
        path = tmp_path / "given"
        path.write_text(json.dumps(files.snapshot() if document is None else document))
        code = main([verb, *arguments, "-f", str(path)])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_plan_foretells_what_the_operator_would_do_and_exit_code_3_says_so(said) -> None:
    code, out, _ = said("plan", "-o", "json")
    told = {one["name"]: one for one in json.loads(out)["deployments"]}
    assert code == json.loads(out)["exitCode"] == 3
    assert told["cams/dock"]["then"] == [{"profile": "3g.40gb", "replicas": 1}]
    assert told["cams/gate"]["then"] == [{"profile": "1g.10gb", "replicas": 2}]
    assert told["cams/yard"]["then"] == [{"profile": "2g.20gb", "replicas": 1}]
    assert json.loads(out)["steps"][2:] == [
        "cams/yard: start 1 × 2g.20gb",
        "cams/yard: drain 1 × 3g.40gb, once the new ones serve",
    ]
    code, out, _ = said("plan")
    assert (code, "2g.20gb: its p99 is 20.0 ms at best, the objective 12 ms" in " ".join(out.split())) == (3, True)


def test_plan_says_what_the_slices_cost_now_and_then(said) -> None:
    cost = json.loads(said("plan", "-o", "json")[1])["cost"]
    # Of eight memory slices at 4 an hour: now 1 + 4, then 2 × 1 + 2 + 4.
    assert cost == {"now": 2.5, "then": 4.0, "unit": "an hour"}
    assert "cost: 2.5 now, then 4 an hour" in said("plan")[1]
    unpriced = files.snapshot(pools=[])
    assert "cost: 0.625 now, then 1 GPUs' worth of slices" in said("plan", document=unpriced)[1]


def test_the_budget_for_little_movement_is_a_percentage(said, capsys) -> None:
    tight, loose = (said("simulate", "--slack", told, "-o", "json")[1] for told in ("0", "100"))
    costs = [json.loads(told)["pools"][0]["cost"] for told in (tight, loose)]
    assert costs[0] == json.loads(tight)["pools"][0]["lowerBound"]
    assert costs[1] <= 2 * costs[0]
    for wrong in ("-1", "101", "much", "nan"):
        with pytest.raises(SystemExit):
            said("simulate", "--slack", wrong)
        assert "is no percentage; give a number from 0 to 100" in capsys.readouterr().err


def test_little_movement_is_what_the_budget_allows(said) -> None:
    """Two replicas of another kind than the cheapest stay where they are if that costs no GPU more."""
    slots = [{"profile": "2g.20gb", "start": at, "owner": "fleet", "deployment": "cams/gate"} for at in (0, 2)]
    seen = files.snapshot(
        nodes=[files.node(slices={}, gpus=[{"index": 0, "layout": slots}], gpuCount=1)],
        deployments=[files.deployment("gate", 85, 100, {"2g.20gb": 2})],
    )
    code, out, _ = said("plan", "--layouts", "free", "-o", "json", document=seen)
    (pool,) = json.loads(out)["pools"]
    assert (code, pool["cost"], pool["steps"], pool["unreached"]) == (0, 4.0, [], [])


def test_plan_of_what_already_is_changes_nothing(said) -> None:
    settled = files.snapshot(deployments=[files.deployment("gate", 20, 100, {"1g.10gb": 1})])
    code, out, _ = said("plan", document=settled)
    assert (code, "Nothing would change." in out) == (0, True)


def test_plan_of_what_cannot_be_served_is_exit_code_1_and_names_the_lack(said) -> None:
    short = files.snapshot(deployments=[files.deployment("dock", 300, 12)])
    code, out, _ = said("plan", document=short)
    assert code == 1
    assert "cams/dock cannot be served: 2 of 4 × 3g.40gb would find no free slice" in out
    nowhere = files.snapshot(deployments=[files.deployment("dock", 1, 12, placement={"poolRef": {"name": "x"}})])
    assert said("plan", document=nowhere)[0] == 1


def test_free_layouts_come_with_cost_proof_and_legal_steps(said) -> None:
    code, out, _ = said("plan", "--layouts", "free", "-o", "json")
    (pool,) = json.loads(out)["pools"]
    assert (code, pool["cost"], pool["lowerBound"], pool["proven"], pool["costNow"]) == (3, 4.0, 4.0, True, 4.0)
    assert any("1 GPUs stay as they are" in note for note in pool["notes"])
    (found,) = optima(SnapshotFile.model_validate(files.snapshot()))[0]
    state = found.survey.today
    for step in found.transition.steps:
        state = after(state, step, found.survey.lattices)
    assert state == found.transition.final


def test_a_deployment_without_a_curve_is_named_and_keeps_what_it_has(said) -> None:
    blind = files.deployment("blind", 10, 50, {"2g.20gb": 1}, model={"builtin": "yolo11s"})
    code, out, _ = said("simulate", document=files.snapshot(deployments=[blind]))
    assert code == 0
    assert "note: cams/blind: no curve for it yet: planned as 1 × 2g.20gb, which it has" in out
    new = files.deployment("blind", 10, 50, model={"builtin": "yolo11s"})
    assert (
        "planned as 1 × 1g.10gb, which is the smallest"
        in said("simulate", document=files.snapshot(deployments=[new]))[1]
    )


def test_an_unknown_demand_is_named(said) -> None:
    unknown = files.snapshot(deployments=[files.deployment("gate", None, 30, {"2g.20gb": 2})])
    code, out, _ = said("simulate", document=unknown)
    assert code == 0
    assert "note: cams/gate: its demand is not known: planned as 2 replicas" in out


def test_more_replicas_than_the_least_that_is_asked_for(said) -> None:
    two = files.snapshot(
        nodes=[files.node()], deployments=[files.deployment("gate", 10, 100, scaling={"minReplicas": 3})]
    )
    told = json.loads(said("simulate", "-o", "json", document=two)[1])
    assert sum(s["count"] for d in told["pools"][0]["deployments"] for s in d["slices"]) == 3


def test_layout_shows_whose_each_slice_is_and_the_places_are_legal(said) -> None:
    code, out, _ = said("layout", "-o", "json")
    told = json.loads(out)
    slices = [one for gpu in told["gpus"] for one in gpu["slices"]]
    assert code == 0
    assert sorted(one["deployment"] or one["owner"] for one in slices if one["owner"] != "free") == [
        "cams/gate",
        "cams/yard",
        "foreign",
    ]
    from yolofleet.planning.layouts.geometry import Slice

    for gpu in told["gpus"]:
        held = [Slice(one["start"], one["profile"]) for one in gpu["slices"]]
        assert conflict(lattice_of(gpu_of(gpu["product"])), held) is None  # type: ignore[arg-type]
    assert any("worked out from counts" in note for note in told["notes"])
    assert "1g gate" in said("layout")[1]
    picture = ET.fromstring(said("layout", "-o", "svg")[1])  # noqa: S314
    titles = [element.text for element in picture.iter() if element.tag.endswith("}title")]
    assert len(titles) == len(slices)
    assert any("1g.10gb at" in str(title) and "others" in str(title) for title in titles)


def test_places_that_were_seen_are_kept(said) -> None:
    layout = [
        {"profile": "3g.40gb", "start": 0, "owner": "fleet", "deployment": "cams/yard"},
        {"profile": "1g.10gb", "start": 6, "owner": "foreign"},
        {"profile": "2g.20gb", "start": 4},
    ]
    seen = files.snapshot(nodes=[files.node(slices={}, gpus=[{"index": 0, "layout": layout}])])
    (gpu,) = json.loads(said("layout", "-o", "json", document=seen)[1])["gpus"]
    assert [(one["start"], one["owner"]) for one in gpu["slices"]] == [(0, "fleet"), (4, "free"), (6, "foreign")]
    layout[2]["start"] = 0
    notes = json.loads(said("layout", "-o", "json", document=seen)[1])["notes"]
    assert "node n1 is left out: gpus[0].layout: 2g.20gb at 0 overlaps 3g.40gb at 0; check start and profile" in notes


def test_admit_counts_streams_each_way_by_planning(said) -> None:
    code, out, _ = said("admit", "gate", "-o", "json")
    ways = {one["way"]: one["streams"] for one in json.loads(out)["ways"]}
    as_cut, anew = ways["on the slices as they are cut"], ways["with GPUs cut anew"]
    assert code == 0
    # gate may take the 4 free 1g beside its own or, alone for its demand, what dock and yard leave.
    assert as_cut == 4 * 320 // 15
    assert anew >= as_cut
    assert ways[f"one {files.H100} more, cut anew"] > anew
    full = files.snapshot(deployments=[files.deployment("gate", 500, 100, {"1g.10gb": 1})])
    code, out, _ = said("admit", "cams/gate", document=full)
    assert code == 1


def test_admit_says_what_another_precision_or_profile_would_bring(said) -> None:
    bound = files.deployment("gate", 30, 100, placement={"profiles": ["1g.10gb"]})
    both = [files.engine(), files.engine("e-2", factor=2, precision="INT8", calibration="x")]
    _, out, _ = said("admit", "gate", "-o", "json", document=files.snapshot(deployments=[bound], engines=both))
    ways = {one["way"]: one["streams"] for one in json.loads(out)["ways"]}
    assert ways["with GPUs cut anew, in INT8"] > ways["with GPUs cut anew"]
    assert ways["with GPUs cut anew, placement.profiles not only 1g.10gb"] > ways["with GPUs cut anew"]


@pytest.mark.parametrize(
    ("verb", "document", "told"),
    [
        ("plan", files.snapshot(version=2), "version: Input should be 1"),
        ("plan", files.snapshot(nodez=[]), "nodez: no such field (got"),
        ("simulate", files.snapshot(nodes=[files.node(allocatible=1)]), "nodes[0].allocatible: no such field"),
        ("plan", files.snapshot(nodes=[files.node(), files.node()]), "nodes: 'n1' stands there twice"),
        ("plan", {"things": 1}, "holds things (got"),
        ("plan", {"version": 1, "products": [{"product": files.H100}], "models": [], "deployments": []}, "simulate -f"),
        ("plan", {"apiVersion": "v1", "kind": "Pod"}, "holds v1 Pod"),
        ("admit", files.snapshot(), "NAME: no such YoloDeployment (got 'default/nobody'); name one of: cams/dock"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_field_value_and_remedy(said, verb, document, told) -> None:
    code, out, err = said(verb, *(["nobody"] if verb == "admit" else []), document=document)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert ";" in err


def test_a_picture_of_today_takes_no_manifests_which_sit_nowhere_yet(said) -> None:
    manifest = {"apiVersion": "yolofleet.dev/v1alpha1", "kind": "YoloDeployment", "metadata": {"name": "gate"}}
    code, out, err = said("layout", document=manifest | {"spec": {"model": {"builtin": "yolo26n"}}})
    assert (code, out) == (2, "")
    assert "manifests sit nowhere yet" in err
    assert "--planned" in err


def test_a_snapshot_in_yaml_is_read_too(capsys, tmp_path) -> None:
    path = tmp_path / "given.yaml"
    path.write_text(yaml.safe_dump(files.snapshot()))
    assert main(["plan", "-f", str(path)]) == 3
    assert "cams/gate: start 1 × 1g.10gb" in capsys.readouterr().out


def test_what_plan_printed_as_a_snapshot_is_planned_alike(said) -> None:
    _, out, _ = said("plan", "-o", "snapshot")
    assert said("plan", document=json.loads(out)) == said("plan")


def test_same_snapshot_same_plan_whatever_the_order(said) -> None:
    given = files.snapshot()
    mixed = given | {key: given[key][::-1] for key in ("nodes", "deployments", "engines")}
    for arguments in (("plan",), ("plan", "--layouts", "free"), ("simulate", "-o", "json")):
        assert said(*arguments, document=mixed) == said(*arguments)
