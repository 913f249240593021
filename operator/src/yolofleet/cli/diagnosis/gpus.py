"""Findings about GPU nodes: feature discovery, driver, MIG strategy and devices, and NVIDIA's exporter."""

from __future__ import annotations

from collections.abc import Mapping

from yolofleet.cli.diagnosis import Facts, Finding, Level, Object, Unseen, unseen
from yolofleet.observe import reading, text_format
from yolofleet.planning.slices.profiles import known

PREFIX = "nvidia.com/"
LEAST_DRIVER = {"ampere": 450, "hopper": 525}
"""The first driver branch with MIG on that family, as NVIDIA's MIG User Guide has it."""
ACTIVE = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"
WANTED_FAMILIES = (ACTIVE, "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "DCGM_FI_PROF_DRAM_ACTIVE", "DCGM_FI_DEV_FB_USED")
_DCGM = text_format.chosen("", r"DCGM_\w+")


def gpu_nodes(facts: Facts) -> list[Object] | Unseen:
    """Return the nodes that offer GPU devices, or bear NVIDIA's labels."""
    if isinstance(facts.nodes, Unseen):
        return facts.nodes
    return [n for n in facts.nodes if _devices(n, "capacity") or _label(n, "gpu.present") == "true"]


def _label(node: Object, name: str) -> str:
    return str((node["metadata"].get("labels") or {}).get(PREFIX + name, ""))


def _devices(node: Object, part: str) -> dict[str, int]:
    return reading.devices((node.get("status") or {}).get(part) or {})


def _names(nodes: list[Object]) -> str:
    names = [node["metadata"]["name"] for node in nodes]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")  # noqa: PLR2004


def discovery(facts: Facts) -> Finding:
    """Judge whether there are GPU nodes, and whether GPU feature discovery labels them."""
    topic, nodes = "gpu nodes", gpu_nodes(facts)
    if isinstance(nodes, Unseen):
        return unseen(topic, nodes)
    if not nodes:
        told = "no node offers GPUs or slices of them"
        return Finding(topic, "fail", told, "install NVIDIA's GPU operator, or its device plugin, on nodes with GPUs")
    if bare := [node for node in nodes if not _label(node, "gpu.product")]:
        told = f"{_names(bare)}: no label nvidia.com/gpu.product, so the product is not known"
        return Finding(topic, "warn", told, "run NVIDIA's GPU feature discovery (gfd.enabled in the GPU operator)")
    products = sorted({_label(node, "gpu.product") for node in nodes})
    return Finding(topic, "ok", f"{len(nodes)} nodes: {', '.join(products)}")


def driver(facts: Facts) -> Finding:
    """Judge the drivers, as feature discovery tells them."""
    topic, nodes = "driver", gpu_nodes(facts)
    if isinstance(nodes, Unseen):
        return unseen(topic, nodes)
    versions = {node["metadata"]["name"]: _driver(node) for node in nodes}
    if silent := [name for name, version in versions.items() if not version]:
        told = f"{', '.join(silent[:4])}: no label tells the driver's version"
        return Finding(topic, "warn", told, "run GPU feature discovery; if it runs, look at the driver: nvidia-smi")
    for node in nodes:
        family, version = _label(node, "gpu.family"), _driver(node)
        least = LEAST_DRIVER.get(family, 0)
        if int(version.partition(".")[0]) < least:
            told = f"{node['metadata']['name']}: driver {version} has no MIG on {family}"
            return Finding(topic, "fail", told, f"install driver {least} or later")
    found = sorted(set(versions.values()))
    if len(found) > 1:
        told = f"nodes have different drivers: {', '.join(found)}"
        return Finding(topic, "warn", told, "bring them to one: an engine may load on some nodes and not on others")
    return Finding(topic, "ok", f"driver {', '.join(found)}" if found else "no GPU node")


def _driver(node: Object) -> str:
    """Return the driver's version; older feature discoveries have labels of another name."""
    if full := _label(node, "cuda.driver-version.full"):
        return full
    parts = (_label(node, f"cuda.driver.{part}") for part in ("major", "minor", "rev"))
    told = ".".join(part for part in parts if part)
    return told if told[:1].isdigit() else ""


def mig(facts: Facts) -> tuple[Finding, ...]:
    """Judge per node whether strategy, state and devices fit together; one finding when all do."""
    nodes = gpu_nodes(facts)
    if isinstance(nodes, Unseen):
        return (unseen("mig", nodes),)
    wrong = tuple(found for node in nodes for found in _of_node(node))
    offered: dict[str, int] = {}
    for node in nodes:
        for name, count in _devices(node, "allocatable").items():
            offered[name] = offered.get(name, 0) + count
    told = ", ".join(f"{count} × {name}" for name, count in sorted(offered.items()))
    return wrong or (Finding("mig", "ok", f"offered: {told or 'nothing'}"),)


def _of_node(node: Object) -> tuple[Finding, ...]:
    judged = (_state(node), _strategy(node), _health(node), _profiles(node))
    return tuple(found for found in judged if found is not None)


def _state(node: Object) -> Finding | None:
    state, name, config = _label(node, "mig.config.state"), node["metadata"]["name"], _label(node, "mig.config")
    if state == "failed":
        told = f"{name}: mig-manager could not apply {config or 'its config'}"
        remedy = "read its log; then set nvidia.com/mig.config to another value: the same one is not tried again"
        return Finding("mig", "fail", told, remedy)
    if state in ("pending", "rebooting"):
        told = f"{name}: mig-manager is {state}; the node offers nothing meanwhile"
        remedy = "wait; if it stays so, look for pods that hold the GPU, and for paused nvidia.com/gpu.deploy.* labels"
        return Finding("mig", "warn", told, remedy)
    return None


def _strategy(node: Object) -> Finding | None:
    name, strategy = node["metadata"]["name"], _label(node, "mig.strategy")
    devices = set(_devices(node, "capacity"))
    cut = any(resource.startswith("nvidia.com/mig-") for resource in devices)
    if cut and strategy and strategy != "mixed":
        told = f"{name}: strategy is {strategy}, but it offers {', '.join(sorted(devices))}"
        return Finding("mig", "warn", told, "restart device plugin and feature discovery on it: one of them is stale")
    if _label(node, "mig.capable") == "true" and strategy in ("", "none") and "nvidia.com/gpu" in devices:
        told = f"{name}: its GPUs can be cut and are not (strategy {strategy or 'none'}): profile `gpu` only"
        return Finding("mig", "warn", told, "set mig.strategy=mixed in the GPU operator, and a nvidia.com/mig.config")
    if not devices:
        told = f"{name}: labelled as a GPU node, and offers no device"
        return Finding("mig", "fail", told, "look at NVIDIA's device plugin on it: its log says why")
    return None


def _health(node: Object) -> Finding | None:
    capacity, free = _devices(node, "capacity"), _devices(node, "allocatable")
    ill = {name: count - free.get(name, 0) for name, count in capacity.items() if free.get(name, 0) < count}
    if not ill:
        return None
    told = ", ".join(f"{count} of {capacity[name]} {name}" for name, count in sorted(ill.items()))
    remedy = "look for XID errors in its kernel log; drain it and reset the GPU"
    return Finding("mig", "fail", f"{node['metadata']['name']}: unhealthy devices: {told}", remedy)


def _profiles(node: Object) -> Finding | None:
    offered = [name.removeprefix("nvidia.com/mig-") for name in _devices(node, "capacity") if "/mig-" in name]
    if odd := sorted(profile for profile in offered if not known(profile)):
        told = f"{node['metadata']['name']}: profiles that yolofleet does not serve on: {', '.join(odd)}"
        return Finding("mig", "warn", told, "use profiles like 1g.10gb, not renamed or compute instances")
    return None


def dcgm(facts: Facts) -> tuple[Finding, ...]:
    """Judge NVIDIA's exporter, with the known defects of its versions."""
    topic, seen = "dcgm", facts.dcgm
    if isinstance(seen, Unseen):
        return (unseen(topic, seen),)
    if not seen.service:
        told = "no DCGM exporter: nobody sees how active the engines are; scaling goes by Triton's figures alone"
        remedy = "install it with NVIDIA's GPU operator, and name its Service in the chart's `dcgm` values"
        return (Finding(topic, "warn", told, remedy),)
    if isinstance(seen.page, Unseen) and (names := _active_rows(facts)):
        told = f"the operator sees how active the engines are ({', '.join(names[:4])})"
        return (Finding(topic, "ok", told),)
    if isinstance(seen.page, Unseen):
        told = f"the exporter's page could not be read: {seen.page.why}"
        remedy = "look at its pods; to read it through the API server one needs `get services/proxy` there"
        return (Finding(topic, "unseen", told, remedy),)
    return _of_page(seen.page, facts)


def _active_rows(facts: Facts) -> list[str]:
    """Return the deployments of which the operator sees the engines' activity."""
    if isinstance(facts.top, Unseen):
        return []
    return [row.name for row in facts.top.deployments if row.engine_active is not None]


def series(page: str) -> list[tuple[str, Mapping[str, str]]]:
    """Return the series of an exporter's page: family and labels."""
    return [
        (family, {key.decode(): told.decode() for key, told in labels.items()})
        for family, labels, _ in text_format.series(page.encode(), _DCGM)
    ]


def _of_page(page: str, facts: Facts) -> tuple[Finding, ...]:
    rows = series(page)
    families = {name for name, _ in rows}
    active = [labels for name, labels in rows if name == ACTIVE]
    found: list[Finding] = []
    if lacking := [family for family in WANTED_FAMILIES if family not in families]:
        remedy = (
            "give the exporter dcp-metrics-included.csv and the capability SYS_ADMIN; FB_* on MIG lacks in some "
            "versions (dcgm-exporter#512): upgrade it"
        )
        level: Level = "fail" if ACTIVE in lacking else "warn"
        found.append(Finding("dcgm", level, f"the exporter does not tell {', '.join(lacking)}", remedy))
    if active and (slices := _slices_of(facts, active)) > (known_to := _instances(active)):
        told = f"the node offers {slices} slices, the exporter knows {known_to} GPU instances"
        remedy = "restart the exporter after each new layout: it does not see new instances (dcgm-exporter#714)"
        found.append(Finding("dcgm", "warn", told, remedy))
    if active and _serving(facts) and not any(labels.get("pod") for labels in active):
        told = "no series bears a pod's name, though pods serve: nobody can tell whose activity it is"
        remedy = (
            "set DCGM_EXPORTER_KUBERNETES=true and mount /var/lib/kubelet/pod-resources; on MIG use 4.6.0 to 4.8.3 or "
            "later (dcgm-exporter#272, #577)"
        )
        found.append(Finding("dcgm", "warn", told, remedy))
    told = f"the exporter tells the activity of {_instances(active) or len(active)} GPU instances or GPUs"
    return tuple(found) or (Finding("dcgm", "ok", told),)


def _instances(active: list[Mapping[str, str]]) -> int:
    return len({(row.get("Hostname"), row.get("gpu"), row["GPU_I_ID"]) for row in active if row.get("GPU_I_ID")})


def _slices_of(facts: Facts, active: list[Mapping[str, str]]) -> int:
    """Return how many slices the nodes offer that this page tells of; 0 where they cannot be seen."""
    nodes = gpu_nodes(facts)
    if isinstance(nodes, Unseen):
        return 0
    hosts = {row.get("Hostname") for row in active}
    here = [node for node in nodes if node["metadata"]["name"] in hosts]
    return sum(c for node in here for name, c in _devices(node, "capacity").items() if "/mig-" in name)


def _serving(facts: Facts) -> bool:
    """Tell whether a pod of the namespace serves on one of the nodes."""
    if isinstance(facts.pods, Unseen):
        return False
    return any((pod.get("status") or {}).get("phase") == "Running" for pod in facts.pods)
