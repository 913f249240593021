"""Where kind is installed, its own program judges the configuration, before a Docker that only writes orders down."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from e2e.clusters.kind.config import NODE_IMAGE, kind_config
from e2e.clusters.kind.host import KIND_VERSION
from e2e.clusters.kind.place import KindPlace

KIND = shutil.which("kind")
pytestmark = pytest.mark.skipif(
    KIND is None, reason=f"kind is not on PATH (go install sigs.k8s.io/kind@{KIND_VERSION})"
)

DOCKER = """#!/bin/sh
echo "$*" >>"{orders}"
case "$1" in
  info) echo '{{"CgroupVersion":"2","OSType":"linux","MemoryLimit":true,"PidsLimit":true,"CPUShares":true}}' ;;
  network) [ "$2" = ls ] && echo 0123456789ab ;;
  exec) echo "no container was made" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def orders(tmp_path, monkeypatch) -> Path:
    """The file in which the stand-in for Docker writes each of its command lines."""
    path = tmp_path / "orders"
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER.format(orders=path))
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:/usr/bin:/bin")
    monkeypatch.setenv("KIND_EXPERIMENTAL_PROVIDER", "docker")
    return path


def create(config: dict, folder: Path) -> str:
    """What kind says to a configuration; it always fails, at the latest where it wants a container."""
    path = folder / "kind.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [KIND, "create", "cluster", "--config", str(path), "--kubeconfig", str(folder / "kubeconfig")]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60).stderr


@pytest.mark.parametrize("real", [True, False], ids=["real", "fake"])
def test_kind_takes_the_config_and_orders_the_mounts_from_docker(orders, tmp_path, real):
    place = KindPlace("lab", tmp_path)
    said = create(kind_config(place, real=real), tmp_path)
    containers = {
        line.split("--name ")[1].split()[0]: line for line in orders.read_text().splitlines() if "run --name" in line
    }
    assert set(containers) == {place.worker(), place.control_plane}, said
    assert {line.split()[-1] for line in containers.values()} == {NODE_IMAGE}
    wanted = "/dev/null:/var/run/nvidia-container-devices/all" if real else f"{place.gpus()}:/var/lib/yolofleet/gpus"
    assert f"--volume={wanted}" in containers[place.worker()]
    assert f"--volume={wanted}" not in containers[place.control_plane]


def test_the_pinned_node_image_is_the_one_that_this_kind_was_released_with(orders, tmp_path):
    said = subprocess.run([KIND, "version"], check=True, capture_output=True, text=True).stdout
    if KIND_VERSION not in said:
        pytest.skip(f"{said.strip()}; the pin is that of {KIND_VERSION}")
    create({"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "name": "lab"}, tmp_path)
    assert NODE_IMAGE in orders.read_text()


def test_kind_refuses_what_it_does_not_know(orders, tmp_path):
    config = kind_config(KindPlace("lab", tmp_path), real=True)
    config["nodes"][1]["gpus"] = "all"
    assert "field gpus not found" in create(config, tmp_path)
    assert not orders.exists() or "run " not in orders.read_text()
