"""What a node says of its fake GPUs: labels, readiness, allocatable devices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from e2e.clusters.kubectl import Clients
from e2e.fakes.gpus import PREFIX, GpuState, labels
from e2e.waiting import wait_for


def label_node(clients: Clients, node: str, layout: Mapping[str, int]) -> None:
    """Give the node the labels of this layout, and take away those of the last one."""
    wanted = labels(layout)
    present = _node(clients, node)["metadata"].get("labels", {})
    stale = [f"{key}-" for key in present if key.startswith(f"{PREFIX}mig-") and key not in wanted]
    pairs = [f"{key}={value}" for key, value in wanted.items()]
    clients.kubectl("label", "node", node, "--overwrite", *pairs, *stale)


def wait_until_ready(clients: Clients, node: str) -> None:
    """Wait for the node's Ready condition, and until it lets pods in."""
    wait_for(f"{node} Ready", lambda: _is_ready(_node(clients, node)), timeout_s=90)


def wait_for_allocatable(clients: Clients, node: str, state: GpuState) -> None:
    """Wait until the node offers exactly the healthy devices of the state."""
    wanted = {name: sum(device.healthy for device in group) for name, group in state.read().items()}
    wait_for(
        f"{node} to offer {wanted}",
        lambda: _offered(clients, node, wanted) == wanted,
        timeout_s=60,
        seen=lambda: _offered(clients, node, wanted),
    )


def _offered(clients: Clients, node: str, resources: Mapping[str, int]) -> dict[str, int]:
    allocatable = _node(clients, node)["status"].get("allocatable", {})
    return {name: int(allocatable.get(name, 0)) for name in resources}


def _is_ready(node: dict[str, Any]) -> bool:
    conditions = {entry["type"]: entry["status"] for entry in node["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and not node["spec"].get("taints")


def _node(clients: Clients, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(clients.kubectl("get", "node", name, "-o", "json"))
    return found
