"""The operator's own settings: one YAML file, written by the chart, checked as a whole at start-up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from yolofleet.errors import SettingsError

ENDPOINT = r"^(https?://[A-Za-z0-9.:\[\]-]+)?$"
Seconds = Annotated[int, Field(ge=1, le=86_400)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Images(_Section):
    """The three images that the operator puts into pods."""

    triton: str
    builder: str
    operator: str
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: list[str] = []


class BuildSettings(_Section):
    """How engines are built.

    `version` and `tensorrt_version` go into the content key: change them, and every engine is built anew.
    `backoff_seconds` doubles with each failed attempt, up to an hour; a build is never given up, only refused.
    `measure_seconds`: for so long a build on a slice measures its engine through Triton before it is published; 0: not.
    `scratch_size` bounds each of a build's scratch folders on its node; a pod that needs more is evicted.
    """

    version: str
    tensorrt_version: str | None = None
    builtin_url: str = ""
    deadline_seconds: Seconds = 3600
    backoff_seconds: Seconds = 10
    measure_seconds: Annotated[int, Field(ge=0, le=600)] = 90
    resources: dict[str, dict[str, str | int]] = {"requests": {"cpu": "100m", "memory": "1Gi"}}
    scratch_size: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}[MGT]i$")] = "8Gi"
    node_selector: dict[str, str] = {}


class S3Settings(_Section):
    """An S3 store, with a folder for each namespace.

    Builds and the operator ask `endpoint`, serving pods `read_endpoint` (absent: the same) with the Secret
    `read_secret` of their own namespace. The operator's own credential is mounted into its pod. What nobody has used
    for `retention_seconds` is removed, and beyond `quota_gib` (0: none) sooner.
    """

    endpoint: Annotated[str, Field(pattern=ENDPOINT)] | None = None
    read_endpoint: Annotated[str, Field(pattern=ENDPOINT)] | None = None
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] = "engines"
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")] = "us-east-1"
    prefix: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*/)*$", max_length=256)] | None = None
    read_secret: Annotated[str, Field(min_length=1, max_length=253)] = "yolofleet-store-read"  # noqa: S105 - a name
    write_secret: Annotated[str, Field(max_length=253)] | None = None
    sweep_seconds: Seconds = 600
    retention_seconds: Annotated[int, Field(ge=600, le=365 * 86_400)] = 14 * 86_400
    quota_gib: Annotated[int, Field(ge=0, le=1_000_000)] = Field(default=0, alias="quotaGiB")


class StoreSettings(_Section):
    """The engine store: a PersistentVolumeClaim in each namespace, or an S3 store for all."""

    kind: Literal["Claim", "S3"] = "Claim"
    s3: S3Settings = S3Settings()
    claim_name: str = "yolofleet-engines"
    size: str = "20Gi"
    storage_class_name: str | None = None
    access_mode: Literal["ReadWriteMany", "ReadWriteOnce"] = "ReadWriteMany"

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.kind == "S3" and not self.s3.endpoint:
            raise ValueError("store.s3.endpoint: kind S3 needs the address of the store, as http://host:port")
        return self


class ServingSettings(_Section):
    """Defaults of serving pods.

    A gRPC connection lives for `max_connection_age_seconds` (Triton closes it between requests, and allows
    `connection_grace_seconds` for what is in flight), so that clients spread over new replicas. A pod that is to go
    is still led new connections until every node has heard of it, for which `endpoint_propagation_seconds` are
    allowed; it sleeps past all three before Triton is told to stop.
    """

    endpoint_propagation_seconds: Annotated[int, Field(ge=0, le=600)] = 8
    max_connection_age_seconds: Annotated[int, Field(ge=1, le=3600)] = 5
    connection_grace_seconds: Annotated[int, Field(ge=1, le=600)] = 5
    exit_timeout_seconds: Annotated[int, Field(ge=1, le=600)] = 15
    load_timeout_seconds: Seconds = 600
    resources: dict[str, dict[str, str | int]] = {"requests": {"cpu": "250m", "memory": "512Mi"}}
    shared_memory: str = "256Mi"
    gpu_tolerations: list[dict[str, str]] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    runtime_class_name: str | None = None
    extra_args: list[str] = []


class ScalingSettings(_Section):
    """How the load is looked at.

    Every serving pod is asked each `scrape_seconds`; what is older than `stale_seconds` is missing.
    """

    scrape_seconds: Annotated[int, Field(ge=1, le=60)] = 2
    stale_seconds: Annotated[int, Field(ge=1, le=600)] = 10


class DcgmSettings(_Section):
    """Where NVIDIA's DCGM exporter is, whose engine activity is the second signal of how busy a slice is."""

    enabled: bool = False
    namespace: str = "gpu-operator"
    service: str = "nvidia-dcgm-exporter"
    port: Annotated[int, Field(ge=1, le=65_535)] = 9400


class MonitoringSettings(_Section):
    """How Prometheus finds serving pods: by the annotations `prometheus.io/*`, unless a PodMonitor tells it."""

    scrape_annotations: bool = True


class Settings(_Section):
    """Everything that the operator can be told at start-up; `watch_namespaces` empty: all namespaces."""

    watch_namespaces: list[str] = []
    images: Images
    builds: BuildSettings
    store: StoreSettings = StoreSettings()
    serving: ServingSettings = ServingSettings()
    scaling: ScalingSettings = ScalingSettings()
    dcgm: DcgmSettings = DcgmSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    http_port: Annotated[int, Field(ge=1, le=65_535)] = 8080
    top_port: Annotated[int, Field(ge=1, le=65_535)] = 8081
    resync_seconds: Seconds = 120
    watch_grace_seconds: Seconds = 30
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] = "json"


def load(path: Path) -> Settings:
    """Read and check the settings file; SettingsError names each wrong field, its value and what was expected."""
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(
            f"settings file {path} cannot be read: {error}; mount the chart's ConfigMap there"
        ) from error
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in error.errors()]
        raise SettingsError(f"settings file {path}: " + "; ".join(lines)) from error
