"""The restricted profile of Kubernetes' Pod Security Standards, control by control, for pod specs as parsed YAML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Spec = dict[str, Any]

VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
SECCOMP = {"RuntimeDefault", "Localhost"}
SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
}
HOOKS = ("startupProbe", "livenessProbe", "readinessProbe")
HANDLERS = ("httpGet", "tcpSocket")


def violations(pod: Spec) -> list[str]:
    """Return every control of the restricted profile that a pod spec breaks, each with its place."""
    found = [*_of_pod(pod)]
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod.get(kind) or []:
            found += [f"{container['name']}: {broken}" for broken in _of_container(container, pod)]
    return found


def _of_pod(pod: Spec) -> Iterator[str]:
    context = pod.get("securityContext") or {}
    yield from (key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key))
    for volume in pod.get("volumes") or []:
        yield from (f"volume {volume['name']}: {kind}" for kind in volume.keys() - {"name"} - VOLUMES)
    names = {sysctl["name"] for sysctl in context.get("sysctls") or []}
    yield from (f"sysctl {name}" for name in sorted(names - SAFE_SYSCTLS))
    yield from _of_any_context(context)


def _of_container(container: Spec, pod: Spec) -> Iterator[str]:
    context = container.get("securityContext") or {}
    above = pod.get("securityContext") or {}
    yield from _of_any_context(context)
    yield from _privileges(context)
    yield from (f"hostPort {port['hostPort']}" for port in container.get("ports") or [] if port.get("hostPort"))
    if not context.get("runAsNonRoot", above.get("runAsNonRoot", False)):
        yield "runAsNonRoot is not true"
    if not (context.get("seccompProfile") or above.get("seccompProfile")):
        yield "seccompProfile is not set"
    yield from _hooks(container)


def _of_any_context(context: Spec) -> Iterator[str]:
    selinux = context.get("seLinuxOptions") or {}
    if selinux.get("type", "") not in SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
        yield "seLinuxOptions"
    if (context.get("seccompProfile") or {"type": "RuntimeDefault"})["type"] not in SECCOMP:
        yield "seccompProfile"
    if (context.get("appArmorProfile") or {"type": "RuntimeDefault"})["type"] not in SECCOMP:
        yield "appArmorProfile"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield "hostProcess"
    if context.get("runAsUser") == 0:
        yield "runAsUser is 0"
    if context.get("runAsNonRoot") is False:
        yield "runAsNonRoot is false"


def _privileges(context: Spec) -> Iterator[str]:
    capabilities = context.get("capabilities") or {}
    if context.get("privileged"):
        yield "privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if context.get("procMount", "Default") != "Default":
        yield "procMount"
    if "ALL" not in capabilities.get("drop", []):
        yield "capabilities: ALL is not dropped"
    yield from (f"capability {name}" for name in capabilities.get("add", []) if name != "NET_BIND_SERVICE")


def _hooks(container: Spec) -> Iterator[str]:
    hooks = [container.get(name) or {} for name in HOOKS] + list((container.get("lifecycle") or {}).values())
    hosts = [hook[handler]["host"] for hook in hooks for handler in HANDLERS if "host" in (hook.get(handler) or {})]
    yield from (f"a probe or hook names a host: {host}" for host in hosts)
