"""Lay the tritonserver of the nvidia-pytriton wheel out as NVIDIA's image has it, with our python-based backends."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from e2e.images import rootfs

_HOME = Path("opt/tritonserver")
_STUB = "triton_python_backend_stub"


def lay_out_tritonserver(root: Path, *, requirements: Path, ours: Path) -> None:
    """bin, lib, backends/python with the stub of the image's Python, our own backends, and the server on PATH."""
    home = root / _HOME
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(folder)
        rootfs.add_python_packages(wheel, requirements=requirements)
        server = wheel / "pytriton" / "tritonserver"
        for part in ("bin", "backends", "caches"):
            shutil.copytree(server / part, home / part)
        shutil.copy(server / "python_backend_stubs" / rootfs.PYTHON / _STUB, home / "backends" / "python" / _STUB)
        shutil.copytree(wheel / "nvidia_pytriton.libs", home / "lib")
    code = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ours / "backends", home / "backends", dirs_exist_ok=True, ignore=code)
    shutil.copytree(ours / "backend_parts", root / rootfs.SITE / "backend_parts", ignore=code)
    for program in (home / "bin" / "tritonserver", home / "backends" / "python" / _STUB):
        program.chmod(0o755)
    (root / "usr/local/bin/tritonserver").symlink_to(f"/{_HOME}/bin/tritonserver")
    (root / "etc/ld.so.conf.d/tritonserver.conf").write_text(f"/{_HOME}/lib\n")
    subprocess.run(["chroot", str(root), "ldconfig"], check=True)
