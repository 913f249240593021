"""Each finding of `doctor`: well on a good cluster, and with a remedy for each fault that can be planted."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from e2e.fakes.gpus import DEFAULT_LAYOUT, labels
from tests.charts.test_chart_rights import CLUSTER, NAMESPACED
from tests.cli.test_standing import obj
from yolofleet.api.crd import object_schema
from yolofleet.api.migpool import MigPool
from yolofleet.api.top import Top, TopDeployment
from yolofleet.api.yolodeployment import YoloDeployment
from yolofleet.api.yoloengine import YoloEngine
from yolofleet.cli.diagnosis import DcgmSeen, Facts, Finding, Unseen, cluster, gpus, serving
from yolofleet.cli.diagnosis.rights import NEEDED, USERS, Right, allows
from yolofleet.cli.doctor import diagnosis, show

SCHEMAS = {kind.kind: object_schema(kind) for kind in (YoloDeployment, YoloEngine, MigPool)}
H100 = labels(DEFAULT_LAYOUT)
MAY_NOT = Unseen("you are not allowed to see it")
ALL = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
HOST = 'Hostname="node1",modelName="NVIDIA H100 80GB HBM3"'


def node(name: str = "node1", *, capacity: dict[str, str] | None = None, lost: int = 0, **told: str) -> dict[str, Any]:
    devices = {"nvidia.com/mig-1g.10gb": "7"} if capacity is None else capacity
    free = {key: str(int(value) - lost) for key, value in devices.items()}
    named = {f"nvidia.com/{key.replace('__', '.').replace('_', '-')}": value for key, value in told.items()}
    kept = {key: value for key, value in (H100 | named).items() if value}
    return {
        "metadata": {"name": name, "labels": kept},
        "status": {"capacity": {"cpu": "8"} | devices, "allocatable": free},
    }


def page(*, instances: int = 7, pod: str = "gate-x", without: str = "") -> str:
    """Return an exporter's page, one GPU instance a row; the first is held by a pod."""
    lines = []
    for family in (f for f in gpus.WANTED_FAMILIES if f != without):
        lines += [f"# HELP {family} x", f"# TYPE {family} gauge"]
        for index in range(instances):
            holder = f',namespace="cams",pod="{pod}"' if pod and index == 0 else ""
            lines.append(f'{family}{{gpu="0",GPU_I_ID="{index + 7}",GPU_I_PROFILE="1g.10gb",{HOST}{holder}}} 0.5')
    return "\n".join(lines)


def engine(version: str | None = "10.13", backend: str = "TensorRT", size: int = 9_000_000) -> dict[str, Any]:
    builder = {"tensorrtVersion": version} if version else {}
    spec = {"recipe": {"backend": backend}, "builder": builder}
    return {"metadata": {"name": "e-1"}, "spec": spec, "status": {"artifact": {"sizeBytes": size}}}


CLAIM = {
    "metadata": {"name": "yolofleet-engines"},
    "spec": {"accessModes": ["ReadWriteMany"]},
    "status": {"phase": "Bound", "capacity": {"storage": "20Gi"}},
}
OPERATOR = {
    "metadata": {"name": "yolofleet", "labels": {"app.kubernetes.io/version": "0.1.0"}},
    "status": {"readyReplicas": 1},
}
POD = {"metadata": {"name": "gate-x"}, "status": {"phase": "Running"}}
TOP = Top(taken_at="2026-01-01T00:00:00Z", deployments=[TopDeployment(namespace="cams", name="gate")])
GOOD = Facts(
    namespace="cams",
    plugin_version="0.1.0",
    operator_namespace="yolofleet-system",
    account="system:serviceaccount:yolofleet-system:yolofleet",
    server_version="v1.36.3",
    schemas=SCHEMAS,
    operator=OPERATOR,
    top=TOP,
    settings={"images": {"triton": "triton:25.12"}, "builds": {"tensorrtVersion": "10.13"}},
    nodes=[node()],
    dcgm=DcgmSeen(service=True, page=page()),
    namespace_object={"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
    claims=[CLAIM],
    deployments=[obj()],
    engines=[engine()],
    pods=[POD],
    policies=[],
    own_rules=ALL,
    operator_rights={str(right): True for right in NEEDED},
    dry_run="",
)


def policy(name: str = "deny", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"podSelector": {}} | spec}


def found(topic: str, **facts: Any) -> list[Finding]:
    return [finding for finding in diagnosis(replace(GOOD, **facts)) if finding.topic == topic]


def test_on_a_good_cluster_nothing_is_found() -> None:
    findings = diagnosis(GOOD)
    assert [f for f in findings if f.level != "ok" or f.remedy] == []
    assert len(findings) == 15


def test_what_is_not_well_always_has_a_remedy_and_what_nobody_may_see_fails_nothing() -> None:
    blind = Facts("cams", "0.1.0", "yolofleet-system", "system:serviceaccount:a:b")
    findings = diagnosis(blind)
    assert {f.level for f in findings} <= {"unseen", "warn"}
    assert all(f.remedy for f in findings)


