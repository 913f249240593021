"""What an administrator may set for a builder, read from the environment once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from model_repo_builder.addresses import AddressRules
from yolofleet.api.build import (
    CALIBRATION_PATH,
    DATASET_PATH,
    ENGINE_PATH,
    FETCHED_PATH,
    MODELS_PATH,
    SOURCE_PATH,
    STORE_PATH,
    WEIGHTS_PATH,
)
from yolofleet.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

BUILTIN_URL_ENV = "YOLOFLEET_BUILTIN_URL"
MAX_MODEL_MIB_ENV = "YOLOFLEET_MAX_MODEL_MIB"
BUILTIN_URL = "https://github.com/ultralytics/assets/releases/download/v8.4.0"
"""Where Ultralytics publishes its pretrained weights; the release that belongs to the pinned ultralytics."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one fetch; the whole of it ends after `total_s` whatever the server does."""

    max_bytes: int = 2 * 1024**3
    connect_s: float = 10
    read_s: float = 30
    total_s: float = 1800
    tries: int = 4
    backoff_s: float = 1
    redirects: int = 5


@dataclass(frozen=True, kw_only=True)
class Places:
    """The folders that a builder sees; `work` is scratch space that goes with the pod (None: the system's).

    `weights`, `fetched` (the one file of it that publish sees) and `engine` are what the containers of a pod hand on.
    """

    store: Path = Path(STORE_PATH)
    source: Path = Path(SOURCE_PATH)
    dataset: Path = Path(DATASET_PATH)
    calibration: Path = Path(CALIBRATION_PATH)
    models: Path = Path(MODELS_PATH)
    weights: Path = Path(WEIGHTS_PATH)
    fetched: Path = Path(FETCHED_PATH)
    engine: Path = Path(ENGINE_PATH)
    work: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of a builder."""

    builtin_url: str = BUILTIN_URL
    limits: Limits = field(default_factory=Limits)
    rules: AddressRules = field(default_factory=AddressRules)
    places: Places = field(default_factory=Places)


def settings_from(environment: Mapping[str, str], *, places: Places | None = None) -> Settings:
    """Read the settings; an empty variable counts as absent."""
    url = environment.get(BUILTIN_URL_ENV) or BUILTIN_URL
    if not url.startswith(("https://", "http://")):
        raise SettingsError(f"{BUILTIN_URL_ENV} is {url!r}: give a base URL that starts with https:// or http://")
    mib = environment.get(MAX_MODEL_MIB_ENV) or str(Limits.max_bytes // 1024**2)
    if not mib.isdecimal() or int(mib) < 1:
        raise SettingsError(f"{MAX_MODEL_MIB_ENV} is {mib!r}: give a whole number of MiB, at least 1")
    limits = Limits(max_bytes=int(mib) * 1024**2)
    return Settings(builtin_url=url.rstrip("/"), limits=limits, places=places or Places())
