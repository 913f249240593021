"""Packs the bench's Triton image as one archive, for a GPU box that has neither a container engine nor Triton.

`python -m e2e.gpu.triton_root --out triton.tar.xz` here. There, as root: unpack it into a folder, and put that folder's
`outside` on PATH; `tritonserver` then runs in the folder with the box's GPU, its /tmp, and what LD_LIBRARY_PATH and
PYTHONPATH name below /tmp (TensorRT's libraries, and its Python bindings for the image's Python).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from e2e import images

OUTSIDE = "outside/tritonserver"
SCRIPT = """#!/bin/sh
# Runs the image's tritonserver beside this script's folder, on this machine's GPU; /tmp is one and the same.
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$root/proc" "$root/dev" "$root/sys" "$root/tmp" "$root/driver"
for place in proc dev sys tmp; do
  grep -qs " $root/$place " /proc/mounts || mount --rbind "/$place" "$root/$place"
done
for library in $(ldconfig -p | awk '/libcuda.so|libnvidia-/ {print $NF}') /usr/local/nvidia/lib64/lib*.so*; do
  [ -e "$library" ] && cp -nL "$library" "$root/driver/"
done
exec chroot "$root" /usr/bin/env LD_LIBRARY_PATH="/driver:$LD_LIBRARY_PATH" PYTHONPATH="$TRITON_PYTHONPATH" \\
  PATH=/usr/local/bin:/usr/bin:/bin /usr/local/bin/tritonserver "$@"
"""


def main() -> int:
    """Write the archive."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--out", type=Path, required=True)
    asked = made.parse_args()
    image = images.build_images(["triton"])["triton"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "triton"
        root.mkdir()
        for layer in image.layers:
            subprocess.run(["tar", "-xf", str(layer.archive), "-C", str(root), "--exclude=dev/*"], check=True)
        (root / OUTSIDE).parent.mkdir()
        (root / OUTSIDE).write_text(SCRIPT)
        (root / OUTSIDE).chmod(0o755)
        subprocess.run(["tar", "--xz", "-C", folder, "-cf", str(asked.out), "triton"], check=True)
    print(f"{asked.out} {asked.out.stat().st_size}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
