"""Every alert fires in its planted fault and is silent otherwise; recording rules give what they say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.alert_cases import CASES, UUID, Case, Series, gpus, healthy, operator, servers
from tests.monitoring.conftest import Promtool

ROOT = Path(__file__).resolve().parents[2]
RULES = sorted((ROOT / "charts/yolofleet/rules").glob("*.yaml"))
RUNBOOK = (ROOT / "docs/observability.md").read_text()
END = "28m"
Hold = Callable[[list[Path], list[dict[str, Any]]], None]


def rules(kind: str) -> list[dict[str, Any]]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


ALERTS = {rule["alert"]: rule for rule in rules("alert")}


def inputs(series: Series) -> list[dict[str, str]]:
    return [{"series": name, "values": values} for name, values in series.items()]


def firing(at: str, alerts: tuple[str, ...]) -> dict[str, Any]:
    severities = {alert: ALERTS[alert]["labels"]["severity"] for alert in alerts}
    wanted = [{"labels": f'{{alertname="{a}", severity="{s}"}}', "value": 1} for a, s in severities.items()]
    expr = 'count by (alertname, severity) (ALERTS{alertstate="firing"})'
    return {"expr": expr, "eval_time": at, "exp_samples": wanted}


def case_test(case: Case) -> dict[str, Any]:
    """Return promtool's test of a case: nothing (but what has no `for`) after a minute, all of it in the end."""
    at_first = case.fires if case.at_once else ()
    return {
        "name": case.name,
        "interval": "1m",
        "input_series": inputs(case.series()),
        "promql_expr_test": [firing("1m", at_first), firing(END, case.fires)],
    }


def test_promtool_accepts_all_rule_files(promtool: Promtool) -> None:
    assert RULES
    done = promtool("check", "rules", *RULES)
    assert done.returncode == 0, done.stderr


def test_exactly_the_right_alerts_fire_in_each_case(hold: Hold) -> None:
    """All cases in one run of promtool, which names those that do not hold."""
    hold(RULES, [case_test(case) for case in CASES])


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    assert {alert for case in CASES for alert in case.fires} == set(ALERTS)


def test_a_rule_that_is_broken_is_found(promtool: Promtool, tmp_path: Path) -> None:
    """The harness itself: with a threshold that never holds, the case must fail."""
    broken = tmp_path / "alerts.yaml"
    text = next(path for path in RULES if path.name == "alerts.yaml").read_text()
    broken.write_text(text.replace("gpu:dcgm_temperature:celsius > 85", "gpu:dcgm_temperature:celsius > 850"))
    (hot,) = [case for case in CASES if case.fires == ("YolofleetGpuHot",)]
    recording = str(next(path for path in RULES if path.name == "recording.yaml"))
    document = {"rule_files": [recording, str(broken)], "evaluation_interval": "1m", "tests": [case_test(hot)]}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(document))
    done = promtool("test", "rules", tmp_path / "tests.yaml")
    assert done.returncode != 0
    assert "YolofleetGpuHot" in done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS.values(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_how_bad_and_what_to_do(alert: dict[str, Any]) -> None:
    assert set(alert["annotations"]) == {"summary", "description", "runbook"}
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert (page, anchor) == ("docs/observability.md", alert["alert"].lower())
    section = RUNBOOK.partition(f"\n### {alert['alert']}\n")[2].partition("\n### ")[0]
    assert len(section.split()) > 20, f"docs/observability.md has no section of substance for {alert['alert']}"


def test_the_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    told = {line.removeprefix("### ") for line in RUNBOOK.splitlines() if line.startswith("### Yolofleet")}
    assert told == set(ALERTS)


def test_words_of_an_alert_are_filled_in(hold: Hold) -> None:
    (slow,) = [case for case in CASES if case.fires == ("YolofleetLatencyAboveObjective",)]
    told = {
        "eval_time": END,
        "alertname": "YolofleetLatencyAboveObjective",
        "exp_alerts": [
            {
                "exp_labels": {"namespace": "cameras", "yolodeployment": "gate", "severity": "warning"},
                "exp_annotations": {
                    "summary": "cameras/gate misses its latency objective.",
                    "description": "The p99 of its slowest replica is 80ms, above objective.p99LatencyMilliseconds.",
                    "runbook": "docs/observability.md#yolofleetlatencyaboveobjective",
                },
            }
        ],
    }
    hold(RULES, [{"interval": "1m", "input_series": inputs(slow.series()), "alert_rule_test": [told]}])


RECORDED = (
    ('pod:yolofleet_frames:rate3m{pod="gate-a"}', "yolodeployment", 30),
    ('pod:yolofleet_batch_frames:mean3m{pod="gate-a"}', "yolodeployment", 3),
    ('pod:yolofleet_queue_seconds:mean3m{pod="gate-a"}', "yolodeployment", 0.002),
    ('pod:yolofleet_latency_seconds:p99{pod="gate-a"}', "yolodeployment", 0.018),
    ("yolodeployment:yolofleet_failures:ratio3m", "yolodeployment", 0),
    ('gpu_instance:yolofleet_engine_active:ratio{GPU_I_ID="8"}', "pod, yolodeployment, GPU_I_PROFILE, profile", 0.5),
    ('gpu_instance:dcgm_memory_used:bytes{GPU_I_ID="9"}', "GPU_I_ID", 1163 * 1048576),
    ("gpu:dcgm_temperature:celsius", "UUID", 55),
)
VALUES = {
    "yolodeployment": "gate",
    "pod": "gate-b",
    "GPU_I_PROFILE": "1g.10gb",
    "GPU_I_ID": "9",
    "profile": "1g-10gb",
    "UUID": UUID,
}


SCRAPED = {"honored": healthy(), "exported": operator() | servers() | gpus(honored=False)}


@pytest.mark.parametrize("series", SCRAPED.values(), ids=SCRAPED)
def test_recorded_series_are_the_same_with_and_without_honor_labels(hold: Hold, series: Series) -> None:
    wanted = []
    for expr, labels, value in RECORDED:
        told = ", ".join(f'{key}="{VALUES[key]}"' for key in labels.split(", "))
        samples = [{"labels": f"{{{told}}}", "value": value}]
        wanted.append({"expr": f"max by ({labels}) ({expr})", "eval_time": END, "exp_samples": samples})
    hold(RULES, [{"interval": "1m", "input_series": inputs(series), "promql_expr_test": wanted}])


def test_other_tritons_of_the_cluster_are_left_alone(hold: Hold) -> None:
    series = {'nv_inference_count{namespace="other", pod="llm-0", model="llm", version="1"}': "0+900x40"}
    none = {"expr": '{__name__=~"pod:yolofleet.*"}', "eval_time": END, "exp_samples": []}
    hold(RULES, [{"interval": "1m", "input_series": inputs(series), "promql_expr_test": [none]}])


def test_every_recorded_series_is_used_or_told(promtool: Promtool) -> None:
    """A recording rule that nothing reads and no page tells of is dead weight."""
    places = [path.read_text() for path in (ROOT / "charts/yolofleet/dashboards").glob("*.json")]
    places += [path.read_text() for path in RULES] + [RUNBOOK]
    for rule in rules("record"):
        assert sum(text.count(rule["record"]) for text in places) > 1, rule["record"]
