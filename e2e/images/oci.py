"""OCI images from layers on disk, written as the archive that `ctr images import` reads."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Layer:
    """An uncompressed layer: its digest is its diff id."""

    digest: str
    size: int
    archive: Path
    rootfs: Path


@dataclass(frozen=True)
class Image:
    """A name, the layers from the bottom up, and how it runs."""

    name: str
    layers: tuple[Layer, ...]
    env: Mapping[str, str]
    entrypoint: tuple[str, ...] = ()
    user: str = "1000:1000"

    @property
    def config(self) -> bytes:
        run = {
            "User": self.user,
            "Env": [f"{key}={value}" for key, value in self.env.items()],
            "Entrypoint": list(self.entrypoint) or None,
            "WorkingDir": "/tmp",
        }
        layers = {"type": "layers", "diff_ids": [layer.digest for layer in self.layers]}
        return _json({"architecture": "amd64", "os": "linux", "config": run, "rootfs": layers})

    @property
    def manifest(self) -> bytes:
        return _json(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST_TYPE,
                "config": _descriptor(_CONFIG_TYPE, self.config),
                "layers": [
                    {"mediaType": _LAYER_TYPE, "digest": layer.digest, "size": layer.size} for layer in self.layers
                ],
            }
        )

    @property
    def digest(self) -> str:
        """The image's digest, as a container runtime lists it."""
        return _digest(self.manifest)


def write_archive(images: Sequence[Image], stream: IO[bytes], *, without: Collection[str] = ()) -> None:
    """Write one archive of some images; blobs in `without` are left out, for a store that has them already."""
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", _json({"schemaVersion": 2, "manifests": [_index_entry(image) for image in images]}))
        written = set(without)
        for image in images:
            for blob in (image.manifest, image.config):
                if _digest(blob) not in written:
                    written.add(_digest(blob))
                    _add(archive, _blob_name(_digest(blob)), blob)
            for layer in image.layers:
                if layer.digest not in written:
                    written.add(layer.digest)
                    archive.add(layer.archive, arcname=_blob_name(layer.digest))


def _index_entry(image: Image) -> dict[str, Any]:
    return _descriptor(_MANIFEST_TYPE, image.manifest) | {
        "platform": {"os": "linux", "architecture": "amd64"},
        "annotations": {
            "io.containerd.image.name": image.name,
            "org.opencontainers.image.ref.name": image.name.rpartition(":")[2],
        },
    }


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
