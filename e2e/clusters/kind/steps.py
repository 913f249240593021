"""Every command that makes, fills and ends a kind cluster, as data: what it is for, and what to do when it fails."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.clusters.kind import manifests
from e2e.clusters.kind.host import Choice
from e2e.clusters.kind.place import VOLUMES_IN_NODE, KindPlace
from e2e.images.catalogue import image_name

FAKE_IMAGES = ("operator", "builder", "triton", "device-plugin")
DEVICE_PLUGIN_VERSION = "0.20.0"
_DEVICE_PLUGIN_CHARTS = "https://nvidia.github.io/k8s-device-plugin"
_TOOLKIT_PACKAGES = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)
_DOCKERFILES = {"operator": "operator/Dockerfile", "builder": "model_repo_builder/Dockerfile"}
_ASK_FOR_ALL = "/dev/null:/var/run/nvidia-container-devices/all"
_API_SERVER = "/etc/kubernetes/manifests/kube-apiserver.yaml"
_API_SERVER_AWAY = "/etc/kubernetes/kube-apiserver.yaml"
_USER = "1000:1000"

# Toolkits before 1.19 cover the driver's folder in the node with an empty one, and with it what MIG devices need.
_SHOW_DRIVER = "grep -qx 'ModifyDeviceFiles: 0' /proc/driver/nvidia/params || umount -R /proc/driver/nvidia"
_INSTALL_TOOLKIT = """set -eu
export DEBIAN_FRONTEND=noninteractive
keys=/usr/share/keyrings/nvidia-container-toolkit.asc
from=https://nvidia.github.io/libnvidia-container
curl --fail --silent --show-error --location "$from/gpgkey" --output "$keys"
echo "deb [signed-by=$keys] $from/stable/deb/$(dpkg --print-architecture) /" >/etc/apt/sources.list.d/nvidia.list
apt-get update -q
apt-get install -y -q --no-install-recommends {packages}
nvidia-ctk runtime configure --runtime=containerd --config-source=command
systemctl restart containerd
"""


@dataclass(frozen=True)
class Step:
    """One command."""

    purpose: str
    command: tuple[str, ...]
    remedy: str = ""
    stdin: str | None = None
    timeout_s: float = 600


def up(place: KindPlace, choice: Choice, *, archive: Path | None = None) -> tuple[Step, ...]:
    """From nothing to a cluster whose node offers GPUs; images first, so that their failure leaves no cluster."""
    made = [*make_images(place, choice, archive=archive), _create(place)]
    made += prepare_real_gpus(place, choice) if choice.real else []
    made += [*load_images(place, choice, archive=archive), *_storage(place)]
    return (*made, *(_offer_real_gpus(place) if choice.real else _offer_fake_gpus(place)))


def refresh(place: KindPlace, choice: Choice, *, archive: Path | None = None) -> tuple[Step, ...]:
    """For a cluster that runs: the images of the tree as it is now."""
    return (*make_images(place, choice, archive=archive), *load_images(place, choice, archive=archive))


def down(place: KindPlace) -> tuple[Step, ...]:
    command = ("kind", "delete", "cluster", "--name", place.cluster, "--kubeconfig", str(place.kubeconfig))
    return (Step("delete the cluster", command),)


def make_images(place: KindPlace, choice: Choice, *, archive: Path | None) -> list[Step]:
    """Real GPUs: by Docker, on NVIDIA's Triton image. Fake ones: the bench's own, unless an archive is named."""
    if choice.real:
        remedy = "docs/images.md says what the build needs; `make images-docker` runs it alone"
        return [
            Step(
                f"build image {name}",
                ("docker", "build", "--file", path, "--tag", image_name(name), "."),
                remedy,
                timeout_s=3600,
            )
            for name, path in _DOCKERFILES.items()
        ]
    if archive is not None:
        return []
    command = (sys.executable, "-m", "e2e.images", *FAKE_IMAGES, "--archive", str(place.images))
    remedy = (
        "the bench makes its images on Debian 12 as root; elsewhere make them in the bench's container "
        '(e2e/clusters/kind/README.md, "Images") and name the archive in YOLOFLEET_KIND_IMAGES'
    )
    return [Step("make the bench's images", command, remedy, timeout_s=3600)]


def load_images(place: KindPlace, choice: Choice, *, archive: Path | None) -> list[Step]:
    if choice.real:
        what = ("docker-image", *(image_name(name) for name in _DOCKERFILES))
        remedy = "`docker images` must list both"
    else:
        what = ("image-archive", str(archive or place.images))
        remedy = (
            f"the archive must hold {', '.join(map(image_name, FAKE_IMAGES))}; Docker's disk needs room for it twice"
        )
    return [
        Step("load images into the nodes", ("kind", "load", *what, "--name", place.cluster), remedy, timeout_s=1800)
    ]


def _create(place: KindPlace) -> Step:
    command = ("kind", "create", "cluster", "--config", str(place.config), "--kubeconfig", str(place.kubeconfig))
    remedy = (
        "too many open files? sudo sysctl fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=524288. "
        "Node image not found? Docker Hub must be reachable, or name a mirror in YOLOFLEET_KIND_NODE_IMAGE"
    )
    return Step("create the cluster", (*command, "--wait", "180s"), remedy, timeout_s=1200)


def prepare_real_gpus(place: KindPlace, choice: Choice) -> list[Step]:
    """The node sees the GPUs; its containerd must be able to hand them on: the host's toolkit, in the same version."""
    packages = " ".join(f"{package}={choice.toolkit}-1" for package in _TOOLKIT_PACKAGES)
    seen = f"the mount brought no GPU in; this must list them: docker run --rm -v {_ASK_FOR_ALL} ubuntu nvidia-smi -L"
    versions = f"docker exec {place.worker()} apt-cache madison {_TOOLKIT_PACKAGES[0]}"
    network = f"the node needs a way to nvidia.github.io and to Debian, and there that version: {versions}"
    return [
        Step("see the GPUs in the node", (*in_node(place.worker()), "nvidia-smi", "-L"), seen),
        Step("show the driver's folder", (*in_node(place.worker()), "sh", "-c", _SHOW_DRIVER), seen),
        Step(
            "install the container toolkit in the node",
            (*in_node(place.worker()), "sh", "-c", _INSTALL_TOOLKIT.format(packages=packages)),
            network,
            timeout_s=900,
        ),
    ]


