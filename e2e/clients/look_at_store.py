"""Runs in a pod: what a namespace's engine store holds, and whether each engine in it is whole; one line of JSON."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

STORE = Path("/store")


def whole(folder: Path) -> bool:
    """Tell whether every file of the manifest is there with its digest, and nothing else."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    told = {file["path"]: file["sha256"] for file in manifest["files"]}
    files = {path.name: path for path in folder.iterdir() if path.name != "manifest.json"}
    return told == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def main() -> int:
    """Print the keys with their wholeness, and what lies in staging."""
    keys = {path.name: whole(path) for path in STORE.iterdir() if not path.name.startswith(".")}
    staged = [path.name for path in (STORE / ".staging").iterdir()] if (STORE / ".staging").is_dir() else []
    sys.stdout.write(json.dumps({"keys": keys, "staged": staged}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
