"""A real Prometheus sees operator, Triton and GPUs: dashboards have data, alerts fire in planted faults, labels join.

Ranges of the chart's rules are divided by 30 and their `for` by 100 (`e2e.prometheus_pod.scaled`), for scrapes every
two seconds. Four alerts are left to promtool (tests/monitoring), three since nothing here can plant their fault without
changing the operator: YolofleetPassesFailing (a bug), YolofleetPassesStopped (a pass that hangs), YolofleetWatchSilent;
and YolofleetEngineDamaged, whose counter test_s3_store.py sees.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import tritonclient.http as triton
import yaml

from e2e import monitoring_faults as faults
from e2e.clusters.bare.cluster import BareCluster
from e2e.fakes.dcgm_exporter.defects import Defects
from e2e.fakes.dcgm_exporter.hardware import entities
from e2e.fakes.gpus import Device
from e2e.fleet import CHART, SYSTEM, Fleet, Object, install, layout, operator_down, operator_up
from e2e.prometheus_pod import Prometheus, prometheus, scaled
from e2e.waiting import wait_for

SLICE = "nvidia.com/mig-1g.10gb"
SLICES = 4
Fault = Callable[[BareCluster, Fleet], None]
ONLY_BY_PROMTOOL = {
    *("YolofleetPassesFailing", "YolofleetPassesStopped", "YolofleetWatchSilent"),
    "YolofleetEngineDamaged",
}
SETTINGS = (
    *("monitoring.rules.enabled=true", "monitoring.dashboards.enabled=true", "dcgm.enabled=true"),
    *("operator.resyncSeconds=5", "scaling.scrapeSeconds=1", "scaling.staleSeconds=3"),
)


@dataclass(frozen=True)
class Observed:
    """A namespace with a deployment under load, and the Prometheus that looks at it."""

    fleet: Fleet
    prometheus: Prometheus
    cluster: BareCluster


@pytest.fixture(scope="module")
def observed(installed: BareCluster) -> Iterator[Observed]:
    """Install with rules and dashboards, run Prometheus, and serve `gate` on two slices under load."""
    name = f"monitoring-{secrets.token_hex(2)}"
    fleet = Fleet(installed, name)
    installed.set_dcgm(Defects())
    install(installed, *SETTINGS)
    installed.kubectl("create", "namespace", name)
    rules = {file: scaled(text) for file, text in config_map(installed, "yolofleet-rules").items()}
    try:
        with layout(installed, {SLICE: SLICES}), prometheus(installed, rules) as server:
            # A build that ends before the first scrape would be no increase of any counter.
            wait_for(
                "the operator to be scraped", lambda: ("pods", SYSTEM) in server.up(), timeout_s=60, seen=server.up
            )
            faults.gate(fleet, scaling={"minReplicas": 1, "maxReplicas": 2})
            fleet.wait_serving("gate")
            faults.gate(fleet)
            fleet.wait_serving("gate", 2)
            with load(fleet, "gate"):
                yield Observed(fleet, server, installed)
            fleet.kubectl("delete", "ydep,hpa,resourcequota", "--all")
            wait_for("slices to be free", lambda: not fleet.items("deployments"), timeout_s=60)
    finally:
        installed.set_dcgm(Defects())
        operator_up(installed)
        installed.kubectl("-n", name, "delete", "ydep", "--all", "--wait=false")
        installed.kubectl("delete", "namespace", name, "--wait=false")
        install(installed)


def config_map(cluster: BareCluster, name: str) -> dict[str, str]:
    """Return the files of one of the chart's ConfigMaps."""
    found: Object = json.loads(cluster.kubectl("-n", SYSTEM, "get", "configmap", name, "-o", "json"))
    files: dict[str, str] = found["data"]
    return files


@contextmanager
def load(fleet: Fleet, name: str) -> Iterator[None]:
    """Keep two connections to the Service busy."""
    stop = threading.Event()
    with fleet.cluster.forward(f"{name}.{fleet.namespace}", 8000) as port:
        senders = [threading.Thread(target=_send, args=(port, name, stop), daemon=True) for _ in range(2)]
        for sender in senders:
            sender.start()
        try:
            yield
        finally:
            stop.set()
            for sender in senders:
                sender.join(20)


def _send(port: int, name: str, stop: threading.Event) -> None:
    """Send frames until told to stop, with a new connection every hundred frames so that both replicas get some."""
    tensor = triton.InferInput("images", [1, 3, faults.SIDE, faults.SIDE], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 3, faults.SIDE, faults.SIDE), np.float32))
    while not stop.is_set():
        client = triton.InferenceServerClient(f"127.0.0.1:{port}", network_timeout=10, connection_timeout=10)
        try:
            for _ in range(100):
                client.infer(name, [tensor])
                stop.wait(0.002)
        except Exception:  # noqa: BLE001 - replicas come and go in this story; what fails is counted by Triton
            stop.wait(0.2)
        finally:
            client.close()


def filled(expr: str) -> str:
    """Return a dashboard's query with its variables chosen: all, and the interval of this Prometheus."""
    return re.sub(r"\$\w+", ".*", expr.replace("$__rate_interval", "10s"))


def queries(cluster: BareCluster) -> dict[str, str]:
    """Return every query of every dashboard as the chart installed them, by dashboard, panel and letter."""
    found = {}
    for file, text in config_map(cluster, "yolofleet-dashboards").items():
        for panel in json.loads(text)["panels"]:
            for target in panel.get("targets", []):
                found[f"{file} / {panel['title']} / {target['refId']}"] = filled(target["expr"])
    return found


