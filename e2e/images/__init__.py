"""The bench's images, made without a container engine, and a way to run a command in one."""

from e2e.images.catalogue import IN_KIND, NAMES, build_images, image_name
from e2e.images.oci import Image, Layer, write_archive
from e2e.images.run import run

__all__ = ["IN_KIND", "NAMES", "Image", "Layer", "build_images", "image_name", "run", "write_archive"]
