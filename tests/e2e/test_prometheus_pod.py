"""What the bench's Prometheus is told: shorter rules, and targets with the labels that Kubernetes' discovery gives."""

from pathlib import Path

import yaml

from e2e.clients.discover_targets import pod_targets, service_targets
from e2e.prometheus_pod import config, scaled

RULES = Path(__file__).resolve().parents[2] / "charts/yolofleet/rules"


def test_ranges_and_waits_are_shortened_and_nothing_else():
    text = "expr: rate(pod:yolofleet_frames:rate3m[3m]) unless x offset 10m > 85\nfor: 5m\n"
    assert scaled(text) == "expr: rate(pod:yolofleet_frames:rate3m[6s]) unless x offset 20s > 85\nfor: 3s\n"


def test_every_rule_of_the_chart_survives():
    for path in RULES.glob("*.yaml"):
        before, after = yaml.safe_load(path.read_text()), yaml.safe_load(scaled(path.read_text()))
        rules = [[rule for group in told["groups"] for rule in group["rules"]] for told in (before, after)]
        names = [[rule.get("alert", rule.get("record")) for rule in made] for made in rules]
        assert names[0] == names[1]
        waits = [rule["for"] for rule in rules[1] if "for" in rule]
        assert all(wait.endswith("s") for wait in waits)


def test_pods_are_told_with_the_labels_of_discovery():
    pod = {
        "metadata": {
            "name": "gate-a",
            "namespace": "cameras",
            "labels": {"yolofleet.dev/deployment": "gate"},
            "annotations": {"prometheus.io/scrape": "true"},
        },
        "spec": {"nodeName": "node1", "containers": [{"name": "triton", "ports": [{"containerPort": 8002}]}]},
        "status": {"podIP": "10.79.1.9", "phase": "Running"},
    }
    (target,) = pod_targets([pod, {"metadata": {}, "spec": {}, "status": {}}])
    assert target["targets"] == ["10.79.1.9:8002"]
    assert target["labels"] == {
        "__meta_kubernetes_namespace": "cameras",
        "__meta_kubernetes_pod_name": "gate-a",
        "__meta_kubernetes_pod_label_yolofleet_dev_deployment": "gate",
        "__meta_kubernetes_pod_annotation_prometheus_io_scrape": "true",
        "__meta_kubernetes_pod_ip": "10.79.1.9",
        "__meta_kubernetes_pod_phase": "Running",
        "__meta_kubernetes_pod_node_name": "node1",
        "__meta_kubernetes_pod_container_name": "triton",
    }


def test_services_are_told_by_their_endpoints():
    service = {"metadata": {"name": "dcgm", "namespace": "gpu", "annotations": {"prometheus.io/scrape": "true"}}}
    endpoints = {
        "metadata": {"name": "dcgm-1", "namespace": "gpu", "labels": {"kubernetes.io/service-name": "dcgm"}},
        "endpoints": [{"addresses": ["10.77.0.1"]}, {"addresses": ["10.77.0.2"]}],
        "ports": [{"port": 9400}],
    }
    stray = {"metadata": {"name": "x", "namespace": "gpu"}, "endpoints": None, "ports": None}
    found = list(service_targets([service], [endpoints, stray]))
    assert [target["targets"] for target in found] == [["10.77.0.1:9400"], ["10.77.0.2:9400"]]
    assert found[0]["labels"]["__meta_kubernetes_service_annotation_prometheus_io_scrape"] == "true"


def test_the_job_of_the_page_is_the_one_that_is_tried():
    """docs/observability.md shows a job for plain Prometheus: its relabelling is the bench's own."""
    page = (RULES.parents[2] / "docs/observability.md").read_text()
    shown = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])[0]
    (tried,) = [job for job in config()["scrape_configs"] if job["job_name"] == "pods"]
    assert shown["honor_labels"] is tried["honor_labels"] is True

    def steps(job):
        return [(s.get("action", "replace"), s.get("target_label"), s.get("regex")) for s in job["relabel_configs"]]

    assert steps(shown) == steps(tried)
