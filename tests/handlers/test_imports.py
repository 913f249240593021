"""What the operator's process loads at its start: a library of tens of MiB waits until somebody needs it."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("numpy", "highspy", "torch", "onnx")


def test_what_only_some_fleets_need_is_not_loaded_by_all() -> None:
    """The solver is for the verbs, the forecast for specs with a price."""
    look = f"import sys, yolofleet.handlers.fleet; print([name for name in {HEAVY} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == "[]"
