"""A node's image store: it outlives the cluster, starts with images and nothing else, and takes in only new layers."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
_BLOBS = Path(_CONTENT) / "blobs" / "sha256"
_INVENTORY = "inventory.json"
_SWEPT = "localhost/yolofleet/swept:dev"


@dataclass(frozen=True)
class ImageStore:
    """The folder of one node's containerd.

    Containers of an earlier run must not come back, so containerd's two databases are saved when only images are in
    the store, and put back before each start; what they do not know is deleted. A new store begins as a clone of
    another one, by hard links, since neither layers nor blobs are ever changed in place.
    """

    node: NodePlace

    @property
    def _saved(self) -> Path:
        return self.node.images.with_name(f"{self.node.images.name}-saved")

    def restore(self) -> None:
        """Bring the store back to images only; one without a saved state is cloned, or starts empty."""
        if not self.whole:
            self.forget()
            shutil.rmtree(self.node.images, ignore_errors=True)
            if other := next((store for store in self._others() if store.whole), None):
                self._clone(other)
            return
        snapshots = set(self._inventory()["snapshots"])
        for entry in self.node.images.iterdir():
            if entry.name not in _KEPT:
                _delete(entry)
        for snapshot in (self.node.images / _SNAPSHOTS / "snapshots").iterdir():
            if snapshot.name not in snapshots:
                _delete(snapshot)
        self._restore_databases()

    @property
    def whole(self) -> bool:
        """Whether there is a saved state, and all that it speaks of."""
        if not (self._saved / _INVENTORY).exists():
            return False
        inventory = self._inventory()
        wanted = [_SNAPSHOTS / "snapshots" / name for name in inventory["snapshots"]]
        wanted += [_BLOBS / name for name in inventory["blobs"]]
        return all((self.node.images / path).exists() for path in wanted)

    def forget(self) -> None:
        """Drop the saved state: the store is about to lose what it speaks of."""
        shutil.rmtree(self._saved, ignore_errors=True)

    def save(self) -> None:
        """Remember the store as it is; containerd must not run."""
        staged = self._saved.with_suffix(".new")
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        for database in _DATABASES:
            shutil.copy(self.node.images / database, staged / database.name)
        folders = {"snapshots": _SNAPSHOTS / "snapshots", "blobs": _BLOBS}
        inventory = {
            name: sorted(entry.name for entry in (self.node.images / path).iterdir()) for name, path in folders.items()
        }
        (staged / _INVENTORY).write_text(json.dumps(inventory))
        self.forget()
        staged.rename(self._saved)

    def _others(self) -> list[ImageStore]:
        homes = sorted(self.node.images.parent.parent.glob("*/images-node*-saved"))
        folders = [path.with_name(path.name.removesuffix("-saved")) for path in homes]
        return [ImageStore(replace(self.node, images=folder)) for folder in folders]

    def _clone(self, other: ImageStore) -> None:
        source, snapshots = other.node.images, self.node.images / _SNAPSHOTS / "snapshots"
        snapshots.mkdir(parents=True, mode=0o700)
        shutil.copytree(other._saved, self._saved)
        _link_tree([source / _CONTENT], self.node.images)
        _link_tree([source / _SNAPSHOTS / "snapshots" / name for name in self._inventory()["snapshots"]], snapshots)
        self._restore_databases()

    def _inventory(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = json.loads((self._saved / _INVENTORY).read_text())
        return found

    def _restore_databases(self) -> None:
        for database in _DATABASES:
            (self.node.images / database).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self._saved / database.name, self.node.images / database)


def missing_images(images: Sequence[Image], inside: Namespaces, config: NodeConfig) -> list[Image]:
    """Those that the node's containerd does not have in this very version."""
    listed = inside.run(config.ctr("images", "list")).splitlines()[1:]
    present = {(line.split()[0], line.split()[2]) for line in listed}
    return [image for image in images if (image.name, image.digest) not in present]


def import_images(images: Sequence[Image], inside: Namespaces, config: NodeConfig) -> None:
    """Stream the images into containerd without the layers it has."""
    known = set(inside.run(config.ctr("content", "list", "--quiet")).split())
    command = inside.wrap(config.ctr("images", "import", "--local", "-"))
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as importing:
        _stream(images, importing.stdin, without=known)
        said = importing.stderr.read().decode() if importing.stderr else ""
    if importing.returncode != 0:
        raise RuntimeError(f"ctr images import failed (exit {importing.returncode}): {said.strip()[-2000:]}")


def sweep(image: Image, inside: Namespaces, config: NodeConfig) -> None:
    """Let containerd drop, before this returns, what no image refers to; it sweeps when an image's name goes."""
    inside.run(config.ctr("images", "tag", "--force", image.name, _SWEPT))
    inside.run(config.ctr("images", "remove", "--sync", _SWEPT))


def keep_present(images: Sequence[Image], inside: Namespaces, config: NodeConfig) -> None:
    """Give the versions that the saved state speaks of a second name, so that a newer version does not end them."""
    names = set(inside.run(config.ctr("images", "list", "--quiet")).split())
    for image in images:
        kept = f"{image.name.rpartition(':')[0]}:saved"
        if image.name in names and kept not in names:
            inside.run(config.ctr("images", "tag", image.name, kept))


def _stream(images: Sequence[Image], pipe: IO[bytes] | None, *, without: set[str]) -> None:
    if pipe is None:
        raise RuntimeError("ctr was started without a pipe")
    try:
        write_archive(images, pipe, without=without)
        pipe.close()
    except BrokenPipeError:
        return  # ctr has ended: its own words are in the caller's error


def _link_tree(sources: list[Path], target: Path) -> None:
    subprocess.run(["cp", "--archive", "--link", "--target-directory", str(target), *map(str, sources)], check=True)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
