"""What every story gets: one cluster for the session, and a namespace of its own, dumped when the story fails."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from e2e.clusters.bare.cluster import DEFAULT_NAME, BareCluster
from e2e.clusters.existing import CONTEXT_VARIABLE, ExistingCluster
from e2e.clusters.protocol import Cluster
from e2e.fakes.gpus import DEFAULT_LAYOUT

_OUT = Path(__file__).resolve().parent.parent / "out" / "e2e"
_FAILED = pytest.StashKey[bool]()
_SYSTEM_NAMESPACES = ("yolofleet-system",)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The one flag: which existing cluster may be touched."""
    parser.addoption("--e2e-context", help=f"with YOLOFLEET_E2E_CLUSTER=existing: the context (or {CONTEXT_VARIABLE})")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember on the item whether any of its phases failed."""
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    return report


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster of YOLOFLEET_E2E_CLUSTER: `bare` (default; YOLOFLEET_E2E_NAME names it) or `existing`.

    A bare cluster that ran before goes on afterwards, as does any with YOLOFLEET_E2E_KEEP=1.
    """
    kind = os.environ.get("YOLOFLEET_E2E_CLUSTER", "bare")
    if kind == "existing":
        yield ExistingCluster(request.config.getoption("--e2e-context", default=None))
    elif kind == "bare":
        yield from _bare(os.environ.get("YOLOFLEET_E2E_NAME", DEFAULT_NAME))
    else:
        raise pytest.UsageError(f"YOLOFLEET_E2E_CLUSTER={kind!r}: use bare or existing")


def _bare(name: str) -> Iterator[BareCluster]:
    bare = BareCluster(name)
    keep = bare.running or os.environ.get("YOLOFLEET_E2E_KEEP") == "1"
    bare.up()
    try:
        bare.set_layout(DEFAULT_LAYOUT)
        yield bare
    finally:
        if not keep:
            bare.down()


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh namespace under restricted pod security; emptied afterwards, then deleted."""
    story = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")[:32].strip("-")
    name = f"{story}-{secrets.token_hex(2)}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield name
    if request.node.stash.get(_FAILED, False):
        folder = _OUT / story
        shutil.rmtree(folder, ignore_errors=True)
        cluster.dump([name, *_SYSTEM_NAMESPACES], folder)
    _clear(cluster, name)


def _clear(cluster: Cluster, namespace: str) -> None:
    """Free the slices now; the rest goes with the namespace, for which Kubernetes takes five seconds at least."""
    kinds = "deployments,jobs,pods"
    cluster.kubectl("-n", namespace, "delete", kinds, "--all", "--now", "--timeout=60s", timeout_s=70)
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    cluster.recycle_volumes()
