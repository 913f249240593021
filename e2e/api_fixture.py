"""The fixture `api`, a plugin of the test files that ask the real API server."""

from __future__ import annotations

import pytest

from e2e.api_server import ApiServer
from e2e.clusters.protocol import Cluster
from e2e.fleet import install


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> ApiServer:
    """The API server of the cluster, with the CRDs as the chart in the tree installs them."""
    install(cluster)
    return ApiServer(cluster.kubeconfig, context=cluster.context, namespace="default")
