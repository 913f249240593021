"""What a verb works with: the cluster that kubectl's own settings name, and where to print."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from rich.console import Console

from yolofleet.errors import ApiServerError, CannotAskError
from yolofleet.kube import Kube, Resource

UNKNOWN_USER = "the API server does not know you (401); log in again, or check the user of this context"
IN_CLUSTER_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class Flags:
    """What the command line says of the cluster, in kubectl's words; None: not said."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    all_namespaces: bool = False


@dataclass(frozen=True)
class Cluster:
    """A connection, and what kubectl would look at by default; `namespace` None means all of them."""

    kube: Kube
    context: str
    server: str
    namespace: str | None

    async def items(self, resource: Resource, *, selector: str = "") -> list[dict[str, Any]]:
        """Return all objects of a kind in the namespace that is looked at."""
        namespace = self.namespace if resource.namespaced else None
        return [
            item
            async for page in self.kube.pages(resource, namespace=namespace, selector=selector)
            for item in page["items"]
        ]


@dataclass(frozen=True)
class Session:
    """One call of the plugin."""

    flags: Flags
    out: Console
    err: Console

    @asynccontextmanager
    async def cluster(self) -> AsyncIterator[Cluster]:
        """Connect as kubectl would; whatever goes wrong inside becomes one line with a remedy."""
        kube: Kube | None = None
        where = self.flags.context or "the current context"
        try:
            kube, context, namespace = await _connected(self.flags)
            where = f"context {context}, {kube.server}"
            wanted = None if self.flags.all_namespaces else (self.flags.namespace or namespace)
            yield Cluster(kube, context, kube.server, wanted)
        except (ApiServerError, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise CannotAskError(in_words(error, where)) from error
        finally:
            if kube is not None:
                await kube.close()


def in_words(error: Exception, where: str) -> str:
    """Say in one line why the API server could not be asked, and what to do."""
    if isinstance(error, ApiServerError):
        return f"{_refusal(error)} ({where})"
    told = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return (
            f"the API server's certificate is not accepted: {told}; check the cluster's certificate-authority ({where})"
        )
    if isinstance(error, TimeoutError):
        return f"the API server does not answer in time; try again, or check the network and --context ({where})"
    return f"the API server cannot be reached: {told}; check the network, --context and --kubeconfig ({where})"


def _refusal(error: ApiServerError) -> str:
    told = " ".join(error.message.split())
    if error.status == HTTPStatus.UNAUTHORIZED:
        return UNKNOWN_USER
    if error.status == HTTPStatus.FORBIDDEN:
        return f"not allowed: {told}; ask for Kubernetes' `view` role there, or name a namespace of yours with -n"
    if error.status == HTTPStatus.NOT_FOUND:
        return f"not found: {told or error.reason}; `kubectl yolofleet doctor` says whether the chart is installed"
    return f"the API server refuses: {error.status} {error.reason}: {told}; try again"


async def _connected(flags: Flags) -> tuple[Kube, str, str]:
    """Return a connection, the name of its context, and that context's namespace."""
    from kubernetes.aio import config
    from kubernetes.aio.client import Configuration

    configuration = Configuration()
    files = flags.kubeconfig or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube/config")
    inside = not flags.kubeconfig and not flags.context and not _some_file(files)
    try:
        if inside and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=configuration)
            return Kube(configuration), "in-cluster", await asyncio.to_thread(_own_namespace)
        if not _some_file(files):
            raise CannotAskError(f"no kubeconfig at {files}; name one with --kubeconfig or KUBECONFIG")
        contexts, active = config.list_kube_config_contexts(config_file=files)
        named = flags.context or (active or {}).get("name", "")
        chosen = next((context for context in contexts if context["name"] == named), None)
        if chosen is None:
            known = ", ".join(context["name"] for context in contexts) or "none"
            raise CannotAskError(f"--context: {files} has no context {named!r}; it has: {known}")
        await config.load_kube_config(
            config_file=files, context=named, client_configuration=configuration, persist_config=False
        )
    except (config.ConfigException, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        told = " ".join(str(error).split())
        raise CannotAskError(f"kubeconfig {files}: {told}; mend the file, or name another with --kubeconfig") from error
    return Kube(configuration), named, chosen["context"].get("namespace") or "default"


def _some_file(files: str) -> bool:
    return any(Path(file).is_file() for file in files.split(os.pathsep) if file)


def _own_namespace() -> str:
    return IN_CLUSTER_NAMESPACE.read_text().strip() if IN_CLUSTER_NAMESPACE.is_file() else "default"