PLANTED = [
    ("kubernetes", {"server_version": "v1.28.9"}, "fail", "upgrade the cluster"),
    ("kubernetes", {"server_version": "v1.29.1-gke.3"}, "warn", "PodLifecycleSleepAction"),
    ("kubernetes", {"server_version": "odd"}, "warn", "at least 1.29"),
    ("definitions", {"schemas": None}, "fail", "crds.install=true"),
    ("definitions", {"schemas": {k: v for k, v in SCHEMAS.items() if k != "MigPool"}}, "fail", "apply crds"),
    ("operator", {"operator": None}, "fail", "install the chart"),
    ("operator", {"operator": OPERATOR | {"status": {}}}, "fail", "describe pods"),
    ("operator", {"plugin_version": "0.2.0"}, "warn", "one version"),
    ("live figures", {"top": Unseen("the operator does not answer; look at it")}, "warn", "look at it"),
    ("your rights", {"own_rules": []}, "warn", "`view` or `edit`"),
    ("operator's rights", {"operator_rights": {"create jobs.batch": False}}, "fail", "rbac.create=true"),
    ("gpu nodes", {"nodes": []}, "fail", "GPU operator"),
    ("gpu nodes", {"nodes": [node(gpu__product="")]}, "warn", "feature discovery"),
    ("driver", {"nodes": [node(cuda__driver_version__full="")]}, "warn", "nvidia-smi"),
    ("driver", {"nodes": [node(cuda__driver_version__full="515.65.01")]}, "fail", "install driver 525"),
    (
        "driver",
        {"nodes": [node(), node("node2", cuda__driver_version__full="570.10")]},
        "warn",
        "may load on some nodes",
    ),
    ("mig", {"nodes": [node(mig__config__state="failed")]}, "fail", "another value"),
    ("mig", {"nodes": [node(mig__config__state="pending")]}, "warn", "wait"),
    ("mig", {"nodes": [node(mig__strategy="single")]}, "warn", "stale"),
    ("mig", {"nodes": [node(mig__strategy="none", capacity={"nvidia.com/gpu": "2"})]}, "warn", "mig.strategy=mixed"),
    ("mig", {"nodes": [node(capacity={})]}, "fail", "device plugin"),
    ("mig", {"nodes": [node(lost=2)]}, "fail", "XID"),
    ("mig", {"nodes": [node(capacity={"nvidia.com/mig-1c.3g.20gb": "2"})]}, "warn", "profiles like"),
    ("dcgm", {"dcgm": DcgmSeen(service=False)}, "warn", "install it"),
    ("dcgm", {"dcgm": DcgmSeen(service=True, page=MAY_NOT)}, "unseen", "services/proxy"),
    ("dcgm", {"dcgm": DcgmSeen(service=True, page=page(pod=""))}, "warn", "dcgm-exporter#272"),
    ("dcgm", {"dcgm": DcgmSeen(service=True, page=page(instances=3))}, "warn", "dcgm-exporter#714"),
    ("dcgm", {"dcgm": DcgmSeen(service=True, page=page(without=gpus.ACTIVE))}, "fail", "dcp-metrics-included.csv"),
    ("dcgm", {"dcgm": DcgmSeen(service=True, page=page(without="DCGM_FI_DEV_FB_USED"))}, "warn", "dcgm-exporter#512"),
    ("dcgm", {"dcgm": DcgmSeen(service=True, page="")}, "fail", "SYS_ADMIN"),
    ("store", {"claims": []}, "warn", "operator's log"),
    ("store", {"claims": [CLAIM | {"status": {"phase": "Pending"}}]}, "warn", "describe pvc"),
    ("store", {"claims": [CLAIM | {"status": {"phase": "Lost"}}]}, "fail", "describe pvc"),
    ("store", {"engines": [engine(size=20 * 10**9)]}, "warn", "store.size"),
    (
        "store",
        {"claims": [CLAIM | {"spec": {"accessModes": ["ReadWriteOnce"]}}], "nodes": [node(), node("node2")]},
        "warn",
        "ReadWriteMany",
    ),
    ("admission", {"dry_run": "exceeded quota: pods"}, "fail", "quota"),
    ("tensorrt", {"engines": [engine("10.6")]}, "warn", "built anew"),
    ("tensorrt", {"settings": {"builds": {}}}, "warn", "set it"),
    (
        "tensorrt",
        {
            "pods": [
                POD
                | {
                    "status": {
                        "initContainerStatuses": [
                            {"state": {"terminated": {"message": "TensorRT 10.6 here, 10.13 in the manifest"}}}
                        ]
                    }
                }
            ]
        },
        "fail",
        "builds.tensorrtVersion",
    ),
    ("network policies", {"policies": [policy(policyTypes=["Ingress"])]}, "fail", "port 8001"),
    (
        "network policies",
        {"policies": [policy(policyTypes=["Ingress"], ingress=[{"ports": [{"port": 8000, "endPort": 8001}]}])]},
        "warn",
        "port 8002",
    ),
    (
        "network policies",
        {"policies": [policy(policyTypes=["Egress"])]},
        "warn",
        "DNS",
    ),
    ("deployments", {"deployments": [obj(ready=0)]}, "warn", "kubectl yolofleet status -n cams"),
]


