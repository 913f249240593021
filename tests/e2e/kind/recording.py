"""A runner that runs nothing: it remembers every command, and answers from a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from e2e.clusters.programs import NOT_FOUND, Answer
from e2e.fakes.gpus import DEFAULT_LAYOUT

H100_IN_SEVEN = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-6e7d1c9e-5a55-5c4f-9a0a-000000000000)
""" + "".join(f"  MIG 1g.10gb     Device  {n}: (UUID: MIG-6e7d1c9e-5a55-5c4f-9a0a-00000000000{n})\n" for n in range(7))
READY_TOOLKIT = 'accept-nvidia-visible-devices-as-volume-mounts = true\n[nvidia-container-runtime]\nmode = "auto"\n'


@dataclass
class Recording:
    """Answers by the longest beginning of the command that the script knows; everything else succeeds silently."""

    answers: dict[str, Answer | Callable[[], Answer]] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    fed: dict[str, str] = field(default_factory=dict)

    def __call__(
        self,
        command: Sequence[str],
        *,
        stdin: str | None = None,
        timeout_s: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> Answer:
        line = " ".join(command)
        self.commands.append(line)
        if stdin is not None:
            self.fed[line] = stdin
        known = [begin for begin in self.answers if line.startswith(begin)]
        answer = self.answers[max(known, key=len)] if known else Answer()
        return answer() if callable(answer) else answer

    def told(self, begin: str) -> list[str]:
        return [line for line in self.commands if line.startswith(begin)]


def absent(program: str) -> Answer:
    return Answer(NOT_FOUND, "", f"No such file or directory: {program!r}")


def machine(*, gpus: str = "", runtime: str = "runc", toolkit: str = "") -> Recording:
    """A machine with Docker and kind; without `gpus` one that never saw NVIDIA's tools."""
    version = f"NVIDIA Container Toolkit CLI version {toolkit}\ncommit: 0123abc\n"
    return Recording(
        {
            "docker info": Answer(stdout=json.dumps({"DefaultRuntime": runtime, "ServerVersion": "28.2.2"})),
            "nvidia-smi -L": Answer(stdout=gpus) if gpus else absent("nvidia-smi"),
            "nvidia-ctk --version": Answer(stdout=version) if toolkit else absent("nvidia-ctk"),
        }
    )


def gpu_machine() -> Recording:
    return machine(gpus=H100_IN_SEVEN, runtime="nvidia", toolkit="1.19.0")


def node_json(layout: Mapping[str, int] = DEFAULT_LAYOUT) -> str:
    """A worker that is Ready and offers a layout."""
    allocatable = {name: str(count) for name, count in layout.items()}
    status = {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": allocatable}
    return json.dumps({"metadata": {"labels": {"nvidia.com/mig-9g.old": "1"}}, "spec": {}, "status": status})
