"""Runs another step as on a slice: `python -m e2e.gpu.under_mps 16 e2e.gpu.build …` sees 16 SMs.

An engine whose kernels are chosen so is what a MIG slice of 16 SMs would have built, but for bandwidth and L2.
"""

from __future__ import annotations

import os
import subprocess
import sys

from e2e.gpu.slices import LAYOUTS, multi_process_service, percentage


def main() -> int:
    """Start MPS, run, end MPS."""
    sms, *command = sys.argv[1:]
    if not sms.isdecimal() or int(sms) not in LAYOUTS or not command:
        raise SystemExit(f"give the SMs ({', '.join(map(str, LAYOUTS))}) and a module with its arguments")
    with multi_process_service():
        environment = {**os.environ, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": percentage(int(sms))}
        return subprocess.run([sys.executable, "-m", *command], check=False, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
