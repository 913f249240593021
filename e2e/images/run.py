"""Run a command in an image as a pod would, but without a cluster: uid 1000, read-only root, no network."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from e2e.clusters.bare.prerequisites import find_tool
from e2e.images.oci import Image

_SCRIPT = """
set -e
stage="$1"; lower="$2"; shift 2
mount -t tmpfs -o mode=755 tmpfs "$stage"
mkdir "$stage/upper" "$stage/work" "$stage/root"
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$stage/upper,workdir=$stage/work" "$stage/root"
cd "$stage/root"
while [ "$1" != -- ]; do
  if [ -d "$1" ]; then mkdir -p "./$2"; else mkdir -p "./${2%/*}"; touch "./$2"; fi
  mount --bind "$1" "./$2"; shift 2
done
shift
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -o remount,ro "$stage/root"
ip link set lo up 2>/dev/null || true
exec chroot --userspec=1000:1000 . "$@"
"""


def run(
    image: Image,
    command: Sequence[str],
    *,
    binds: Mapping[Path, str] | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 300,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run and wait; `binds` maps host paths to absolute paths inside (writable there as on the host for uid 1000).

    /tmp is empty and writable. With `check`, a failure raises with what the command said.
    """
    lower = ":".join(str(layer.rootfs) for layer in reversed(image.layers))
    pairs = [part for source, target in (binds or {}).items() for part in (str(source), target)]
    values = [f"{key}={value}" for key, value in ({**image.env, **(env or {})}).items()]
    inside = ["/usr/bin/env", "-i", "--chdir=/tmp", *values, *image.entrypoint, *command]
    with tempfile.TemporaryDirectory(prefix="yolofleet-run-") as stage:
        flags = ["--mount", "--net", "--pid", "--fork", "--kill-child=SIGKILL", "--propagation", "private"]
        shell = ["sh", "-c", _SCRIPT, "run", stage, lower, *pairs, "--", *inside]
        done = subprocess.run(
            [find_tool("unshare"), *flags, *shell],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    if check and done.returncode != 0:
        said = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        raise RuntimeError(f"{' '.join(command)[:200]} in {image.name} failed (exit {done.returncode}):\n{said}")
    return done