def has_data(samples: list[Object]) -> bool:
    return any(sample["value"][1] != "NaN" for sample in samples)


def test_every_query_of_every_dashboard_has_data(observed: Observed) -> None:
    asked = queries(observed.cluster)
    assert len(asked) > 60

    def answered() -> bool:
        """Each must have data once; on a busy machine a scrape may be missed, and a line have a gap."""
        for place in list(asked):
            if has_data(observed.prometheus.query(asked[place])):
                del asked[place]
        return not asked

    wait_for("data in every panel", answered, timeout_s=60, interval_s=1, seen=lambda: sorted(asked))
    assert observed.prometheus.rule_errors() == []


def test_nothing_fires_while_all_is_well(observed: Observed) -> None:
    """Ten seconds in a row: as long as the longest of the shortened waits."""
    scraped = {("pods", SYSTEM), ("pods", observed.fleet.namespace), ("services", "gpu-operator")}
    wait_for("all targets", lambda: scraped <= observed.prometheus.up(), seen=observed.prometheus.up)
    fired = 'count_over_time(ALERTS{alertstate="firing"}[10s])'
    wait_for("peace", lambda: not observed.prometheus.query(fired), timeout_s=90, seen=observed.prometheus.firing)


def test_labels_join_pods_with_their_gpu_instance(observed: Observed) -> None:
    """By pod and GPU_I_ID: what Prometheus says of each pod is the device that the kubelet gave to its container."""
    fleet = observed.fleet
    devices = {f"MIG-node1-mig-1g.10gb-{index}": Device("") for index in range(SLICES)}
    uuids = {SLICE: [Device(uuid) for uuid in devices]}
    instance_of = {entity.device_id: str(entity.instance_id) for entity in entities(uuids, node="node1")}
    wanted = set()
    for pod in fleet.items("pods", "yolofleet.dev/deployment=gate"):
        name = pod["metadata"]["name"]
        device = fleet.kubectl("exec", name, "-c", "triton", "--", "printenv", "NVIDIA_VISIBLE_DEVICES").strip()
        wanted.add((fleet.namespace, name, "gate", "1g.10gb", instance_of[device]))
    labels = ("namespace", "pod", "yolodeployment", "GPU_I_PROFILE", "GPU_I_ID")
    joined = "gpu_instance:yolofleet_engine_active:ratio"
    assert len(wanted) == 2
    wait_for(
        "the join",
        lambda: observed.prometheus.labels(joined, *labels) == wanted,
        seen=lambda: (observed.prometheus.labels(joined, *labels), wanted),
    )
    wait_for("activity", lambda: len(observed.prometheus.query(f"avg_over_time({joined}[10s]) > 0.001")) == 2)
    free = 'gpu_instance:dcgm_engine_active:ratio{pod!~"gate-.*"}'
    assert len(observed.prometheus.query(free)) == SLICES - 2
    assert not observed.prometheus.query(f"{free} > 0")


PHASES: tuple[tuple[tuple[Fault, ...], set[str]], ...] = (
    (
        (faults.of_deployments, faults.of_gpus),
        {
            *("YolofleetDeploymentNotReady", "YolofleetEngineBuildFailing", "YolofleetNoSlicesFree"),
            *("YolofleetLatencyAboveObjective", "YolofleetDemandUnmet", "YolofleetAutoscalerIgnored"),
            *("YolofleetRequestsFailing", "YolofleetPodsNotScraped", "YolofleetWritesRefused"),
            *("YolofleetDcgmPodsMissing", "YolofleetGpuXid", "YolofleetGpuHot", "YolofleetGpuPersistenceModeOff"),
        },
    ),
    ((faults.of_the_exporter,), {"YolofleetSignalsMissing", "YolofleetDcgmSeriesLost", "YolofleetDcgmStale"}),
)


def test_every_alert_fires_in_its_planted_fault(observed: Observed) -> None:
    """In three steps, since some faults hide others; the operator itself goes last."""
    told = [yaml.safe_load(path.read_text()) for path in (CHART / "rules").glob("*.yaml")]
    alerts = {rule["alert"] for file in told for g in file["groups"] for rule in g["rules"] if "alert" in rule}
    cluster, fleet, seen = observed.cluster, observed.fleet, Seen(observed.prometheus)
    try:
        for planted, wanted in PHASES:
            for plant in planted:
                plant(cluster, fleet)
            with load(fleet, "frail"):
                seen.wait(wanted)
        observed.prometheus.also_scrape(faults.operator_address(cluster))
        seen.wait({"YolofleetLabelsNotHonored"})
        observed.prometheus.also_scrape()
        operator_down(cluster)
        seen.wait({"YolofleetOperatorDown"})
    finally:
        operator_up(cluster)
        faults.lift(cluster, fleet)
    assert set(seen.alerts) >= alerts - ONLY_BY_PROMTOOL
    fleet.wait_serving("gate", 2)
    for name, alert in seen.alerts.items():
        words = " ".join(alert["annotations"].values())
        assert "<no value>" not in words, (name, words)
        assert "<error" not in words, (name, words)


class Seen:
    """The alerts that have fired so far, with their words."""

    def __init__(self, server: Prometheus) -> None:
        self._server = server
        self.alerts: dict[str, Object] = {}

    def wait(self, wanted: set[str]) -> None:
        """Wait until all of these have fired."""

        def fired() -> bool:
            self.alerts |= self._server.firing()
            return wanted <= set(self.alerts)

        wait_for("alerts to fire", fired, timeout_s=75, seen=lambda: f"not yet: {sorted(wanted - set(self.alerts))}")
