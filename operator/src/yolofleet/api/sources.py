"""Where weights, calibration frames and data sets come from: exactly one source each."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import model_validator

from yolofleet.api.base import SHA256, ApiModel, Name, ObjectName, cel, text, with_cel

KINDS = ("builtin", "http", "s3", "pvc", "oci")
ONE_SOURCE = "exactly one of builtin, http, s3, pvc, oci must be set"


class HttpSource(ApiModel):
    """A file behind http or https, pinned by its digest."""

    url: Annotated[str, text(2048, r"^https?://[!-~]+$")]
    sha256: SHA256


class SecretRef(ApiModel):
    """A Secret of the same namespace."""

    name: ObjectName


class S3Source(ApiModel):
    """An object in an S3 bucket."""

    bucket: Annotated[str, text(63, r"^[a-z0-9][a-z0-9.-]*$")]
    key: Annotated[str, text(1024, min_length=1)]
    endpoint: Annotated[str, text(512, r"^https?://[!-~]+$")] | None = None
    secret_ref: SecretRef | None = None
    sha256: SHA256 | None = None


class PvcSource(ApiModel):
    """A file on a PersistentVolumeClaim of the same namespace; without a digest its claim and path stand for it."""

    claim_name: Annotated[str, text(253, r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
    path: Annotated[str, text(1024, r"^[!-.0-~][!-~]*$")]
    sha256: SHA256 | None = None


class OciSource(ApiModel):
    """A file in an OCI image, pinned by the image's digest."""

    image: Annotated[str, text(512, r"^[!-?A-~]+@sha256:[a-f0-9]{64}$")]


class Source(ApiModel):
    """Exactly one place that a file comes from."""

    _rule: ClassVar[str] = f"[{', '.join(f'has(self.{kind})' for kind in KINDS)}].filter(x, x).size() == 1"
    model_config = with_cel(cel(_rule, ONE_SOURCE))

    builtin: Annotated[str, text(64, r"^[a-z0-9][a-z0-9.-]*$")] | None = None
    http: HttpSource | None = None
    s3: S3Source | None = None
    pvc: PvcSource | None = None
    oci: OciSource | None = None

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
            return f"s3:{self.s3.endpoint or ''}/{self.s3.bucket}/{self.s3.key}"
        return f"oci:{chosen.image}"


__all__ = ["KINDS", "HttpSource", "Name", "OciSource", "PvcSource", "S3Source", "SecretRef", "Source"]
