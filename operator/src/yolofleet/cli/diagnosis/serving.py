"""Findings about one namespace: the engine store, admission, TensorRT's versions, NetworkPolicies, what stands."""

from __future__ import annotations

from yolofleet.api.serving import amount
from yolofleet.cli.diagnosis import Facts, Finding, Object, Unseen, unseen
from yolofleet.cli.standing import standing

CLAIM = "yolofleet-engines"
NEARLY_FULL = 0.8
GRPC, METRICS = 8001, 8002
LABELS = {"app.kubernetes.io/managed-by": "yolofleet", "app.kubernetes.io/name": "triton"}


def _setting(facts: Facts, section: str, name: str) -> str:
    told = facts.settings if isinstance(facts.settings, dict) else {}
    return str((told.get(section) or {}).get(name) or "")


def store(facts: Facts) -> Finding:
    """Judge the claim that holds the engines."""
    topic, name = "store", _setting(facts, "store", "claimName") or CLAIM
    if isinstance(facts.claims, Unseen):
        return unseen(topic, facts.claims)
    claim = next((c for c in facts.claims if c["metadata"]["name"] == name), None)
    if claim is None:
        some = isinstance(facts.deployments, list) and bool(facts.deployments)
        told = f"no PersistentVolumeClaim {name} in {facts.namespace}"
        if some:
            return Finding(topic, "warn", f"{told}, though YoloDeployments are", "look at the operator's log")
        return Finding(topic, "ok", f"{told} yet: it is made with the first YoloDeployment")
    phase = (claim.get("status") or {}).get("phase", "")
    if phase != "Bound":
        wished = (claim.get("spec") or {}).get("storageClassName")
        told = f"PersistentVolumeClaim {name} is {phase or 'new'} (storage class {wished or 'of the cluster'})"
        remedy = f"kubectl -n {facts.namespace} describe pvc {name}; set store.storageClassName and accessMode to fit"
        return Finding(topic, "fail" if phase == "Lost" else "warn", told, remedy)
    return _room(facts, claim, name)


def _room(facts: Facts, claim: Object, name: str) -> Finding:
    size = float(amount(((claim.get("status") or {}).get("capacity") or {}).get("storage", "0")))
    engines = facts.engines if isinstance(facts.engines, list) else []
    held = sum(((e.get("status") or {}).get("artifact") or {}).get("sizeBytes", 0) for e in engines)
    modes = (claim.get("spec") or {}).get("accessModes") or []
    told = f"{name}: {held / 1e6:.0f} MB of engines on {size / 1e9:.1f} GB"
    if size and held > NEARLY_FULL * size:
        return Finding("store", "warn", f"{told}: nearly full", "raise store.size and the claim, or delete old engines")
    if "ReadWriteMany" not in modes and isinstance(facts.nodes, list) and len(facts.nodes) > 1:
        remedy = "use a storage class with ReadWriteMany, or keep to one node"
        return Finding("store", "warn", f"{told}, {', '.join(modes)}: pods of one node only can serve", remedy)
    return Finding("store", "ok", told)


def admission(facts: Facts) -> Finding:
    """Judge whether a pod like those that serve is let in: the API server was asked, and made nothing."""
    topic = "admission"
    if isinstance(facts.dry_run, Unseen):
        return unseen(topic, facts.dry_run)
    level = "none"
    if isinstance(facts.namespace_object, dict):
        labels = facts.namespace_object["metadata"].get("labels") or {}
        level = labels.get("pod-security.kubernetes.io/enforce", "none")
    if facts.dry_run:
        remedy = "mend what it names: a quota, a LimitRange, or a policy; yolofleet's pods keep to `restricted`"
        return Finding(topic, "fail", f"a serving pod would be refused: {facts.dry_run}", remedy)
    return Finding(topic, "ok", f"serving pods are let in (pod security enforced: {level})")


def tensorrt(facts: Facts) -> Finding:
    """Compare TensorRT's version in the settings with that of the engines, and look for pods that met another one."""
    topic = "tensorrt"
    if isinstance(facts.engines, Unseen):
        return unseen(topic, facts.engines)
    if isinstance(facts.settings, Unseen):
        return unseen(topic, facts.settings)
    image, wanted = _setting(facts, "images", "triton"), _setting(facts, "builds", "tensorrtVersion")
    if met := _met_another(facts):
        remedy = "set builds.tensorrtVersion to that of images.triton, and use the builder image made from it"
        return Finding(topic, "fail", met, remedy)
    made = {e["metadata"]["name"]: e["spec"] for e in facts.engines}
    ours = {name: spec for name, spec in made.items() if spec["recipe"].get("backend") == "TensorRT"}
    others = {
        name: version
        for name, spec in ours.items()
        if (version := spec["builder"].get("tensorrtVersion") or "") != wanted
    }
    if ours and not wanted:
        told = f"builds.tensorrtVersion is not set: engines are not tied to the TensorRT of {image}"
        return Finding(topic, "warn", told, "set it to the version in that image: another image then builds anew")
    if others:
        told = f"{len(others)} engines are of another TensorRT than {wanted}: " + ", ".join(
            f"{name} ({version or 'unknown'})" for name, version in sorted(others.items())[:4]
        )
        return Finding(topic, "warn", told, "wait: they are built anew, and the old ones serve meanwhile")
    told = f"{len(ours)} engines for TensorRT {wanted}, served by {image}" if ours else "no engine needs TensorRT"
    return Finding(topic, "ok", told)


