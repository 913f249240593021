"""The dashboards: every query parses, names only series that somebody gives, and every panel can be read."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.fakes.dcgm_exporter.page import FAMILIES
from tests.monitoring.conftest import Promtool
from yolofleet.handlers.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/yolofleet"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((CHART / "dashboards").glob("*.json"))}
every_dashboard = pytest.mark.parametrize("made", DASHBOARDS.values(), ids=DASHBOARDS)
RULES = [
    rule
    for path in sorted((CHART / "rules").glob("*.yaml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
TRITON = {
    "nv_inference_count",
    "nv_inference_exec_count",
    "nv_inference_request_success",
    "nv_inference_request_failure",
    "nv_inference_queue_duration_us",
    "nv_inference_request_summary_us",
}
"""The families of Triton's page that are read; the story on the real server sees that they are there."""
NAME = re.compile(r"\b(?:yolofleet|nv|DCGM_FI|pod:|yolodeployment:|gpu:|gpu_instance:)[A-Za-z0-9_:]*(?=[{\[\s)(]|$)")


def panels(made: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in made["panels"] if panel["type"] != "row"]


def queries() -> Iterator[str]:
    for made in DASHBOARDS.values():
        yield from (target["expr"] for panel in panels(made) for target in panel["targets"])
        yield from (variable["query"]["query"] for variable in made["templating"]["list"][1:])


def given() -> set[str]:
    """Return the names of all series that the operator, Triton, DCGM and the recording rules give."""
    operator = set()
    for family in Metrics().registry.collect():
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        operator |= {f"{family.name}{end}" for end in ends}
    return operator | TRITON | {family.name for family in FAMILIES} | {r["record"] for r in RULES if "record" in r}


def test_every_series_that_is_asked_for_is_given() -> None:
    asked = {name for text in [*queries(), *(rule["expr"] for rule in RULES)] for name in NAME.findall(text)}
    assert len(asked) > 40
    assert asked - given() == set()


def test_every_query_parses(promtool: Promtool, tmp_path: Path) -> None:
    exprs = [target["expr"] for made in DASHBOARDS.values() for panel in panels(made) for target in panel["targets"]]
    filled = [re.sub(r"\$__\w+", "1m", expr) for expr in exprs]
    rules = [{"record": f"query:{index}", "expr": expr} for index, expr in enumerate(filled)]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = promtool("check", "rules", tmp_path / "queries.yaml")
    assert done.returncode == 0, done.stderr


@every_dashboard
def test_a_panel_has_title_unit_and_a_legend_that_tells_series_apart(made: dict[str, Any]) -> None:
    titles = [panel["title"] for panel in panels(made)]
    assert len(titles) == len(set(titles)) > 10
    for panel in panels(made):
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        if panel["type"] == "timeseries":
            assert all(target["legendFormat"] != "__auto" for target in panel["targets"]), panel["title"]


@every_dashboard
def test_panels_do_not_overlap_and_stay_on_the_grid(made: dict[str, Any]) -> None:
    cells: set[tuple[int, int]] = set()
    for panel in made["panels"]:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & own, panel["title"]
        cells |= own


@every_dashboard
def test_what_a_query_chooses_by_is_a_variable(made: dict[str, Any]) -> None:
    known = {variable["name"] for variable in made["templating"]["list"]}
    used = set(
        re.findall(
            r"\$\{?([a-z]\w*)", json.dumps([panel["targets"] for panel in made["panels"][1:] if "targets" in panel])
        )
    )
    assert used <= known
    assert known - {"datasource"} <= used
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels(made))


@every_dashboard
def test_links_lead_to_the_others(made: dict[str, Any]) -> None:
    uids = {other["uid"] for other in DASHBOARDS.values()}
    led = {link["url"].partition("?")[0].removeprefix("/d/") for link in made["links"]}
    assert led == uids - {made["uid"]}
    assert set(re.findall(r"/d/([a-z-]+)", json.dumps(made))) <= uids


def test_what_was_asked_for_is_shown() -> None:
    titles = " ".join(panel["title"].lower() for made in DASHBOARDS.values() for panel in panels(made))
    for word in (
        *("demanded and served", "p99", "objective", "queue", "batch", "engine builds", "slices"),
        *("memory used", "temperature", "power", "clock", "persistence mode"),
    ):
        assert word in titles
