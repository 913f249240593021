"""What is wrong with a node's GPUs and with the exporter: a file that can be changed while it runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Defects:
    """Defects of dcgm-exporter that its users have met, and faults of the GPUs themselves; by default none.

    `lost_pod_labels`: rows without container, namespace and pod (dcgm-exporter#272, #577).
    `missing_families`: these are not printed at all (#380, #512: FB_* on MIG; #507: DCP fields).
    `late_s`: the page is the one of so many seconds ago (a long collect interval).
    `frozen`: the page stays as it was when this was switched on (a host engine that hangs).
    `new_slices_missing`: GPU instances that were made since this was switched on have no rows (#714).
    `down`: the exporter answers with an error.
    `hot_gpus`, `fallen_gpus` (XID 79), `without_persistence`: indices of GPUs.
    """

    lost_pod_labels: bool = False
    missing_families: tuple[str, ...] = ()
    late_s: float = 0
    frozen: bool = False
    new_slices_missing: bool = False
    down: bool = False
    hot_gpus: tuple[int, ...] = ()
    fallen_gpus: tuple[int, ...] = ()
    without_persistence: tuple[int, ...] = ()


@dataclass(frozen=True)
class DefectsFile:
    """Where the defects of one node are kept."""

    path: Path

    def read(self) -> Defects:
        """The defects as they stand; none when the file is not there."""
        try:
            told: dict[str, Any] = json.loads(self.path.read_text())
        except FileNotFoundError:
            return Defects()
        kept: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
        return Defects(**kept)

    def write(self, defects: Defects) -> None:
        """Replace the file whole, so that a reader never sees a part of it."""
        staged = self.path.with_suffix(".new")
        staged.write_text(json.dumps(asdict(defects)))
        staged.replace(self.path)


def without(families: Sequence[str], defects: Defects) -> list[str]:
    """Return the families that are printed; a family that the exporter has not is a mistake of the test."""
    if unknown := set(defects.missing_families) - set(families):
        raise ValueError(f"missing_families: {sorted(unknown)} are not printed anyway; use some of {sorted(families)}")
    return [family for family in families if family not in defects.missing_families]
