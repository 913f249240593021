"""Reach a Service of a cluster that others made, by kubectl port-forward."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def port_forward(kubectl: Sequence[str], service: str, port: int) -> Iterator[int]:
    """A port of 127.0.0.1 that leads to `name.namespace`; `kubectl` is the program with what binds it to a cluster."""
    name, _, namespace = service.partition(".")
    command = [*kubectl, "-n", namespace, "port-forward", f"service/{name}", f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forwarding:
        try:
            yield _announced_port(forwarding)
        finally:
            forwarding.terminate()


def _announced_port(forwarding: subprocess.Popen[str]) -> int:
    """The port in kubectl's first line, `Forwarding from 127.0.0.1:PORT -> …`."""
    line = forwarding.stdout.readline() if forwarding.stdout else ""
    if "127.0.0.1:" not in line:
        raise RuntimeError(f"kubectl port-forward said {line!r}")
    return int(line.partition("127.0.0.1:")[2].split()[0])
