"""Stories share one cluster with the chart installed; each has a namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.fleet import BUILDER_IMAGE, NO_RIGHTS, RESTRICTED, Fleet, install, operator_up


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything here as a story on a real cluster."""
    for item in items:
        if "e2e/stories" in str(item.path):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def installed(cluster: Any) -> Any:
    """The cluster with the chart installed by the real helm."""
    install(cluster)
    return cluster


@pytest.fixture
def fleet(installed: Any, namespace: str) -> Iterator[Fleet]:
    """A namespace on the installed fleet; afterwards the operator is up, and has nothing more to do there."""
    made = Fleet(installed, namespace)
    yield made
    operator_up(installed)
    made.kubectl("delete", "ydep", "--all", "--timeout=60s")


@pytest.fixture
def files(fleet: Fleet) -> str:
    """An HTTP server in the cluster: the bundled weights, and a file that is no model; returns its base URL."""
    serve = (
        "import http.server, pathlib, shutil, model_repo_builder as m;"
        "w = pathlib.Path(m.__file__).parent / 'weights'; t = pathlib.Path('/tmp/files'); t.mkdir();"
        "shutil.copy(w / 'yolo26n-shapes.pt', t / 'good.pt');"
        "(t / 'broken.pt').write_bytes((w / 'yolo26n-shapes.pt').read_bytes()[:100000]);"
        "(t / 'page.pt').write_text('<html>404</html>');"
        "import functools; h = functools.partial(http.server.SimpleHTTPRequestHandler, directory='/tmp/files');"
        "http.server.ThreadingHTTPServer(('0.0.0.0', 8000), h).serve_forever()"
    )
    fleet.apply(*file_server(serve))
    fleet.kubectl("wait", "pod", "files", "--for=condition=Ready", "--timeout=60s")
    return f"http://files.{fleet.namespace}.svc.cluster.local:8000"


def file_server(program: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the pod and the Service of a small file server."""
    container = {
        "name": "files",
        "image": BUILDER_IMAGE,
        "command": ["python3", "-c", program],
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
        "securityContext": NO_RIGHTS,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "files", "labels": {"app": "files"}},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": RESTRICTED,
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "files"},
        "spec": {"selector": {"app": "files"}, "ports": [{"port": 8000}]},
    }
    return pod, service
