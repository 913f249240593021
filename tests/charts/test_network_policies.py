"""The NetworkPolicies, judged on the labels and ports of the pods that the chart and the operator really render."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.charts.rendering import NAMESPACE, RELEASE, VALUE_SETS, Helm, Object, named, of_kind, operator_pod
from tests.render.cases import build_job, manifests

POLICIES = ("--set", "networkPolicy.enabled=true", "--set", "watchNamespaces={cams}", "--set", "dcgm.enabled=true")
SERVING, BUILDING = manifests()["Deployment"]["spec"]["template"], build_job()["spec"]["template"]


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod by namespace and labels, or an address outside."""

    namespace: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    address: str = ""


def _pod(namespace: str, template: Object) -> End:
    return End(namespace, tuple(template["metadata"]["labels"].items()))


CAMERA, PROMETHEUS = End("clients", (("app", "camera"),)), End("monitoring", (("app", "prometheus"),))
EXPORTER, API = End("gpu-operator", (("app", "nvidia-dcgm-exporter"),)), End(address="10.0.0.1")
DNS, METADATA, WEB = (
    End("kube-system", (("k8s-app", "kube-dns"),)),
    End(address="169.254.169.254"),
    End(address="8.8.8.8"),
)


def _selects(selector: Object, labels: Object) -> bool:
    expressions = selector.get("matchExpressions", [])
    assert all(one["operator"] == "In" for one in expressions)
    exact = selector.get("matchLabels", {}).items() <= labels.items()
    return exact and all(labels.get(one["key"]) in one["values"] for one in expressions)


def _is(peer: Object, end: End) -> bool:
    if "ipBlock" in peer:
        # Pods have addresses too; what matters here is what lies outside.
        if not end.address:
            return peer["ipBlock"]["cidr"] == "0.0.0.0/0"
        address, block = ipaddress.ip_address(end.address), peer["ipBlock"]
        inside = [address in ipaddress.ip_network(net) for net in (block["cidr"], *block.get("except", []))]
        return inside[0] and not any(inside[1:])
    if end.address or "namespaceSelector" not in peer:
        return False
    where = _selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": end.namespace})
    return where and _selects(peer.get("podSelector", {}), dict(end.labels))


def _lets(rule: Object, key: str, end: End, port: int) -> bool:
    ports = rule.get("ports", [{"port": port}])
    return port in {one["port"] for one in ports} and (key not in rule or any(_is(peer, end) for peer in rule[key]))


def allowed(policies: Sequence[Object], source: End, target: End, port: int) -> bool:
    """Tell whether a connection may be made, as the API's reference says: a policy that selects an end adds rights."""
    for end, other, kind in ((source, target, "Egress"), (target, source, "Ingress")):
        mine = [
            policy["spec"]
            for policy in policies
            if policy["metadata"].get("namespace", NAMESPACE) == end.namespace
            and _selects(policy["spec"]["podSelector"], dict(end.labels))
            and kind in policy["spec"]["policyTypes"]
        ]
        key = "to" if kind == "Egress" else "from"
        rules = [rule for spec in mine for rule in spec.get(kind.lower()) or []]
        if mine and not any(_lets(rule, key, other, port) for rule in rules):
            return False
    return True


def _table(helm: Helm, *arguments: str) -> Any:
    objects = helm.objects(*POLICIES, *arguments)
    policies = of_kind(objects, "NetworkPolicy")
    assert len(policies) == 3
    operator = _pod(NAMESPACE, operator_pod(objects))
    ends = {"operator": operator, "triton": _pod("cams", SERVING), "build": _pod("cams", BUILDING)}
    ends |= {"camera": CAMERA, "prometheus": PROMETHEUS, "exporter": EXPORTER, "api": API, "dns": DNS}
    ends |= {"metadata": METADATA, "web": WEB, "elsewhere": _pod("other", SERVING)}
    return lambda source, target, port: allowed(policies, ends[source], ends[target], port)


WANTED = [
    ("operator", "api", 6443), ("operator", "dns", 53), ("operator", "triton", 8002), ("operator", "build", 8080),
    ("operator", "exporter", 9400), ("web", "operator", 8081), ("prometheus", "operator", 8080),
    ("prometheus", "triton", 8002),
    ("camera", "triton", 8000), ("camera", "triton", 8001), ("build", "dns", 53), ("build", "web", 443),
]  # fmt: skip
UNWANTED = [
    ("operator", "web", 80), ("operator", "triton", 8001), ("operator", "elsewhere", 8002), ("camera", "build", 8080),
    ("camera", "operator", 22), ("camera", "triton", 22), ("triton", "web", 443), ("triton", "dns", 53),
    ("triton", "build", 8080), ("build", "metadata", 80), ("prometheus", "build", 8080), ("operator", "exporter", 22),
]  # fmt: skip


def test_what_must_be_reached_is_and_nothing_else(helm: Helm) -> None:
    may = _table(helm)
    assert [edge for edge in WANTED if not may(*edge)] == []
    assert [edge for edge in UNWANTED if may(*edge)] == []


def test_clients_monitors_and_sources_can_be_named(helm: Helm) -> None:
    peer = "namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name"
    clients = (
        "--set",
        f"networkPolicy.clients[0].{peer}=clients",
        "--set",
        f"networkPolicy.monitors[0].{peer}=monitoring",
    )
    may = _table(helm, *clients, "--set", "networkPolicy.sources[0].ipBlock.cidr=10.0.0.0/8")
    open_still = [("camera", "triton", 8001), ("prometheus", "triton", 8002), ("operator", "triton", 8002)]
    assert [edge for edge in [*open_still, ("build", "api", 80)] if not may(*edge)] == []
    closed = [
        ("prometheus", "triton", 8001),
        ("camera", "triton", 8002),
        ("camera", "operator", 8080),
        ("build", "web", 80),
    ]
    assert [edge for edge in closed if may(*edge)] == []


def test_the_api_server_can_be_named(helm: Helm) -> None:
    may = _table(
        helm, "--set", "networkPolicy.apiServer.cidrs={10.0.0.1/32}", "--set", "networkPolicy.apiServer.ports={6443}"
    )
    assert may("operator", "api", 6443)
    assert not may("operator", "api", 443)
    assert not may("operator", "web", 6443)


def _ports(template: Object) -> set[int]:
    containers = [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]
    return {port["containerPort"] for container in containers for port in container.get("ports", [])}


def test_every_port_of_the_policies_is_a_port_of_the_pods(helm: Helm) -> None:
    policies = helm.objects(*POLICIES)
    for name, template in (("serving", SERVING), ("builds", BUILDING)):
        spec = named(policies, "NetworkPolicy", f"{RELEASE}-{name}")["spec"]
        told = {port["port"] for rule in spec["ingress"] for port in rule["ports"]}
        assert told == _ports(template)
        assert spec["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    mine = named(policies, "NetworkPolicy", RELEASE)["spec"]
    assert {port["port"] for rule in mine["ingress"] for port in rule["ports"]} == _ports(operator_pod(policies))


@pytest.mark.parametrize("name", VALUE_SETS)
def test_there_are_none_unless_asked_for(helm: Helm, name: str) -> None:
    assert of_kind(helm.objects(*VALUE_SETS[name]), "NetworkPolicy") == []
