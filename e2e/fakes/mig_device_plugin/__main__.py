"""Offer every resource of the state file to the kubelet, and again after each of its restarts.

`python -m e2e.fakes.mig_device_plugin STATE.json [--sockets /var/lib/kubelet/device-plugins]`
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import grpc

from e2e.fakes.gpus import GpuState
from e2e.fakes.mig_device_plugin.plugin import MigDevicePlugin

_POLL_S = 0.2


def _kubelet_identity(folder: Path) -> tuple[int, int] | None:
    """What changes when the kubelet restarts: inode and change time, since file systems reuse inode numbers."""
    try:
        found = (folder / "kubelet.sock").stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_ctime_ns


def _offer_new(state: GpuState, folder: Path, plugins: dict[str, MigDevicePlugin]) -> None:
    for resource in state.read():
        if resource in plugins:
            continue
        plugin = MigDevicePlugin(resource, state, folder=folder)
        try:
            plugin.register()
        except grpc.RpcError as error:
            print(f"register {resource}: {error}", flush=True)
            plugin.stop()
        else:
            plugins[resource] = plugin


def serve(state: GpuState, folder: Path) -> None:
    """Run until killed."""
    plugins: dict[str, MigDevicePlugin] = {}
    known: tuple[int, int] | None = None
    while True:
        current = _kubelet_identity(folder)
        if current is not None and current != known:  # it has wiped the folder: start over
            for plugin in plugins.values():
                plugin.stop()
            plugins, known = {}, current
        if current is not None:
            _offer_new(state, folder, plugins)
        time.sleep(_POLL_S)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("state", type=Path)
    parser.add_argument("--sockets", type=Path, default=Path("/var/lib/kubelet/device-plugins"))
    arguments = parser.parse_args()
    serve(GpuState(arguments.state), arguments.sockets)