@pytest.mark.parametrize(("topic", "facts", "level", "remedy"), PLANTED, ids=lambda v: v if isinstance(v, str) else "")
def test_each_planted_fault_is_found_and_has_a_remedy(topic, facts, level, remedy) -> None:
    wrong = [f for f in found(topic, **facts) if f.level != "ok"]
    assert [f.level for f in wrong][:1] == [level], wrong
    assert any(remedy in f.remedy for f in wrong), wrong
    others = [f for f in diagnosis(replace(GOOD, **facts)) if f.topic != topic and f.level == "fail"]
    assert not [f for f in others if f.topic not in ("gpu nodes", "mig")], "one fault, one finding"


def test_a_field_that_only_one_side_knows_is_named() -> None:
    older = json.loads(json.dumps(SCHEMAS))
    del older["YoloDeployment"]["properties"]["spec"]["properties"]["objective"]
    (lacks,) = found("definitions", schemas=older)
    assert "lack 2 fields: YoloDeployment.spec.objective" in lacks.message
    newer = json.loads(json.dumps(SCHEMAS))
    newer["YoloEngine"]["properties"]["spec"]["properties"]["colour"] = {"type": "string"}
    (more,) = found("definitions", schemas=newer)
    assert "YoloEngine.spec.colour" in more.message
    assert "upgrade the plugin" in more.remedy


@pytest.mark.parametrize(
    "policies",
    [
        [],
        [policy(policyTypes=["Ingress"], podSelector={"matchLabels": {"app": "web"}})],
        [policy(policyTypes=["Ingress"]), policy("ours", policyTypes=["Ingress"], ingress=[{}])],
        [policy(policyTypes=["Ingress"], ingress=[{"ports": [{"port": "grpc"}, {"port": 8002}]}])],
        [policy(policyTypes=["Ingress"], podSelector={"matchExpressions": [{"key": "app", "operator": "Exists"}]})],
    ],
)
def test_policies_that_let_through_or_mean_others_are_well(policies) -> None:
    assert [f.level for f in serving.policies(replace(GOOD, policies=policies))] == ["ok"]


def test_a_viewer_may_look_and_that_is_no_fault() -> None:
    looks = [{"verbs": ["get", "list", "watch"], "apiGroups": ["yolofleet.dev"], "resources": ["*"]}]
    finding = cluster.users_rights(replace(GOOD, own_rules=looks))
    assert (finding.level, finding.message) == ("ok", "you may look, and not change, in namespace cams")


def test_a_rule_for_some_names_only_is_no_right() -> None:
    rule = {"verbs": ["list"], "apiGroups": ["yolofleet.dev"], "resources": ["yolodeployments"]}
    assert allows([rule], USERS[0])
    assert not allows([rule | {"resourceNames": ["gate"]}], USERS[0])


def test_the_rights_that_are_asked_for_are_those_that_the_chart_gives() -> None:
    given = {(group, resource): verbs for (group, resource), verbs in (CLUSTER | NAMESPACED).items()}
    assert not [right for right in NEEDED if right.verb not in given.get((right.group, right.resource), set())]
    assert str(Right("create", "batch", "jobs")) == "create jobs.batch"


def test_old_feature_discovery_tells_the_driver_by_other_labels() -> None:
    old = node(cuda__driver_version__full="", cuda__driver__major="535", cuda__driver__minor="161")
    assert gpus.driver(replace(GOOD, nodes=[old])).message == "driver 535.161"


def test_an_exporter_on_another_node_says_nothing_of_this_nodes_slices() -> None:
    elsewhere = DcgmSeen(service=True, page=page(instances=2).replace("node1", "node9"))
    assert [f.level for f in gpus.dcgm(replace(GOOD, dcgm=elsewhere))] == ["ok"]


def test_what_the_operator_sees_of_the_engines_counts_where_the_user_may_not_read_the_exporter() -> None:
    hidden = replace(GOOD, dcgm=DcgmSeen(service=True, page=MAY_NOT))
    active = TopDeployment(namespace="cams", name="gate", engine_active=0.4)
    seen = replace(hidden, top=TOP.model_copy(update={"deployments": [active]}))
    assert [f.level for f in gpus.dcgm(hidden)] == ["unseen"]
    assert [f.level for f in gpus.dcgm(seen)] == ["ok"]


def test_the_text_has_a_sign_a_topic_and_the_remedy_below() -> None:
    out = io.StringIO()
    show(diagnosis(replace(GOOD, operator=None)), Console(file=out, width=200, no_color=True))
    lines = out.getvalue().splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("✗"))
    assert lines[at].split()[:2] == ["✗", "operator"]
    assert lines[at + 1].strip().startswith("→ install the chart")
    assert lines[-1] == "14 ok, 1 fail"
