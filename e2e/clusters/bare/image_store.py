"""A node's image store: it outlives the cluster, starts with images and nothing else, and takes in only new layers."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from e2e.clusters.bare.layout import NodePlace
from e2e.clusters.bare.namespaces import Namespaces
from e2e.clusters.bare.node_config import NodeConfig
from e2e.images import Image, write_archive

_CONTENT = "io.containerd.content.v1.content"
_SNAPSHOTS = Path("io.containerd.snapshotter.v1.overlayfs")
_DATABASES = (Path("io.containerd.metadata.v1.bolt/meta.db"), _SNAPSHOTS / "metadata.db")
_KEPT = {_CONTENT, _SNAPSHOTS.name}
_SWEPT = "localhost/yolofleet/swept:dev"


@dataclass(frozen=True)
class ImageStore:
    """The folder of one node's containerd.

    Containers of an earlier run must not come back, so containerd's two databases are saved when only images are in
    the store, and put back before each start; what they do not know is deleted.
    """

    node: NodePlace

    @property
    def _saved(self) -> Path:
        return self.node.images.with_name(f"{self.node.images.name}-saved")

    def restore(self) -> None:
        """Bring the store back to images only; one without a saved state starts empty."""
        if not (self._saved / "snapshots.json").exists():
            shutil.rmtree(self.node.images, ignore_errors=True)
            return
        known = set(json.loads((self._saved / "snapshots.json").read_text()))
        for entry in self.node.images.iterdir():
            if entry.name not in _KEPT:
                _delete(entry)
        for snapshot in (self.node.images / _SNAPSHOTS / "snapshots").iterdir():
            if snapshot.name not in known:
                _delete(snapshot)
        for database in _DATABASES:
            (self.node.images / database).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self._saved / database.name, self.node.images / database)

    def save(self) -> None:
        """Remember the store as it is; containerd must not run."""
        staged = self._saved.with_suffix(".new")
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        for database in _DATABASES:
            shutil.copy(self.node.images / database, staged / database.name)
        snapshots = sorted(entry.name for entry in (self.node.images / _SNAPSHOTS / "snapshots").iterdir())
        (staged / "snapshots.json").write_text(json.dumps(snapshots))
        shutil.rmtree(self._saved, ignore_errors=True)
        staged.rename(self._saved)


def missing_images(images: Sequence[Image], inside: Namespaces, config: NodeConfig) -> list[Image]:
    """Those that the node's containerd does not have in this very version."""
    listed = inside.run(config.ctr("images", "list")).splitlines()[1:]
    present = {(line.split()[0], line.split()[2]) for line in listed}
    return [image for image in images if (image.name, image.digest) not in present]


def import_images(images: Sequence[Image], inside: Namespaces, config: NodeConfig) -> None:
    """Stream the images into containerd without the layers it has, then let it drop what nothing refers to."""
    known = set(inside.run(config.ctr("content", "list", "--quiet")).split())
    command = inside.wrap(config.ctr("images", "import", "--local", "-"))
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as importing:
        _stream(images, importing.stdin, without=known)
        said = importing.stderr.read().decode() if importing.stderr else ""
    if importing.returncode != 0:
        raise RuntimeError(f"ctr images import failed (exit {importing.returncode}): {said.strip()[-2000:]}")
    inside.run(config.ctr("images", "tag", "--force", images[0].name, _SWEPT))
    inside.run(config.ctr("images", "remove", "--sync", _SWEPT))


def _stream(images: Sequence[Image], pipe: IO[bytes] | None, *, without: set[str]) -> None:
    if pipe is None:
        raise RuntimeError("ctr was started without a pipe")
    try:
        write_archive(images, pipe, without=without)
        pipe.close()
    except BrokenPipeError:
        return  # ctr has ended: its own words are in the caller's error


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
