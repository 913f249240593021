"""How a drawn spec is mended where a rule crosses fields, so that most of them get past the rules.

A mend changes as little as it can, so that it leaves the neighbourhood of the rule in place.
"""

from __future__ import annotations

from typing import Any

from yolofleet.api.serving import amount

Spec = dict[str, Any]


def mend_deployment(spec: Spec) -> None:
    """Satisfy the rules of a YoloDeployment that speak of more than one field."""
    _engine(spec.get("engine", {}))
    _scaling(spec.get("scaling", {}))
    _mode(spec)
    serving = spec.get("serving", {})
    _resources(serving.get("resources", {}))
    for toleration in serving.get("tolerations", []):
        _toleration(toleration)


def mend_pool(spec: Spec) -> None:
    """Satisfy the rules of a MigPool that speak of more than one field."""
    how = spec.get("partitioning", {})
    if "migManager" in how:
        how["mode"] = "MigManager"
        how.pop("dra", None)
    elif "dra" in how:
        how["mode"] = "DRA"
    else:
        how.pop("mode", None)


def _engine(engine: Spec) -> None:
    if "calibration" in engine:
        engine |= {"precision": "INT8"}
    elif engine.get("precision") in ("INT8", "FP8") or engine.get("backend") == "ONNXRuntime":
        engine.pop("precision", None)


def _scaling(scaling: Spec) -> None:
    low, high = sorted((scaling.get("minReplicas", 1), scaling.get("maxReplicas", 8)))
    if scaling:
        scaling |= {"minReplicas": low, "maxReplicas": high}
    for schedule in scaling.get("schedules", []):
        schedule["minReplicas"] = min(schedule["minReplicas"], high)


def _mode(spec: Spec) -> None:
    mode = spec.get("scaling", {}).get("mode")
    if mode == "External":
        placement = spec.setdefault("placement", {})
        placement["profiles"] = placement.get("profiles", [])[:1] or ["gpu"]
    if mode == "Declared" and "demand" not in spec:
        spec["scaling"]["mode"] = "Auto"
    if "frames" in spec:
        spec["endpoints"] = ["Frames"]


def _resources(resources: Spec) -> None:
    asked, bounds = resources.get("requests", {}), resources.get("limits", {})
    for name, bound in bounds.items():
        if name in asked and amount(asked[name]) > amount(bound):
            asked[name] = bound


def _toleration(toleration: Spec) -> None:
    if "key" not in toleration:
        toleration["operator"] = "Exists"
    if toleration.get("operator") == "Exists":
        toleration.pop("value", None)
    if "tolerationSeconds" in toleration:
        toleration["effect"] = "NoExecute"
