"""A real S3 server for tests: versitygw on a folder and on loopback, one door to write and one to read."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from e2e.clusters.bare.binaries import build_versitygw
from yolofleet.api.store import Bucket
from yolofleet.objects import Credential, Objects

WRITER = Credential("writer", "writer-secret")
READER = Credential("reader", "reader-secret")
BUCKET = "engines"


@dataclass
class S3Server:
    """The server's folder and its two doors; `stop` and `start` are an outage."""

    folder: Path
    ports: tuple[int, int]
    room_kib: int | None = None
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def bucket(self, prefix: str = "", *, read_only: bool = False, name: str = BUCKET) -> Bucket:
        """Return a place in the store, through either door."""
        return Bucket(endpoint=f"http://127.0.0.1:{self.ports[read_only]}", name=name, prefix=prefix)

    def objects(self, prefix: str = "", *, timeout_s: float = 10) -> Objects:
        """Return the store as the operator has it."""
        return Objects(self.bucket(prefix), WRITER, timeout_s=timeout_s)

    def path(self, name: str) -> Path:
        """Return the file that is an object: to damage it behind the server's back."""
        return self.folder / BUCKET / name

    def start(self) -> None:
        """Start both doors, and wait until they answer."""
        doors = ((WRITER, ()), (READER, ("--readonly",)))
        for port, (credential, switches) in zip(self.ports, doors, strict=True):
            command = [
                str(build_versitygw()),
                "--port",
                f"127.0.0.1:{port}",
                "--health",
                "/health",
                "--quiet",
                *switches,
            ]
            secrets = {"ROOT_ACCESS_KEY": credential.access, "ROOT_SECRET_KEY": credential.secret}
            self.processes.append(
                subprocess.Popen(
                    [*self._on_a_small_disk(), *command, "posix", str(self.folder)],
                    env=os.environ | secrets,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        for port in self.ports:
            _wait_for(f"http://127.0.0.1:{port}/health")

    def _on_a_small_disk(self) -> list[str]:
        """Return what runs a command on a folder with so much room alone, in a mount namespace that goes with it."""
        if self.room_kib is None:
            return []
        mount = f"mount -t tmpfs -o size={self.room_kib}k tmpfs {self.folder} && mkdir {self.folder / BUCKET}"
        return ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"]

    def stop(self) -> None:
        """Kill both doors."""
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()


@contextmanager
def s3_server(folder: Path, *, room_kib: int | None = None) -> Iterator[S3Server]:
    """Run a server on a folder while the block runs; with `room_kib` each door has a small disk of its own."""
    (folder / BUCKET).mkdir(parents=True)
    server = S3Server(folder, (_free_port(), _free_port()), room_kib)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
