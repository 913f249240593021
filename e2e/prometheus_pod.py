"""Debian's Prometheus in a pod of the cluster: it finds its targets as a plain installation does, by annotations.

Debian builds it without `kubernetes_sd_configs`, so a container beside it (`e2e/clients/discover_targets.py`) lists
the targets with the same `__meta_kubernetes_…` labels; relabelling is the usual one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from e2e.clusters.protocol import Cluster
from e2e.fleet import BUILDER_IMAGE, NO_RIGHTS, RESTRICTED, ROOT, Object
from e2e.prometheus_tools import prometheus_tools
from e2e.waiting import wait_for

NAMESPACE = "monitoring"
FOLDER = "/targets"
EXTRA_TARGETS = f"{FOLDER}/extra.json"
RANGES, WAITS = 30, 100
"""By what the ranges of expressions, and the `for` of alerts, are divided in a story that scrapes every two seconds."""
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PORT = 9090
DISCOVERY = ROOT / "e2e/clients/discover_targets.py"


def scaled(rules: str) -> str:
    """Return a file of rules with shorter ranges and waits; names of series and thresholds stay as they are."""
    short = re.sub(r"\[(\d+)([smhd])\]", lambda m: f"[{_shorter(m, RANGES)}]", rules)
    short = re.sub(r"(?<=offset )(\d+)([smhd])", lambda m: _shorter(m, RANGES), short)
    return re.sub(r"(?<=for: )(\d+)([smhd])", lambda m: _shorter(m, WAITS), short)


def _shorter(found: re.Match[str], by: int) -> str:
    return f"{max(1, round(int(found[1]) * _SECONDS[found[2]] / by))}s"


def _moved(source: str, target: str) -> Object:
    return {"source_labels": [f"__meta_kubernetes_{source}"], "target_label": target}


def _kept(source: str, regex: str) -> Object:
    return {"source_labels": [f"__meta_kubernetes_{source}"], "action": "keep", "regex": regex}


def config() -> Object:
    """Return the configuration: annotated pods with honor_labels, annotated Services without.

    A third job scrapes whatever a file names without honor_labels, so that a story can plant that mistake.
    """
    address = {
        "source_labels": ["__meta_kubernetes_pod_ip", "__meta_kubernetes_pod_annotation_prometheus_io_port"],
        "regex": "(.+);(.+)",
        "replacement": "$1:$2",
        "target_label": "__address__",
    }
    pods = [
        _kept("pod_annotation_prometheus_io_scrape", "true"),
        _kept("pod_phase", "Running"),
        address,
        _moved("namespace", "namespace"),
        _moved("pod_name", "pod"),
        {"action": "labelmap", "regex": "__meta_kubernetes_pod_label_(.+)"},
    ]
    services = [
        _kept("service_annotation_prometheus_io_scrape", "true"),
        _moved("namespace", "namespace"),
        _moved("service_name", "service"),
    ]
    return {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
        "rule_files": ["/etc/prometheus/yolofleet-*.yaml"],
        "scrape_configs": [
            _job("pods", pods, honor_labels=True),
            _job("services", services),
            _job("extra", [{"target_label": "namespace", "replacement": "elsewhere"}]),
        ],
    }


def _job(name: str, relabel: list[Object], **more: Any) -> Object:
    found = [{"files": [f"{FOLDER}/{name}.json"], "refresh_interval": "1s"}]
    return {"job_name": name, "file_sd_configs": found, "relabel_configs": relabel, **more}


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus, on a port of 127.0.0.1."""

    cluster: Cluster
    port: int

    def query(self, expr: str) -> list[Object]:
        """Return the samples of an instant query."""
        return list(self._get("query", query=expr)["result"])

    def labels(self, metric: str, *names: str) -> set[tuple[str, ...]]:
        """Return the values of some labels of all series of a query."""
        return {tuple(sample["metric"].get(name, "") for name in names) for sample in self.query(metric)}

    def firing(self) -> dict[str, Object]:
        """Return the alerts that fire, by name."""
        return {a["labels"]["alertname"]: a for a in self._get("alerts")["alerts"] if a["state"] == "firing"}

    def rule_errors(self) -> list[str]:
        """Return what is wrong with rules, in Prometheus' own words."""
        groups = self._get("rules")["groups"]
        return [f"{r['name']}: {r['lastError']}" for g in groups for r in g["rules"] if r.get("lastError")]

    def up(self) -> set[tuple[str, ...]]:
        """Return job and namespace of what is scraped."""
        return self.labels("up == 1", "job", "namespace")

    def also_scrape(self, *targets: str) -> None:
        """Scrape these addresses too, without honor_labels."""
        text = json.dumps([{"targets": list(targets)}])
        write = f"import pathlib; pathlib.Path({EXTRA_TARGETS!r}).write_text({text!r})"
        self.cluster.kubectl("-n", NAMESPACE, "exec", "prometheus", "-c", "targets", "--", "python3", "-c", write)

    def _get(self, what: str, **asked: str) -> Object:
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urlencode(asked)}"
        with urlopen(url, timeout=20) as answer:
            told: Object = json.load(answer)["data"]
        return told


