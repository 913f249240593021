"""What every story gets: one cluster for the session, and a namespace of its own, dumped when the story fails."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from e2e.clusters.bare.cluster import DEFAULT_NAME, BareCluster
from e2e.clusters.existing import CONTEXT_VARIABLE, ExistingCluster
from e2e.clusters.kind.cluster import KindCluster
from e2e.clusters.protocol import Cluster, UnsupportedError
from e2e.fakes.gpus import DEFAULT_LAYOUT

_OUT = Path(__file__).resolve().parent.parent / "out" / "e2e"
_DUMP = pytest.StashKey[Callable[[], Path]]()
_SYSTEM_NAMESPACES = ("yolofleet-system",)


def _provider() -> str:
    """Which cluster the stories run on."""
    return os.environ.get("YOLOFLEET_E2E_CLUSTER", "bare")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The one flag: which existing cluster may be touched."""
    parser.addoption("--e2e-context", help=f"with YOLOFLEET_E2E_CLUSTER=existing: the context (or {CONTEXT_VARIABLE})")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, elsewhere than on the bare cluster, what `only_on_bare(reason)` marks."""
    for item in items:
        marker = item.get_closest_marker("only_on_bare")
        if marker and _provider() != "bare":
            item.add_marker(pytest.mark.skip(reason=f"only on the bare cluster: {marker.args[0]}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Let a fixture that asks a cluster for what it cannot do skip its story."""
    yield from _skipping_the_unsupported(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Let a story that asks a cluster for what it cannot do end as skipped, with the cluster's words."""
    yield from _skipping_the_unsupported(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """What a cluster cannot do was not done, so a fixture need not undo it."""
    del item
    try:
        yield
    except UnsupportedError:
        if _provider() == "bare":
            raise


def _skipping_the_unsupported(item: pytest.Item) -> Generator[None, None, None]:
    """On the bare cluster, which can do everything, such a refusal is a failure like any other."""
    del item
    try:
        yield
    except UnsupportedError as error:
        if _provider() == "bare":
            raise
        raise pytest.skip.Exception(f"{_provider()}: {error}") from error


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Dump a story's namespace when it fails: now, before its fixtures take away what it was about."""
    report = yield
    if report.failed and report.when != "teardown" and (dump := item.stash.get(_DUMP, None)):
        try:
            report.sections.append(("dump", str(dump())))
        except Exception as error:  # noqa: BLE001 - whatever ails the dump must not hide why the story failed
            report.sections.append(("dump", f"failed: {error!r}"))
    return report


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster of YOLOFLEET_E2E_CLUSTER: `bare` (default), `kind` (YOLOFLEET_E2E_NAME names either) or `existing`.

    A cluster that ran before goes on afterwards, as does any with YOLOFLEET_E2E_KEEP=1.
    """
    name = os.environ.get("YOLOFLEET_E2E_NAME", DEFAULT_NAME)
    if _provider() == "existing":
        yield ExistingCluster(request.config.getoption("--e2e-context", default=None))
    elif _provider() == "bare":
        yield from _ours(BareCluster(name))
    elif _provider() == "kind":
        yield from _ours(KindCluster(name))
    else:
        raise pytest.UsageError(f"YOLOFLEET_E2E_CLUSTER={_provider()!r}: use bare, kind or existing")


def _ours(made: BareCluster | KindCluster) -> Iterator[Cluster]:
    keep = made.running or os.environ.get("YOLOFLEET_E2E_KEEP") == "1"
    made.up()
    try:
        with suppress(UnsupportedError):  # real GPUs are as their owner cut them
            made.set_layout(DEFAULT_LAYOUT)
        yield made
    finally:
        if not keep:
            made.down()


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh namespace under restricted pod security; emptied afterwards, then deleted."""
    story = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")[:32].strip("-")
    name = f"{story}-{secrets.token_hex(2)}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    request.node.stash[_DUMP] = lambda: _dumped(cluster, name, _OUT / story)
    yield name
    _clear(cluster, name)


def _dumped(cluster: Cluster, namespace: str, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    cluster.dump([namespace, *_SYSTEM_NAMESPACES], folder)
    return folder


def _clear(cluster: Cluster, namespace: str) -> None:
    """Free the slices now; the rest goes with the namespace, for which Kubernetes takes five seconds at least.

    What runs is given a second; once the namespace goes nobody can make a pod anew; and what drains already, which
    cannot be hurried, is forgotten: it holds no slice then, and ends by itself.
    """
    pods = ("-n", namespace, "delete", "pods", "--all", "--wait=false")
    cluster.kubectl(*pods, "--now")
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    cluster.kubectl(*pods, "--force", "--grace-period=0")
    cluster.recycle_volumes()
