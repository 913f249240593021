"""Where engines lie in a store, what says so there, and the grant by which one build brings its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import Field

from yolofleet.api.base import SHA256, ApiModel, Url, text
from yolofleet.api.curve import CurvePoint
from yolofleet.api.estimate import Work

STORE_ENV = "YOLOFLEET_STORE"
"""Environment variable of a serving pod's init container: a Bucket as JSON; without it the store is a folder."""
GRANT_ENV = "YOLOFLEET_GRANT"
"""Environment variable of a build pod: a Grant as JSON; without it the store is a folder."""
CREDENTIAL_PATH = "/credential"
"""Where a Secret with these two files is mounted, in the operator and in the init container."""
ACCESS_KEY, SECRET_KEY = "accessKey", "secretKey"
MANIFEST = "manifest.json"
METADATA = "metadata.json"
TIMINGS = "timing.cache"
"""TensorRT's timing cache of the build that made an engine: what another build need not time again."""
GRANTED_FILES = ("model.onnx", "model.plan", "frames.onnx", "frames.plan", "gate.json", METADATA, TIMINGS, MANIFEST)
"""What an attempt may put into its folder."""
MAX_MANIFEST_BYTES = 16 * 1024**2

Attempt = Annotated[str, text(64, r"^[A-Za-z0-9][A-Za-z0-9-]*$")]
SignedUrl = Annotated[str, text(4096, r"^https?://[!-~]+$")]


def folder_address(folder: Path) -> str:
    """Return what an Artifact says of a folder that it lies in."""
    return folder.absolute().as_uri()


def folder_at(address: str) -> Path:
    """Return the folder of an address that `folder_address` made."""
    return Path(unquote(urlsplit(address).path))


class StoredFile(ApiModel):
    """One file beside the manifest; the name is flat, so it can't lead anywhere else."""

    path: Annotated[str, text(64, r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    sha256: SHA256
    size_bytes: Annotated[int, Field(ge=0)]


class Contents(ApiModel):
    """What the operator reads of a manifest; `attempt` is the folder of the files in an S3 store.

    `work` is what the graph asks of a GPU, `points` what the slice that it was built on was measured to serve.
    """

    key: SHA256
    files: Annotated[list[StoredFile], Field(min_length=1, max_length=16)]
    attempt: Attempt | None = None
    provenance: dict[str, str] = Field(default_factory=dict)
    work: Work | None = None
    points: Annotated[list[CurvePoint], Field(max_length=64)] | None = None

    def file(self, name: str) -> StoredFile | None:
        """Return the entry of a file, or None."""
        return next((file for file in self.files if file.path == name), None)

    def size_bytes(self) -> int:
        """Return the size of all files together."""
        return sum(file.size_bytes for file in self.files)


class Bucket(ApiModel):
    """A place in an S3 store; `prefix` ends with a slash where it isn't empty."""

    endpoint: Url
    name: Annotated[str, text(63, r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$")]
    region: Annotated[str, text(64, r"^[a-z0-9-]+$")] = "us-east-1"
    prefix: Annotated[str, text(512, r"^([A-Za-z0-9][A-Za-z0-9._-]*/)*$")] = ""

    def of_namespace(self, namespace: str) -> Bucket:
        """Return the part of a namespace: what its pods know leads nowhere else."""
        return self.model_copy(update={"prefix": f"{self.prefix}{namespace}/"})

    def manifest_of(self, key: str) -> str:
        """Return the object that says what lies under an engine's key."""
        return f"{self.prefix}{key}/{MANIFEST}"

    def file_of(self, key: str, attempt: str, name: str) -> str:
        """Return one attempt's object: each has a folder, so that none writes over what another one published."""
        return f"{self.prefix}{key}/{attempt}/{name}"

    def address(self, name: str) -> str:
        """Return what people and Artifacts call an object, or a folder of them."""
        return f"s3://{self.name}/{name}"

    def uri_of(self, key: str) -> str:
        """Return what an Artifact says of where it lies."""
        return self.address(f"{self.prefix}{key}")


class Published(ApiModel):
    """What lay under the key when the grant was made: the digest of its manifest, and addresses to read it all."""

    sha256: SHA256
    manifest: SignedUrl
    files: dict[str, SignedUrl]


class StoredTimings(ApiModel):
    """The timing cache of another engine of the namespace: an address to read it, and what must come from there."""

    url: SignedUrl
    file: StoredFile


class Grant(ApiModel):
    """What one attempt of one build may do in the store until it expires; no credential is in it.

    `files` are addresses that take one file each, into the attempt's own folder. What is published there becomes the
    engine only when the operator puts the manifest under the key.
    """

    key: SHA256
    uri: Annotated[str, text(1024)]
    attempt: Attempt
    files: dict[str, SignedUrl]
    published: Published | None = None
    timings: StoredTimings | None = None