@contextmanager
def prometheus(cluster: Cluster, rules: Mapping[str, str]) -> Iterator[Prometheus]:
    """Run Prometheus with these rule files for the length of a block."""
    files = {"prometheus.yml": yaml.safe_dump(config()), "discover.py": DISCOVERY.read_text()} | dict(rules)
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _named(), "data": files}
    documents = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, *_rights()]
    documents += [config_map, _service(), _pod()]
    try:
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(documents))
        wait = ("wait", "pod", "prometheus", "--for=condition=Ready", "--timeout=60s")
        cluster.kubectl("-n", NAMESPACE, *wait, timeout_s=70)
        with cluster.forward(f"prometheus.{NAMESPACE}", _PORT) as port:
            made = Prometheus(cluster, port)
            wait_for("Prometheus to answer", lambda: made.query("vector(1)"), timeout_s=20)
            yield made
    finally:
        cluster.kubectl("-n", NAMESPACE, "delete", "pod", "prometheus", "--now", "--ignore-not-found")
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false", "--ignore-not-found")


def _named() -> Object:
    return {"name": "prometheus", "namespace": NAMESPACE}


def _rights() -> list[Object]:
    group = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [""], "resources": ["nodes", "services", "pods"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]},
    ]
    role = {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": "prometheus"}, "rules": rules}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "prometheus"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "prometheus"},
        "subjects": [{"kind": "ServiceAccount", "name": "prometheus", "namespace": NAMESPACE}],
    }
    return [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _named()}, role, binding]


def _service() -> Object:
    spec = {"selector": {"app": "prometheus"}, "ports": [{"port": _PORT}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": _named(), "spec": spec}


def _pod() -> Object:
    """Return the pod: Debian's program from a folder of the node, on an image that has Debian's C library."""
    container = {
        "name": "prometheus",
        "image": BUILDER_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/tools/prometheus", "--config.file=/etc/prometheus/prometheus.yml"],
        "args": ["--storage.tsdb.path=/prometheus", "--log.level=warn"],
        "ports": [{"containerPort": _PORT}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": _PORT}, "periodSeconds": 1},
        "securityContext": NO_RIGHTS,
        "volumeMounts": [
            {"name": "tools", "mountPath": "/tools", "readOnly": True},
            {"name": "config", "mountPath": "/etc/prometheus"},
            {"name": "data", "mountPath": "/prometheus"},
            {"name": "targets", "mountPath": FOLDER},
        ],
    }
    targets = {
        "name": "targets",
        "image": BUILDER_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-u", "/etc/prometheus/discover.py", FOLDER],
        "securityContext": NO_RIGHTS,
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/prometheus"},
            {"name": "targets", "mountPath": FOLDER},
        ],
    }
    spec = {
        "serviceAccountName": "prometheus",
        "terminationGracePeriodSeconds": 1,
        "securityContext": RESTRICTED,
        "containers": [container, targets],
        "volumes": [
            {"name": "targets", "emptyDir": {}},
            {"name": "tools", "hostPath": {"path": str(prometheus_tools().folder), "type": "Directory"}},
            {"name": "config", "configMap": {"name": "prometheus"}},
            {"name": "data", "emptyDir": {}},
        ],
    }
    labels = {"app": "prometheus"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": _named() | {"labels": labels}, "spec": spec}
