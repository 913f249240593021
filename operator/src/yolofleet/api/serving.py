"""The few pod fields of a YoloDeployment that its author may set."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic.config import JsonDict

from yolofleet.api.base import (
    ApiModel,
    LabelKey,
    LabelValue,
    ObjectName,
    as_atomic,
    as_map,
    cel,
    text,
    unique_by,
    with_cel,
)

QUANTITY_PATTERN = r"^([0-9]{1,15}|[0-9]{1,9}(\.[0-9]{1,3})?(m|k|M|Ki|Mi)?|[0-9]{1,6}(\.[0-9]{1,3})?(G|T|Gi|Ti))$"
"""Kubernetes' quantities without exponents, and small enough to compare exactly."""
MAX_QUANTITY = 10**15
UNITS = {"m": "0.001", "k": "1e3", "M": "1e6", "G": "1e9", "T": "1e12", "": "1"} | {
    f"{letter}i": str(1024**power) for power, letter in enumerate("KMGT", start=1)
}
RESOURCES = ("cpu", "memory", "ephemeral-storage")
REQUEST_LIMIT = "serving.resources: a request must not be above its limit"
TOLERATION_KEY = "a toleration without key needs operator Exists: it tolerates every taint"
TOLERATION_VALUE = "a toleration with operator Exists must have no value"
TOLERATION_SECONDS = "a toleration's tolerationSeconds needs effect NoExecute"


def _within_limit(resource: str) -> JsonDict:
    # CEL knows a property with a dash by its escaped name.
    name = resource.replace("-", "__dash__")
    asked, bound = (f"quantity(string(self.{side}.{name}))" for side in ("requests", "limits"))
    both = " && ".join(f"has(self.{side}) && has(self.{side}.{name})" for side in ("requests", "limits"))
    return cel(f"!({both}) || {asked}.compareTo({bound}) <= 0", REQUEST_LIMIT, field_path=".requests")


Quantity = Annotated[str, text(20, QUANTITY_PATTERN)]
INT_OR_QUANTITY: dict[str, Any] = {
    "x-kubernetes-int-or-string": True,
    "pattern": QUANTITY_PATTERN,
    "maxLength": 20,
    "minimum": 0,
    "maximum": MAX_QUANTITY,
}
IntOrQuantity = Annotated[
    Annotated[int, Field(ge=0, le=MAX_QUANTITY)] | Quantity,
    Field(json_schema_extra=INT_OR_QUANTITY),
]


def amount(quantity: int | str) -> Decimal:
    """Return what a quantity stands for: `1500m` is 1.5, `1Ki` is 1024."""
    digits = str(quantity).rstrip("mkMGTKi")
    return Decimal(digits) * Decimal(UNITS[str(quantity)[len(digits) :]])


class ResourceList(ApiModel):
    """Ordinary resources of the Triton container; the GPU slice is the operator's to choose."""

    cpu: IntOrQuantity | None = None
    """CPU cores: `2`, `500m`."""
    memory: IntOrQuantity | None = None
    """Memory in bytes: `2Gi`."""
    ephemeral_storage: IntOrQuantity | None = Field(default=None, alias="ephemeral-storage")
    """Disk in bytes: `1Gi`."""

    def get(self, resource: str) -> int | str | None:
        """Return the quantity of one resource by the name that Kubernetes knows it by."""
        found: int | str | None = getattr(self, resource.replace("-", "_"))
        return found


class Resources(ApiModel):
    """Requests and limits."""

    model_config = with_cel(*(_within_limit(resource) for resource in RESOURCES))

    requests: ResourceList | None = None
    """What a replica is sure to get; absent: the operator's setting."""
    limits: ResourceList | None = None
    """What a replica may not exceed; absent: no limit."""

    @model_validator(mode="after")
    def _cross_field(self) -> Self:
        for resource in RESOURCES:
            asked = self.requests.get(resource) if self.requests else None
            bound = self.limits.get(resource) if self.limits else None
            if asked is not None and bound is not None and amount(asked) > amount(bound):
                raise ValueError(REQUEST_LIMIT)
        return self


class Toleration(ApiModel):
    """As in a pod."""

    model_config = with_cel(
        cel("has(self.key) || (has(self.operator) && self.operator == 'Exists')", TOLERATION_KEY),
        cel(
            "!(has(self.operator) && self.operator == 'Exists' && has(self.value)) || self.value == ''",
            TOLERATION_VALUE,
        ),
        cel("!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')", TOLERATION_SECONDS),
    )

    key: LabelKey | None = None
    """Key of the taint; absent, with operator Exists: every taint."""
    operator: Literal["Exists", "Equal"] | None = None
    """Whether the taint's value matters; absent: Equal."""
    value: LabelValue | None = None
    """Value of the taint; with operator Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; absent: every effect."""
    toleration_seconds: Annotated[int, Field(ge=0, le=2**31)] | None = None
    """How long a NoExecute taint is tolerated, in seconds; absent: for ever."""

    @model_validator(mode="after")
    def _cross_field(self) -> Self:
        if self.key is None and self.operator != "Exists":
            raise ValueError(TOLERATION_KEY)
        if self.operator == "Exists" and self.value:
            raise ValueError(TOLERATION_VALUE)
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise ValueError(TOLERATION_SECONDS)
        return self


class LocalObjectReference(ApiModel):
    """A name in the same namespace."""

    name: ObjectName
    """Name of the object."""


class ServiceSpec(ApiModel):
    """The Service in front of the replicas."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """How clients reach it."""
    annotations: Annotated[dict[LabelKey, Annotated[str, text(1024)]], Field(max_length=32)] = Field(
        default_factory=dict
    )
    """Annotations of the Service: for load balancers."""


class Serving(ApiModel):
    """The few pod fields that a user may set: a YoloDeployment must not mount what its author may not."""

    image: Annotated[str, text(512, r"^[!-~]+$")] | None = None
    """Image with Triton; absent: the operator's setting."""
    image_pull_secrets: Annotated[list[LocalObjectReference], unique_by("name"), as_map("name", max_items=8)] = Field(
        default_factory=list
    )
    """Secrets of the same namespace that the image is pulled with."""
    resources: Resources | None = None
    """CPU, memory and disk of a replica; absent: the operator's setting."""
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=32)] = Field(default_factory=dict)
    """Labels that a node must bear, besides those of the pool."""
    tolerations: Annotated[list[Toleration], as_atomic(max_items=32)] = Field(default_factory=list)
    """Taints that replicas tolerate, besides that of GPU nodes."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the replicas; absent: the operator's setting."""
    service: ServiceSpec = Field(default_factory=ServiceSpec)
    """The Service in front of the replicas."""
