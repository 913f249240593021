"""The checker of pod security finds every control of the restricted profile broken."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.charts.rendering import VALUE_SETS, Helm
from tests.charts.restricted import Spec, violations
from tests.render.cases import cases

GOOD: Spec = {
    "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
    "volumes": [{"name": "tmp", "emptyDir": {}}],
    "containers": [
        {
            "name": "main",
            "ports": [{"containerPort": 8080}],
            "livenessProbe": {"httpGet": {"path": "/", "port": 8080}},
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}


def _pod(key: str, value: Any) -> Callable[[Spec], None]:
    return lambda pod: pod.update({key: value})


def _pod_context(key: str, value: Any) -> Callable[[Spec], None]:
    return lambda pod: pod["securityContext"].update({key: value})


def _container(key: str, value: Any) -> Callable[[Spec], None]:
    return lambda pod: pod["containers"][0].update({key: value})


def _context(key: str, value: Any) -> Callable[[Spec], None]:
    return lambda pod: pod["containers"][0]["securityContext"].update({key: value})


BREAKS = {
    "hostNetwork": _pod("hostNetwork", True),
    "hostPID": _pod("hostPID", True),
    "hostIPC": _pod("hostIPC", True),
    "hostPath": _pod("volumes", [{"name": "etc", "hostPath": {"path": "/etc"}}]),
    "sysctl": _pod_context("sysctls", [{"name": "kernel.msgmax", "value": "1"}]),
    "pod runs as root": _pod_context("runAsUser", 0),
    "pod seccomp unconfined": _pod_context("seccompProfile", {"type": "Unconfined"}),
    "pod seccomp unset": _pod_context("seccompProfile", None),
    "pod may be root": _pod_context("runAsNonRoot", None),
    "apparmor": _pod_context("appArmorProfile", {"type": "Unconfined"}),
    "selinux": _pod_context("seLinuxOptions", {"type": "spc_t"}),
    "selinux user": _context("seLinuxOptions", {"user": "root"}),
    "host process": _context("windowsOptions", {"hostProcess": True}),
    "privileged": _context("privileged", True),
    "escalation unset": _context("allowPrivilegeEscalation", None),
    "escalation": _context("allowPrivilegeEscalation", True),
    "capabilities kept": _context("capabilities", {"drop": ["NET_RAW"]}),
    "capability added": _context("capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
    "procMount": _context("procMount", "Unmasked"),
    "container runs as root": _context("runAsUser", 0),
    "container may be root": _context("runAsNonRoot", False),
    "container seccomp": _context("seccompProfile", {"type": "Unconfined"}),
    "hostPort": _container("ports", [{"containerPort": 80, "hostPort": 80}]),
    "probe host": _container("readinessProbe", {"httpGet": {"path": "/", "port": 80, "host": "10.0.0.1"}}),
    "hook host": _container("lifecycle", {"preStop": {"tcpSocket": {"port": 80, "host": "10.0.0.1"}}}),
    "init container": _pod("initContainers", [{"name": "first"}]),
}


def test_a_good_pod_breaks_nothing() -> None:
    assert violations(GOOD) == []


@pytest.mark.parametrize("broken", BREAKS)
def test_every_control_is_seen_broken(broken: str) -> None:
    pod = copy.deepcopy(GOOD)
    BREAKS[broken](pod)
    assert violations(pod)


@pytest.mark.parametrize("name", VALUE_SETS)
def test_every_pod_of_the_chart_is_restricted(helm: Helm, name: str) -> None:
    pods = [found["spec"]["template"]["spec"] for found in helm.objects(*VALUE_SETS[name]) if _has_pods(found)]
    assert pods
    assert [violations(pod) for pod in pods] == [[]] * len(pods)


def test_every_pod_of_the_operator_is_restricted_and_holds_no_token() -> None:
    pods = [document["spec"]["template"]["spec"] for document in cases().values() if _has_pods(document)]
    assert len(pods) >= 5
    assert [violations(pod) for pod in pods] == [[]] * len(pods)
    assert {pod["automountServiceAccountToken"] for pod in pods} == {False}


def _has_pods(document: Any) -> bool:
    return "template" in document.get("spec", {})
