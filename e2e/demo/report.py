"""What the demo leaves behind: steps with seconds, boxes, versions; as a file and as a table."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.progress import step


@dataclass
class Report:
    """Collects while the demo runs."""

    folder: Path
    steps: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str, *, ticking: bool = True) -> Iterator[None]:
        """Run one step under a ticker, or its own bar, and note its seconds."""
        started = time.monotonic()
        with step(name, ticking=ticking):
            yield
        self.steps.append({"name": name, "seconds": round(time.monotonic() - started, 1)})

    def write(self) -> Path:
        """Write report.json and return its path."""
        self.folder.mkdir(parents=True, exist_ok=True)
        total = round(sum(entry["seconds"] for entry in self.steps), 1)
        path = self.folder / "report.json"
        path.write_text(json.dumps({"steps": self.steps, "seconds": total, **self.facts}, indent=2) + "\n")
        return path