def _met_another(facts: Facts) -> str:
    """Return what a pod said whose init container found another TensorRT than its engine's."""
    for pod in facts.pods if isinstance(facts.pods, list) else []:
        for container in (pod.get("status") or {}).get("initContainerStatuses") or []:
            for state in (container.get("state") or {}, container.get("lastState") or {}):
                told = str((state.get("terminated") or {}).get("message", ""))
                if "TensorRT" in told:
                    return f"pod {pod['metadata']['name']}: {told[:300]}"
    return ""


def policies(facts: Facts) -> tuple[Finding, ...]:
    """Judge whether NetworkPolicies of the namespace cut serving pods off from clients, metrics or their sources."""
    topic = "network policies"
    if isinstance(facts.policies, Unseen):
        return (unseen(topic, facts.policies),)
    ours = [policy for policy in facts.policies if _selects(policy)]
    into = [policy for policy in ours if "Ingress" in _types(policy)]
    out = [policy for policy in ours if "Egress" in _types(policy)]
    found = []
    for port, whose in ((GRPC, "clients cannot reach"), (METRICS, "the operator and Prometheus cannot ask")):
        if into and not any(_lets(policy, "ingress", port) for policy in into):
            told = f"{', '.join(p['metadata']['name'] for p in into)}: {whose} serving pods on port {port}"
            remedy = f"let port {port} in: networkPolicy.enabled of the chart makes such a policy"
            found.append(Finding(topic, "fail" if port == GRPC else "warn", told, remedy))
    if out and not any((policy.get("spec") or {}).get("egress") for policy in out):
        told = f"{', '.join(p['metadata']['name'] for p in out)}: pods reach nothing, and builds cannot fetch weights"
        found.append(Finding(topic, "warn", told, "let build pods reach DNS and the weights' addresses"))
    return tuple(found) or (Finding(topic, "ok", f"{len(ours)} of {len(facts.policies)} policies select serving pods"),)


def _selects(policy: Object) -> bool:
    """Tell whether a policy selects serving pods, as far as their fixed labels say."""
    selector = (policy.get("spec") or {}).get("podSelector") or {}
    labels: dict[str, str] = selector.get("matchLabels") or {}
    fits = all(LABELS.get(key) == value or key == "yolofleet.dev/deployment" for key, value in labels.items())
    return fits and all(_expression(e) for e in selector.get("matchExpressions") or [])


def _expression(told: Object) -> bool:
    value, wanted = LABELS.get(told["key"]), told.get("values") or []
    by_operator = {
        "In": value in wanted,
        "NotIn": value not in wanted,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }
    return by_operator.get(told["operator"], False)


def _types(policy: Object) -> list[str]:
    spec = policy.get("spec") or {}
    return spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _lets(policy: Object, way: str, port: int) -> bool:
    """Tell whether a policy lets a port through for anybody."""
    rules = (policy.get("spec") or {}).get(way) or []
    return any(not rule.get("ports") or any(_covers(p, port) for p in rule["ports"]) for rule in rules)


def _covers(told: Object, port: int) -> bool:
    first = told.get("port")
    if first is None or isinstance(first, str):
        return first is None or first in {GRPC: "grpc", METRICS: "metrics"}[port]
    return int(first) <= port <= int(told.get("endPort") or first)


def deployments(facts: Facts) -> Finding:
    """Say how the YoloDeployments of the namespace stand."""
    topic = "deployments"
    if isinstance(facts.deployments, Unseen):
        return unseen(topic, facts.deployments)
    rows = [standing(obj) for obj in facts.deployments]
    if bad := [row for row in rows if not row.ok]:
        told = ", ".join(f"{row.name} ({row.verdict})" for row in bad[:6])
        return Finding(topic, "warn", told, f"kubectl yolofleet status -n {facts.namespace} says what to do")
    return Finding(topic, "ok", f"{len(rows)} YoloDeployments in {facts.namespace}, all as they were asked for")
