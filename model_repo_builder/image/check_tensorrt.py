"""Fails the builder image's build unless TensorRT's Python bindings are of the very version of the image's library."""

from __future__ import annotations

import ctypes
import sys
from importlib import metadata

LIBRARY = "libnvinfer.so.10"
BINDINGS = "tensorrt-cu13-bindings"
PARTS = ("Major", "Minor", "Patch", "Build")
REMEDY = (
    f"set {BINDINGS} in model_repo_builder/image/requirements.in to the library's version and `make lock`, "
    "or take the TRITON_IMAGE that has the bindings' version"
)


def library_version(name: str = LIBRARY) -> tuple[int, ...]:
    """Ask the library itself; one that is not there, or tells no version, ends the build."""
    try:
        library = ctypes.CDLL(name)
        return tuple(getattr(library, f"getInferLib{part}Version")() for part in PARTS)
    except (OSError, AttributeError) as error:
        sys.exit(f"TensorRT 10 is not in this image: {error}\n{REMEDY}")


def bindings_version(name: str = BINDINGS) -> tuple[int, ...]:
    """Return the first four numbers of the installed version, as 10.14.1.48.post1 has more."""
    return tuple(int(part) for part in metadata.version(name).split(".")[: len(PARTS)])


def main() -> None:
    """Compare, then import: a binding that cannot find its libraries fails here and not in a user's cluster."""
    library, bindings = library_version(), bindings_version()
    if library != bindings:
        sys.exit(f"{LIBRARY} is {_dotted(library)}, {BINDINGS} is {_dotted(bindings)}: {REMEDY}")
    __import__("tensorrt")
    print(f"TensorRT {_dotted(library)}")  # noqa: T201


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


if __name__ == "__main__":
    main()