def _storage(place: KindPlace) -> list[Step]:
    annotation = "storageclass.kubernetes.io/is-default-class=false"
    return [
        Step("make the volumes' folders", empty_volumes(place, manifests.volume_names())),
        Step(
            "leave one default class", kubectl(place, "annotate", "storageclass", "standard", annotation, "--overwrite")
        ),
        Step("offer the volumes", _apply(place), stdin=_list(manifests.storage())),
    ]


def _offer_fake_gpus(place: KindPlace) -> list[Step]:
    rollout = ("rollout", "status", f"daemonset/{manifests.FAKE_PLUGIN}", "--timeout=120s")
    logs = f"kubectl --kubeconfig {place.kubeconfig} -n {manifests.FAKES_NAMESPACE} describe pods"
    return [
        Step("start the fake device plugin", _apply(place), stdin=_list(manifests.fake_device_plugin())),
        Step("wait for it", kubectl(place, "-n", manifests.FAKES_NAMESPACE, *rollout), logs, timeout_s=150),
    ]


def _offer_real_gpus(place: KindPlace) -> list[Step]:
    """NVIDIA's device plugin with feature discovery; strategy mixed: a resource for each MIG profile."""
    install = ("upgrade", "--install", "nvidia-device-plugin", "nvidia-device-plugin", "--repo", _DEVICE_PLUGIN_CHARTS)
    where = ("--version", DEVICE_PLUGIN_VERSION, "--namespace", "nvidia-device-plugin", "--create-namespace")
    values = ("migStrategy=mixed", "gfd.enabled=true", f"runtimeClassName={manifests.RUNTIME_CLASS}")
    sets = [part for value in values for part in ("--set", value)]
    bound = ("--kubeconfig", str(place.kubeconfig), "--kube-context", place.context)
    logs = f"kubectl --kubeconfig {place.kubeconfig} -n nvidia-device-plugin describe pods"
    return [
        Step("name NVIDIA's runtime", _apply(place), stdin=_list([manifests.runtime_class()])),
        Step(
            "install NVIDIA's device plugin",
            ("helm", *install, *where, *sets, "--wait", "--timeout", "5m", *bound),
            logs,
        ),
    ]


def empty_volumes(place: KindPlace, names: Sequence[str]) -> tuple[str, ...]:
    """Make the folders of some volumes anew, writable by the user that the images run as."""
    script = f"""set -eu
mkdir -p {VOLUMES_IN_NODE}
cd {VOLUMES_IN_NODE}
for volume in {" ".join(names)}; do
  rm -rf "$volume"
  mkdir --mode=0777 "$volume"
  chown {_USER} "$volume"
done
"""
    return (*in_node(place.worker()), "sh", "-c", script)


def stop_apiserver(place: KindPlace) -> tuple[Step, ...]:
    """The kubelet runs what lies in its folder: without the manifest there is no API server."""
    return (Step("stop the API server", (*in_node(place.control_plane), "mv", _API_SERVER, _API_SERVER_AWAY)),)


def start_apiserver(place: KindPlace) -> tuple[Step, ...]:
    return (Step("start the API server", (*in_node(place.control_plane), "mv", _API_SERVER_AWAY, _API_SERVER)),)


def restart_kubelet(place: KindPlace, node: int) -> tuple[Step, ...]:
    return (Step("restart the kubelet", (*in_node(place.worker(node)), "systemctl", "restart", "kubelet")),)


def export_logs(place: KindPlace, folder: Path) -> tuple[Step, ...]:
    return (Step("export the nodes' logs", ("kind", "export", "logs", str(folder), "--name", place.cluster)),)


def in_node(container: str) -> tuple[str, ...]:
    return ("docker", "exec", container)


def kubectl(place: KindPlace, *arguments: str) -> tuple[str, ...]:
    return ("kubectl", "--kubeconfig", str(place.kubeconfig), "--context", place.context, *arguments)


def _apply(place: KindPlace) -> tuple[str, ...]:
    return kubectl(place, "apply", "--server-side", "-f", "-")


def _list(objects: list[dict[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}, indent=1)
