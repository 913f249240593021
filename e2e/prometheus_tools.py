"""Debian's own prometheus and promtool: unpacked from its package into the cache, so that no service is installed."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from e2e.cache import cache_root, locked
from e2e.progress import step

PACKAGE = "prometheus"


@dataclass(frozen=True)
class PrometheusTools:
    """The folder with both programs."""

    folder: Path

    @property
    def prometheus(self) -> str:
        return str(self.folder / "prometheus")

    @property
    def promtool(self) -> str:
        return str(self.folder / "promtool")


def prometheus_tools() -> PrometheusTools:
    """Return the programs of this Debian's package, fetched once; or those of the folder YOLOFLEET_PROMETHEUS."""
    if given := os.environ.get("YOLOFLEET_PROMETHEUS"):
        return PrometheusTools(Path(given))
    target = cache_root() / "bin" / f"prometheus-{_codename()}"
    if not target.exists():
        with locked(cache_root() / "locks" / "prometheus"):
            if not target.exists():
                with step("unpack Debian's prometheus"):
                    _unpack(target)
    return PrometheusTools(target)


def _codename() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    told = dict(line.partition("=")[::2] for line in lines)
    return told.get("VERSION_CODENAME", "debian").strip('"')


def _unpack(target: Path) -> None:
    """Fetch the package and take the two programs; lists of packages are renewed when they are old."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        fetch = ["apt-get", "download", "-q", PACKAGE]
        if subprocess.run(fetch, cwd=place, capture_output=True, check=False).returncode != 0:
            subprocess.run(["apt-get", "update", "-q"], capture_output=True, check=True)
            subprocess.run(fetch, cwd=place, capture_output=True, check=True)
        (package,) = place.glob("*.deb")
        subprocess.run(["dpkg-deb", "--extract", str(package), str(place / "all")], check=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        (place / "all/usr/bin").chmod(0o755)
        staged = Path(tempfile.mkdtemp(dir=target.parent))
        staged.chmod(0o755)
        for program in ("prometheus", "promtool"):
            (staged / program).write_bytes((place / "all/usr/bin" / program).read_bytes())
            (staged / program).chmod(0o755)
        staged.rename(target)
