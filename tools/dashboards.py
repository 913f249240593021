"""The chart's three Grafana dashboards as data: fleet, deployment, GPU instances; written to the chart as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from dashboard_gpus import gpus
from dashboard_queries import (
    BAD_ABOVE_ZERO,
    BY,
    DEPLOYMENT,
    FPS,
    FULL,
    GOOD_AT_ONE,
    INSTANCE,
    NAMESPACE,
    OF_POD,
    ONE,
    RATIO,
    SECONDS,
    TO_DEPLOYMENT,
    D,
    demand,
)
from grafana import Dashboard, Json, Panel, Query, Section, column, joined, lines, rendered, stat, table

FOLDER = Path(__file__).resolve().parent.parent / "charts/yolofleet/dashboards"


def fleet() -> Dashboard:
    """Return the dashboard of everything at once."""
    return Dashboard(
        "yolofleet-fleet",
        "yolofleet / Fleet",
        "All YoloDeployments: demand and what is served, latency against objective, slices, engines, the operator.",
        (NAMESPACE, DEPLOYMENT),
        (
            Section("Now", (*_now(), _deployments(), _not_well())),
            Section("Load", _load()),
            Section("Slices and engines", _slices_and_engines()),
            Section("Operator", _operator()),
        ),
    )


def _now() -> tuple[Panel, ...]:
    firing = 'count(ALERTS{alertname=~"Yolofleet.*", alertstate="firing"}) or vector(0)'
    ready = f'count(yolofleet_condition{{type="Ready", status="True", {D}}}) or vector(0)'
    return (
        stat("Frames served", Query(f"sum(yolofleet_served_frames_per_second{{{D}}})"), unit=FPS, decimals=0),
        stat("Frames demanded", Query(f"sum({demand('planned')})"), unit=FPS, decimals=0),
        stat(
            "Deployments that serve",
            Query(f"({ready}) / count(yolofleet_desired_replicas{{{D}}})"),
            unit=RATIO,
            decimals=0,
            bounds=GOOD_AT_ONE,
        ),
        stat(
            "Replicas ready of desired",
            Query(f"sum(yolofleet_ready_replicas{{{D}}}) / (sum(yolofleet_desired_replicas{{{D}}}) > 0)"),
            unit=RATIO,
            decimals=0,
            bounds=GOOD_AT_ONE,
        ),
        stat(
            "Slices free",
            Query('sum(yolofleet_slices{state="free"})'),
            decimals=0,
            bounds=((None, "red"), (1, "green")),
            told="Of all profiles, on all nodes that offer any.",
        ),
        stat("Alerts that fire", Query(firing), decimals=0, bounds=BAD_ABOVE_ZERO),
    )


def _deployments() -> Panel:
    ratio = (("unit", RATIO), ("custom.cellOptions", {"type": "color-background", "mode": "basic"}))
    late = {"mode": "absolute", "steps": [{"value": None, "color": "green"}, {"value": 1, "color": "red"}]}
    return table(
        "Deployments",
        Query(f"sum {BY} ({demand('planned')})", name="demand"),
        Query(f"sum {BY} (yolofleet_served_frames_per_second{{{D}}})", name="served"),
        Query(f"sum {BY} (yolofleet_p99_seconds{{{D}}})", name="p99"),
        Query(
            f"sum {BY} (yolofleet_p99_seconds{{{D}}}) / sum {BY} (yolofleet_objective_p99_seconds{{{D}}})",
            name="of_objective",
        ),
        Query(f"sum {BY} (yolofleet_ready_replicas{{{D}}})", name="ready"),
        Query(f"sum {BY} (yolofleet_desired_replicas{{{D}}})", name="desired"),
        width=16,
        height=9,
        told="p99 is that of the slowest replica.",
        overrides=(
            column("Demanded", ("unit", FPS), ("decimals", 1)),
            column("Served", ("unit", FPS), ("decimals", 1)),
            column("p99", ("unit", SECONDS)),
            column("p99 of objective", *ratio, ("decimals", 0), ("thresholds", late)),
            column("yolodeployment", ("links", TO_DEPLOYMENT)),
        ),
        transformations=joined(
            hidden=(),
            names={
                "Value #demand": "Demanded",
                "Value #served": "Served",
                "Value #p99": "p99",
                "Value #of_objective": "p99 of objective",
                "Value #ready": "Ready",
                "Value #desired": "Desired",
            },
        ),
    )


def _not_well() -> Panel:
    well = 'type=~"Ready|EngineReady|Placed|ScalingActive"'
    return table(
        "Conditions, those that are not True first",
        Query(f"sort(count by (status, type, reason) (yolofleet_condition{{{well}, {D}}}))", name="count"),
        width=8,
        height=9,
        told="How many deployments have which condition, and why; kubectl describe says it in a sentence.",
        overrides=(column("Deployments", ("decimals", 0)),),
        transformations=(
            *joined(hidden=(), names={"Value": "Deployments", "Value #count": "Deployments"}),
            {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": "status", "desc": False}]}},
        ),
    )


def _load() -> tuple[Panel, ...]:
    share = f"yolofleet_p99_seconds{{{D}}} / on (namespace, yolodeployment) yolofleet_objective_p99_seconds{{{D}}}"
    return (
        lines(
            "Frames demanded and served",
            Query(f"sum({demand('planned')})", "demanded", dashed=True),
            Query(f"sum(yolofleet_served_frames_per_second{{{D}}})", "served"),
            Query(f"sum(yolofleet_failed_frames_per_second{{{D}}})", "failed"),
            Query(
                f"sum(yolofleet_capacity_frames_per_second{{{D}}} * on (namespace, yolodeployment)"
                f" yolofleet_ready_replicas{{{D}}})",
                "capacity of ready replicas",
                dashed=True,
            ),
            unit=FPS,
        ),
        lines(
            "p99 latency as a share of the objective, highest 10",
            Query(f"topk(10, {share})", ONE),
            unit=RATIO,
            bounds=((None, "green"), (1, "red")),
        ),
        lines(
            "Replicas",
            Query(f"sum(yolofleet_desired_replicas{{{D}}})", "desired", dashed=True),
            Query(f"sum(yolofleet_replicas{{{D}}})", "exist"),
            Query(f"sum(yolofleet_ready_replicas{{{D}}})", "ready"),
            decimals=0,
        ),
    )


def _slices_and_engines() -> tuple[Panel, ...]:
    took = "sum by (le) (increase(yolofleet_engine_build_seconds_bucket[1d]))"
    return (
        lines(
            "Slices by profile",
            Query('sum by (profile) (yolofleet_slices{state="used"})', "{{profile}} used"),
            Query('sum by (profile) (yolofleet_slices{state="foreign"})', "{{profile}} of others"),
            Query('sum by (profile) (yolofleet_slices{state="free"})', "{{profile}} free"),
            stacked=True,
            decimals=0,
        ),
        lines("Engines by stage", Query("sum by (stage) (yolofleet_engines)", "{{stage}}"), stacked=True, decimals=0),
        lines(
            "Engine builds in the last hour",
            Query("sum by (result) (increase(yolofleet_engine_builds_total[1h]))", "{{result}}"),
            width=4,
            decimals=0,
        ),
        stat(
            "Build time, median of a day",
            Query(f"histogram_quantile(0.5, {took})"),
            unit=SECONDS,
            height=8,
            decimals=0,
        ),
    )


def _operator() -> tuple[Panel, ...]:
    took = "sum by (le) (rate(yolofleet_pass_seconds_bucket[10m]))"
    missed = "sum(increase(yolofleet_missed_changes_total[$__rate_interval])) or vector(0)"
    refused = "sum(increase(yolofleet_refused_writes_total[$__rate_interval])) or vector(0)"
    return (
        lines(
            "Passes",
            Query("sum(rate(yolofleet_passes_total[$__rate_interval]))", "passes"),
            Query("sum(rate(yolofleet_failed_passes_total[$__rate_interval]))", "failed"),
            unit="ops",
            width=6,
        ),
        lines(
            "Duration of a pass",
            Query(f"histogram_quantile(0.5, {took})", "median"),
            Query(f"histogram_quantile(0.99, {took})", "p99"),
            unit=SECONDS,
            width=6,
        ),
        lines(
            "Writes to the API server",
            Query("sum by (kind, verb) (rate(yolofleet_writes_total[$__rate_interval]))", "{{verb}} {{kind}}"),
            unit="ops",
            width=6,
        ),
        lines(
            "Work that waits, and trouble",
            Query("sum(yolofleet_dirty_keys)", "keys that wait for a pass"),
            Query(missed, "changes that a watch did not tell"),
            Query(refused, "writes that were refused"),
            width=6,
            decimals=0,
        ),
    )


def deployment() -> Dashboard:
    """Return the dashboard of one YoloDeployment."""
    return Dashboard(
        "yolofleet-deployment",
        "yolofleet / Deployment",
        "One YoloDeployment: what is asked of it, what it serves, how fast, and how each replica fares.",
        (NAMESPACE, DEPLOYMENT),
        (
            Section("Demand and service", _service()),
            Section("Latency", _latency()),
            Section("Replicas", _replicas()),
        ),
    )


def _service() -> tuple[Panel, ...]:
    return (
        lines(
            "Frames demanded and served",
            Query(demand("declared"), f"declared {ONE}", dashed=True),
            Query(demand("observed"), f"arriving {ONE}"),
            Query(demand("planned"), f"planned for {ONE}", dashed=True),
            Query(f"yolofleet_served_frames_per_second{{{D}}}", f"served {ONE}"),
            unit=FPS,
            width=12,
            told="Declared: streams × framesPerSecond. Planned for: the larger of both, as scaling.mode says.",
        ),
        lines(
            "Use of the replicas",
            Query(f"yolofleet_busy_ratio{{{D}}}", f"model computes {ONE}"),
            Query(f"yolofleet_engine_active_ratio{{{D}}}", f"GPU engine active {ONE}"),
            unit=RATIO,
            most=1,
            width=6,
            bounds=FULL,
        ),
        lines(
            "Frames and requests that failed",
            Query(f"yolofleet_failed_frames_per_second{{{D}}}", f"frames {ONE}"),
            Query(f"sum by (reason) (pod:yolofleet_failures:rate3m{{{D}}})", "requests {{reason}}"),
            unit="reqps",
            width=6,
        ),
    )


def _latency() -> tuple[Panel, ...]:
    return (
        lines(
            "p99 latency and objective",
            Query(f"yolofleet_p99_seconds{{{D}}}", f"p99 {ONE}"),
            Query(f"yolofleet_objective_p99_seconds{{{D}}}", f"objective {ONE}", dashed=True),
            unit=SECONDS,
            told="Of the slowest replica, as the operator sees it.",
        ),
        lines("p99 latency by pod", Query(f"pod:yolofleet_latency_seconds:p99{{{D}}}", OF_POD), unit=SECONDS),
        lines("Time in the queue by pod", Query(f"pod:yolofleet_queue_seconds:mean3m{{{D}}}", OF_POD), unit=SECONDS),
    )


def _replicas() -> tuple[Panel, ...]:
    return (
        lines(
            "Replicas",
            Query(f"yolofleet_desired_replicas{{{D}}}", f"desired {ONE}", dashed=True),
            Query(f"yolofleet_ready_replicas{{{D}}}", f"ready {ONE}"),
            decimals=0,
        ),
        lines("Frames by pod", Query(f"pod:yolofleet_frames:rate3m{{{D}}}", OF_POD), unit=FPS, stacked=True),
        lines("Frames in a batch by pod", Query(f"pod:yolofleet_batch_frames:mean3m{{{D}}}", OF_POD), decimals=1),
        lines(
            "GPU engine active by pod",
            Query(f"gpu_instance:yolofleet_engine_active:ratio{{{D}}}", f"{OF_POD} · {INSTANCE}"),
            unit=RATIO,
            most=1,
        ),
        lines(
            "Age of the oldest signals",
            Query(f"yolofleet_signals_age_seconds{{{D}}}", ONE),
            unit=SECONDS,
            told="How long ago the replica that was heard last answered the operator.",
        ),
        table(
            "Conditions",
            Query(f"max by (namespace, yolodeployment, type, status, reason) (yolofleet_condition{{{D}}})", name="it"),
            transformations=joined(hidden=("Value", "Value #it"), names={}),
        ),
    )


def dashboards() -> dict[str, Json]:
    """Return all dashboards by the name of their file."""
    made: Sequence[Dashboard] = (fleet(), deployment(), gpus())
    return {f"{each.uid}.json": rendered(each, made) for each in made}


def write() -> None:
    """Write every dashboard's file, and remove those that are gone."""
    FOLDER.mkdir(exist_ok=True)
    wanted = dashboards()
    for path in FOLDER.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    for name, made in wanted.items():
        (FOLDER / name).write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
