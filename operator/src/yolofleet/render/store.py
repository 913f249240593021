"""The engine store that the settings name: where it is, and how the addresses of what lies there begin."""

from __future__ import annotations

from pathlib import Path

from yolofleet.api.build import STORE_PATH
from yolofleet.api.store import Bucket, folder_address
from yolofleet.settings import Settings


def in_s3(settings: Settings) -> bool:
    """Tell whether engines lie in an S3 store, and not on a claim of each namespace."""
    return settings.store.kind == "S3"


def bucket(settings: Settings, *, read_only: bool = False) -> Bucket:
    """Return the S3 store of the settings, through the door for writers or for readers."""
    s3 = settings.store.s3
    endpoint = (s3.read_endpoint if read_only else None) or s3.endpoint or ""
    return Bucket(endpoint=endpoint, name=s3.bucket, region=s3.region, prefix=s3.prefix or "")


def address(settings: Settings) -> str:
    """Return how the address of each Artifact in the store begins: what begins otherwise lies in a former one."""
    if in_s3(settings):
        place = bucket(settings)
        return place.address(place.prefix)
    return f"{folder_address(Path(STORE_PATH))}/"
