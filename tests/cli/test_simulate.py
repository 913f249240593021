"""`simulate` and its drawings: a fleet from a file, what is printed, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from yolofleet.api.fleet import Fleet
from yolofleet.cli.__main__ import main
from yolofleet.planning.capabilities import gpu_of
from yolofleet.planning.layouts.geometry import Slice, conflict, lattice_of
from yolofleet.planning.packing import Certificate, Need, Product, recomputed_bound
from yolofleet.planning.whatif.fleet import plan_fleet

EXAMPLE = Path(__file__).parents[2] / "docs" / "placement" / "fleet.json"
A100 = "NVIDIA-A100-SXM4-80GB"


def changed(tmp_path: Path, **parts: object) -> str:
    document = json.loads(EXAMPLE.read_text()) | parts
    (tmp_path / "fleet.json").write_text(json.dumps(document))
    return str(tmp_path / "fleet.json")


def ran(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(["simulate", *argv])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_example_needs_sixteen_gpus_proven(capsys) -> None:
    code, out, _ = ran(capsys, "-f", str(EXAMPLE), "--why")
    assert code == 0
    assert out.splitlines()[0] == "8 × NVIDIA-A100-SXM4-80GB + 8 × NVIDIA-H100-80GB-HBM3, cost 48 an hour, proven least"
    assert "H100-SXM-80GB #8" in out
    assert "is scarce: each further GPU would save" in out


def test_the_json_holds_legal_layouts_enough_slices_and_a_proof_that_checks(capsys) -> None:
    code, out, _ = ran(capsys, "-f", str(EXAMPLE), "-o", "json")
    told = json.loads(out)
    assert (code, told["proven"], told["cost"]) == (0, True, told["lowerBound"])
    placed: dict[tuple[str, str, str], int] = {}
    for gpu in told["gpus"]:
        lattice = lattice_of(gpu_of(gpu["product"]))  # type: ignore[arg-type]
        assert conflict(lattice, [Slice(one["start"], one["profile"]) for one in gpu["slices"]]) is None
        for one in gpu["slices"]:
            if one["deployment"]:
                key = (one["deployment"], gpu["product"], one["profile"])
                placed[key] = placed.get(key, 0) + 1
    wanted = {(d["name"], s["product"], s["profile"]): s["count"] for d in told["deployments"] for s in d["slices"]}
    assert placed == wanted
    worths = {(one["product"], one["profile"]): one["worth"] for one in told["proof"]["slices"]}
    proof = Certificate(told["proof"]["bound"], worths, told["proof"]["rents"])
    assert recomputed_bound(*_rates(), proof) >= told["proof"]["bound"] - 1e-6


def _rates() -> tuple[list[Product], list[Need]]:
    from yolofleet.planning.sizing.rates import sized
    from yolofleet.planning.whatif.fleet import _ask

    fleet = Fleet.model_validate_json(EXAMPLE.read_text())
    plain = {p.product: [c for c in gpu_of(p.product).profiles if "+" not in c.profile] for p in fleet.products}  # type: ignore[union-attr]
    offered = {(product, one.profile): one for product, kinds in plain.items() for one in kinds}
    curves = {model.name: tuple(model.curves) for model in fleet.models}
    needs = [sized(_ask(one, curves), offered).need for one in fleet.deployments]
    stock = [
        Product(
            p.product,
            lattice_of(gpu_of(p.product), [c.profile for c in plain[p.product]]),  # type: ignore[arg-type]
            float(p.per_gpu_hour),
            p.gpus,
        )
        for p in fleet.products
    ]
    return stock, needs


def test_the_picture_in_the_docs_is_the_one_that_is_drawn(capsys) -> None:
    _, out, _ = ran(capsys, "-f", str(EXAMPLE), "-o", "svg")
    assert out == EXAMPLE.with_name("layout.svg").read_text()
    told = [element.text for element in ET.fromstring(out).iter() if element.tag.endswith("}title")]  # noqa: S314
    slices = [one for gpu in plan_fleet(Fleet.model_validate_json(EXAMPLE.read_text())).gpus for one in gpu.slices]
    assert len(told) == len(slices)


def test_too_few_gpus_is_exit_code_1_and_names_who_goes_short(capsys, tmp_path) -> None:
    document = json.loads(EXAMPLE.read_text())
    deployments = [one | {"priority": 5 if one["name"] == "gate" else 0} for one in document["deployments"]]
    name = changed(tmp_path, products=[{"product": A100, "gpus": 3}], deployments=deployments)
    code, out, _ = ran(capsys, "-f", name)
    assert code == 1
    assert "3 × NVIDIA-A100-SXM4-80GB, cost 3 an hour; not all is served" in out
    assert "counting goes short of" in out
    assert "gate goes short" not in out


def test_an_objective_out_of_reach_is_told_per_slice(capsys, tmp_path) -> None:
    document = json.loads(EXAMPLE.read_text())
    one = document["deployments"][2] | {"objective": {"p99LatencyMilliseconds": 1}}
    code, out, _ = ran(capsys, "-f", changed(tmp_path, deployments=[one]))
    assert code == 1
    assert "no slice serves it" in out
    assert "1g.10gb: its p99 is" in out


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"products": [{"product": "NVIDIA-X900"}]}, "GPU product 'NVIDIA-X900' is in no table"),
        ({"products": []}, "products: List should have at least 1 item"),
        ({"models": []}, "no model 'yolo26n'"),
        ({"version": 2}, "version: Input should be 1"),
    ],
)
def test_a_file_that_cannot_be_planned_is_refused_with_the_field(capsys, tmp_path, parts, told) -> None:
    code, _, err = ran(capsys, "-f", changed(tmp_path, **parts))
    assert code == 2
    assert told in err


def test_a_file_that_is_not_there_is_said(capsys) -> None:
    code, _, err = ran(capsys, "-f", "nowhere.json")
    assert code == 2
    assert "No such file" in err
