"""Layers made by running steps on an overlay over the layers below, kept by content key."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from hashlib import file_digest
from pathlib import Path

from e2e.cache import cache_root, locked
from e2e.images.oci import Layer
from e2e.progress import step

_VERSIONS_KEPT = 6
_OPAQUE = "trusted.overlay.opaque"
_NEVER_PACKED = {"var/cache/apt", "var/lib/apt/lists", "etc/resolv.conf"}


def make_layer(name: str, key: str, *, below: Sequence[Layer], build: Callable[[Path], None]) -> Layer:
    """The layer of this key; if the cache lacks it, `build` fills a root folder that shows the layers below."""
    home = cache_root() / "images" / f"{name}-{key}"
    if not (home / "layer.json").exists():
        with locked(cache_root() / "locks" / f"layer-{name}"):
            if not (home / "layer.json").exists():
                with step(f"image layer {name}"):
                    _build(home, below=below, build=build)
                _forget_old(name, home)
    facts = json.loads((home / "layer.json").read_text())
    return Layer(facts["digest"], facts["size"], home / "layer.tar", home / "rootfs")


def _forget_old(name: str, newest: Path) -> None:
    """Drop all but the last few versions of a layer."""
    versions = [path for path in newest.parent.glob(f"{name}-*") if path.name.removeprefix(f"{name}-").isalnum()]
    for path in sorted(versions, key=lambda path: path.stat().st_mtime)[:-_VERSIONS_KEPT]:
        shutil.rmtree(path, ignore_errors=True)


def _build(home: Path, *, below: Sequence[Layer], build: Callable[[Path], None]) -> None:
    if home.exists():
        shutil.rmtree(home)
    home.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=home.parent, prefix=f".{home.name}."))
    staged.chmod(0o755)
    try:
        (staged / "rootfs").mkdir()
        if below:
            _build_on_overlay(staged, below=below, build=build)
        else:
            build(staged / "rootfs")
        _pack(staged / "rootfs", staged / "layer.tar")
        with (staged / "layer.tar").open("rb") as archive:
            digest = f"sha256:{file_digest(archive, 'sha256').hexdigest()}"
        size = (staged / "layer.tar").stat().st_size
        (staged / "layer.json").write_text(json.dumps({"digest": digest, "size": size}))
        staged.rename(home)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise


def _build_on_overlay(staged: Path, *, below: Sequence[Layer], build: Callable[[Path], None]) -> None:
    merged, work = staged / "merged", staged / "work"
    merged.mkdir()
    work.mkdir()
    with overlay(below, merged, upper=staged / "rootfs", work=work):
        build(merged)
    merged.rmdir()
    shutil.rmtree(work)


class overlay:  # noqa: N801 - reads as the mount it is
    """An overlay mount for the length of a block; without `upper` it is read-only."""

    def __init__(
        self, layers: Sequence[Layer], target: Path, *, upper: Path | None = None, work: Path | None = None
    ) -> None:
        lower = ":".join(str(layer.rootfs) for layer in reversed(layers))
        self._target = target
        self._options = f"lowerdir={lower}" + (f",upperdir={upper},workdir={work}" if upper else "")

    def __enter__(self) -> Path:
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", self._options, str(self._target)], check=True)
        return self._target

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", str(self._target)], check=True)


def _pack(root: Path, archive: Path) -> None:
    """Tar the folder in a fixed order; an overlay's deletions become OCI whiteouts."""
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as out:
        for path in sorted(_walk(root, root)):
            _pack_one(out, root, path)


def _walk(root: Path, folder: Path) -> list[Path]:
    found: list[Path] = []
    for entry in os.scandir(folder):
        path = Path(entry.path)
        if str(path.relative_to(root)) in _NEVER_PACKED:
            continue
        found.append(path)
        if entry.is_dir(follow_symlinks=False):
            found.extend(_walk(root, path))
    return found


def _pack_one(out: tarfile.TarFile, root: Path, path: Path) -> None:
    name = str(path.relative_to(root))
    facts = path.lstat()
    if stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0:
        out.addfile(tarfile.TarInfo(str(Path(name).parent / f".wh.{path.name}")))
        return
    entry = out.gettarinfo(str(path), arcname=name)
    if entry is None:  # a socket
        return
    entry.mtime = int(facts.st_mtime)  # kept: Python's bytecode files name their source's time
    entry.uname = entry.gname = ""
    if entry.isreg():
        with path.open("rb") as content:
            out.addfile(entry, content)
        return
    out.addfile(entry)
    if entry.isdir() and _is_opaque(path):
        out.addfile(tarfile.TarInfo(f"{name}/.wh..wh..opq"))


def _is_opaque(path: Path) -> bool:
    try:
        return os.getxattr(path, _OPAQUE) == b"y"
    except OSError:
        return False
