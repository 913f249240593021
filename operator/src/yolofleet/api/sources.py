"""Where weights, calibration frames and data sets come from: exactly one source each."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import model_validator

from yolofleet.api.base import SHA256, ApiModel, ObjectName, Url, cel, text, with_cel

KINDS = ("builtin", "http", "s3", "pvc", "oci")
ONE_SOURCE = "exactly one of builtin, http, s3, pvc, oci must be set"
INSIDE = "path must stay on the claim: no '..' in it"


class HttpSource(ApiModel):
    """A file behind http or https, pinned by its digest."""

    url: Url
    """Address of a `.pt` or `.onnx` file, without user and password."""
    sha256: SHA256
    """SHA-256 of the file, 64 lower-case hex digits."""


class SecretRef(ApiModel):
    """A Secret of the same namespace."""

    name: ObjectName
    """Name of the Secret."""


class S3Source(ApiModel):
    """An object in an S3 bucket."""

    bucket: Annotated[str, text(63, r"^[a-z0-9][a-z0-9.-]*$")]
    """Name of the bucket."""
    key: Annotated[str, text(1024, min_length=1)]
    """Key of the object."""
    endpoint: Url | None = None
    """Address of the S3 server; absent: the provider's own."""
    secret_ref: SecretRef | None = None
    """Secret with the credentials; absent: anonymous access."""
    sha256: SHA256 | None = None
    """SHA-256 of the object; absent: its place stands for its contents."""


class PvcSource(ApiModel):
    """A file on a PersistentVolumeClaim of the same namespace; without a digest its claim and path stand for it."""

    model_config = with_cel(cel("!self.path.split('/').exists(part, part == '..')", INSIDE, field_path=".path"))

    claim_name: ObjectName
    """Name of the PersistentVolumeClaim."""
    path: Annotated[str, text(1024, r"^[!-.0-~][!-~]*$")]
    """Path of the file on the claim, relative to its root."""
    sha256: SHA256 | None = None
    """SHA-256 of the file; absent: a changed file under the same path is not noticed."""

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if ".." in self.path.split("/"):
            raise ValueError(INSIDE)
        return self


class OciSource(ApiModel):
    """A file in an OCI image, pinned by the image's digest."""

    image: Annotated[str, text(512, r"^[!-?A-~]+@sha256:[a-f0-9]{64}$")]
    """Reference of the image with its digest: `repository@sha256:…`."""


class Source(ApiModel):
    """Exactly one place that a file comes from."""

    _rule: ClassVar[str] = f"[{', '.join(f'has(self.{kind})' for kind in KINDS)}].filter(x, x).size() == 1"
    model_config = with_cel(cel(_rule, ONE_SOURCE))

    builtin: Annotated[str, text(64, r"^[a-z0-9][a-z0-9.-]*$")] | None = None
    """Name of pretrained weights that the builder knows: `yolo26n`, `yolo11s-seg`, `yolo26n-shapes`."""
    http: HttpSource | None = None
    """A file behind http or https, pinned by its digest."""
    s3: S3Source | None = None
    """An object in an S3 bucket."""
    pvc: PvcSource | None = None
    """A file on a PersistentVolumeClaim of the same namespace."""
    oci: OciSource | None = None
    """A file in an OCI image, pinned by the image's digest."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len([kind for kind in KINDS if getattr(self, kind) is not None]) != 1:
            raise ValueError(ONE_SOURCE)
        return self

    @property
    def kind(self) -> str:
        """Return which of the five sources is set."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def identity(self) -> str:
        """Return what stands for the contents in a content key: the digest where it is known, else the place."""
        chosen = getattr(self, self.kind)
        if digest := getattr(chosen, "sha256", None):
            return f"sha256:{digest}"
        if self.builtin is not None:
            return f"builtin:{self.builtin}"
        if self.pvc is not None:
            return f"pvc:{self.pvc.claim_name}/{self.pvc.path}"
        if self.s3 is not None:
            return f"s3:{self.s3.bucket} {self.s3.endpoint or '-'} {self.s3.key}"
        return f"oci:{chosen.image}"
