"""Serve the metrics of a node's fake GPUs, inside the node's namespaces.

`python -m e2e.fakes.dcgm_exporter GPUS.json DEFECTS.json --node node1 --kubeconfig FILE --address 10.77.0.1`
"""

from __future__ import annotations

import argparse
import threading
import time
from pathlib import Path
from urllib.request import urlopen

from e2e.fakes.dcgm_exporter.defects import DefectsFile
from e2e.fakes.dcgm_exporter.exporter import Exporter, Sources, server
from e2e.fakes.dcgm_exporter.holders import PodAddresses, holders
from e2e.fakes.gpus import GpuState

_TRITON_METRICS_PORT = 8002


def _triton_page(address: str) -> str:
    with urlopen(f"http://{address}:{_TRITON_METRICS_PORT}/metrics", timeout=1) as answer:
        text: str = answer.read().decode()
    return text


def main() -> None:
    """Collect for ever, and serve beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gpus", type=Path)
    parser.add_argument("defects", type=Path)
    parser.add_argument("--node", required=True)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, default=9400)
    parser.add_argument("--collect-interval", type=int, default=1000, help="milliseconds, as the real one counts them")
    parser.add_argument("--socket", type=Path, default=Path("/var/lib/kubelet/pod-resources/kubelet.sock"))
    told = parser.parse_args()
    sources = Sources(
        devices=GpuState(told.gpus).read,
        holders=lambda: holders(told.socket),
        addresses=PodAddresses(told.kubeconfig, told.node).of,
        defects=DefectsFile(told.defects).read,
    )
    exporter = Exporter(sources, _triton_page, node=told.node)
    threading.Thread(target=server(exporter, (told.address, told.port)).serve_forever, daemon=True).start()
    while True:
        began = time.monotonic()
        exporter.collect()
        time.sleep(max(0.05, told.collect_interval / 1000 - (time.monotonic() - began)))


if __name__ == "__main__":
    main()
