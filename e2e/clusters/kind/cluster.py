"""A named kind cluster: up, down, and what stories do to it as far as Docker and kind let them."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

import yaml

from e2e.cache import cache_root, locked
from e2e.clusters.bare import gpu_nodes
from e2e.clusters.bare.addons import volume_object
from e2e.clusters.kind import steps
from e2e.clusters.kind.config import NODE_IMAGE, kind_config
from e2e.clusters.kind.host import TOOLKIT_CONFIG, Choice, KindError, choose, look
from e2e.clusters.kind.place import VOLUMES_IN_NODE, KindPlace
from e2e.clusters.kind.steps import Step
from e2e.clusters.kubectl import Clients
from e2e.clusters.port_forward import port_forward
from e2e.clusters.programs import Run, run_program
from e2e.clusters.protocol import BENCH_VALUES, Faults, UnsupportedError
from e2e.fakes.dcgm_exporter.defects import Defects
from e2e.fakes.gpus import DEFAULT_LAYOUT
from e2e.progress import step
from e2e.waiting import wait_for

GPUS_VARIABLE = "YOLOFLEET_KIND_GPUS"
IMAGES_VARIABLE = "YOLOFLEET_KIND_IMAGES"
NODE_IMAGE_VARIABLE = "YOLOFLEET_KIND_NODE_IMAGE"
_REAL_VALUES = BENCH_VALUES.with_name("values-kind-gpu.yaml")
_SAID = 2000


class KindCluster:
    """One kind cluster of ours; `up` is idempotent."""

    def __init__(
        self,
        name: str,
        *,
        gpus: str = "",
        run: Run = run_program,
        cache: Path | None = None,
        toolkit_config: Path = TOOLKIT_CONFIG,
    ) -> None:
        self._place = KindPlace(name, cache or cache_root())
        self._wanted = gpus or os.environ.get(GPUS_VARIABLE) or "auto"
        self._run = run
        self._toolkit_config = toolkit_config

    @property
    def name(self) -> str:
        return self._place.name

    @property
    def kubeconfig(self) -> Path:
        return self._place.kubeconfig

    @property
    def context(self) -> str:
        return self._place.context

    @property
    def kubectl_path(self) -> str:
        return "kubectl"

    @property
    def helm_path(self) -> str:
        return "helm"

    @property
    def values(self) -> tuple[Path, ...]:
        return (BENCH_VALUES, _REAL_VALUES) if self._choice.real else (BENCH_VALUES,)

    def node_name(self, node: int = 1) -> str:
        return self._place.worker(node)

    @property
    def nodes(self) -> list[int]:
        return [1]

    @property
    def running(self) -> bool:
        """Whether the cluster is ours and Docker runs its node."""
        if not self._place.record.exists():
            return False
        answer = self._run(("docker", "ps", "--filter", f"name=^{self._place.worker()}$", "--format", "{{.Names}}"))
        return answer.good and answer.stdout.split() == [self._place.worker()]

    def up(self) -> Self:
        """Make the cluster, or bring one of ours that runs the images of the tree as it is now."""
        with locked(self._place.lock):
            seen = look(self._run, toolkit_config=self._toolkit_config)
            if self.running:
                self._do(steps.refresh(self._place, self._choice, archive=_archive()))
                return self
            choice = choose(seen, self._wanted)
            self._refuse_a_taken_name()
            print(f"kind cluster {self._place.cluster}, GPUs {'real' if choice.real else 'fake'}: {choice.reason}")
            self._write_files(choice)
            try:
                self._do(steps.up(self._place, choice, archive=_archive()))
            except BaseException:
                self._end()
                raise
            self._place.record.write_text(json.dumps({"real": choice.real, "reason": choice.reason}))
        if not choice.real:
            gpu_nodes.wait_until_ready(self._clients, self.node_name())
            self.set_layout(DEFAULT_LAYOUT)
        return self

    def down(self) -> None:
        """Delete the cluster and its files."""
        with locked(self._place.lock), step(f"cluster {self._place.cluster} down"):
            self._end()

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_s: float = 60) -> str:
        return self._clients.kubectl(*arguments, stdin=stdin, timeout_s=timeout_s)

    def helm(self, *arguments: str, timeout_s: float = 300) -> str:
        return self._clients.helm(*arguments, timeout_s=timeout_s)

    def exec(self, command: list[str], *, node: int = 1, timeout_s: float = 60) -> str:
        """Run a command of the node's image in a node."""
        made = Step("run in the node", (*steps.in_node(self._place.worker(node)), *command), timeout_s=timeout_s)
        return self._do_one(made)

    def forward(self, host: str, port: int) -> AbstractContextManager[int]:
        """A port of 127.0.0.1 that leads to `service.namespace`."""
        if host.replace(".", "").isdigit():
            raise UnsupportedError(f"{host}:{port} is an address inside kind's network: forward to service.namespace")
        bound = ("kubectl", "--kubeconfig", str(self.kubeconfig), "--context", self.context)
        return port_forward(bound, host, port)

    def set_layout(self, layout: Mapping[str, int], *, node: int = 1) -> None:
        """Repartition the node's fake GPUs, label it, and wait until it offers them."""
        self._refuse_on_real_gpus(f"lay out {dict(layout)}")
        self._place.gpu_state(node).set_layout(layout, node=self.node_name(node))
        gpu_nodes.label_node(self._clients, self.node_name(node), layout)
        gpu_nodes.wait_for_allocatable(self._clients, self.node_name(node), self._place.gpu_state(node))

    def set_health(self, resource: str, index: int, *, healthy: bool, node: int = 1) -> None:
        """Make one fake device healthy or not, and wait until the node says so."""
        self._refuse_on_real_gpus(f"make {resource} #{index} {healthy=}")
        self._place.gpu_state(node).set_health(resource, index, healthy=healthy)
        gpu_nodes.wait_for_allocatable(self._clients, self.node_name(node), self._place.gpu_state(node))

    def set_dcgm(self, defects: Defects, *, node: int = 1) -> None:
        raise UnsupportedError(
            f"no {defects} on {self.node_name(node)}: the double of dcgm-exporter runs on the bare cluster only"
        )

    def stop_apiserver(self) -> None:
        """Take the API server away, and wait until it is gone."""
        self._do(steps.stop_apiserver(self._place))
        wait_for("the API server to go", lambda: not self._answers(), timeout_s=90)

    def start_apiserver(self) -> None:
        """Bring it back and wait until it is ready."""
        self._do(steps.start_apiserver(self._place))
        wait_for("the API server", self._answers, timeout_s=120)

    def restart_apiserver(self, *, down_s: float = 0) -> None:
        self.stop_apiserver()
        time.sleep(down_s)
        self.start_apiserver()

    def restart_kubelet(self, *, node: int = 1) -> None:
        self._do(steps.restart_kubelet(self._place, node))

    @property
    def faults(self) -> Faults:
        raise UnsupportedError(f"kind cluster {self.name} has one worker, and no way yet to lose it or to crash a pod")

    def load_images(self, names: Sequence[str]) -> None:
        raise UnsupportedError(f"kind cluster {self.name} takes its images when it is made, and {names} is not in them")

    def recycle_volumes(self) -> None:
        """Empty the volumes whose claims are gone, and offer them anew."""
        volumes = json.loads(self.kubectl("get", "persistentvolumes", "-o", "json"))["items"]
        gone = [v["metadata"]["name"] for v in volumes if v.get("status", {}).get("phase") in {"Released", "Failed"}]
        if not gone:
            return
        self.kubectl("delete", "persistentvolume", *gone)
        self._do((Step("empty volumes", steps.empty_volumes(self._place, gone)),))
        anew = [volume_object(VOLUMES_IN_NODE / name) for name in gone]
        self.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": anew}))

    def dump(self, namespaces: Sequence[str], folder: Path) -> None:
        self._clients.dump(namespaces, folder)
        try:
            self._do(steps.export_logs(self._place, folder / "nodes"))
        except KindError as error:
            (folder / "nodes-logs.txt").write_text(f"{error}\n")

    # --- parts --------------------------------------------------------------------------------------------------

    @property
    def _choice(self) -> Choice:
        """What `up` decided; kept, as asking anew would take seconds, and the host may have changed."""
        try:
            found = json.loads(self._place.record.read_text())
        except FileNotFoundError:
            raise KindError(
                f"there is no kind cluster {self.name!r} of ours: "
                f"python -m e2e.clusters up --provider kind --name {self.name}"
            ) from None
        return Choice(real=found["real"], reason=found["reason"])

    @property
    def _clients(self) -> Clients:
        return Clients("kubectl", "helm", self.kubeconfig, self.context, self._place.home / "clients", self._run)

    def _answers(self) -> bool:
        return self._run(steps.kubectl(self._place, "get", "--raw", "/readyz"), timeout_s=5).good

    def _refuse_on_real_gpus(self, what: str) -> None:
        if self._place.record.exists() and self._choice.real:
            raise UnsupportedError(
                f"cannot {what}: {self.node_name()} has real GPUs ({self._choice.reason}), which stories do not touch; "
                "cut them with nvidia-smi mig on the host, or bring the cluster up with --gpus fake"
            )

    def _refuse_a_taken_name(self) -> None:
        taken = self._run(("kind", "get", "clusters")).stdout.split()
        if self._place.cluster not in taken:
            return
        state = "is stopped, or was left half-made" if self._place.record.exists() else "was made by somebody else"
        raise KindError(
            f"there is a kind cluster {self._place.cluster} already, which {state}: "
            f"take another --name, or end it with `kind delete cluster --name {self._place.cluster}`"
        )

    def _write_files(self, choice: Choice) -> None:
        self._place.gpus().mkdir(parents=True, exist_ok=True)
        image = os.environ.get(NODE_IMAGE_VARIABLE) or NODE_IMAGE
        config = kind_config(self._place, real=choice.real, image=image)
        self._place.config.write_text(yaml.safe_dump(config, sort_keys=False))

    def _end(self) -> None:
        self._do(steps.down(self._place))
        shutil.rmtree(self._place.home, ignore_errors=True)

    def _do(self, todo: Sequence[Step]) -> None:
        for one in todo:
            with step(one.purpose):
                self._do_one(one)

    def _do_one(self, todo: Step) -> str:
        answer = self._run(todo.command, stdin=todo.stdin, timeout_s=todo.timeout_s)
        if answer.good:
            return answer.stdout
        said = (answer.stderr.strip() or answer.stdout.strip() or "it said nothing")[-_SAID:]
        remedy = f"\n{todo.remedy}" if todo.remedy else ""
        shown = " ".join(todo.command)[:300]
        raise KindError(f"could not {todo.purpose}: `{shown}` failed (exit {answer.returncode}): {said}{remedy}")


def _archive() -> Path | None:
    """The archive of images that the caller names, for machines on which the bench cannot make them."""
    named = os.environ.get(IMAGES_VARIABLE)
    if not named:
        return None
    archive = Path(named)
    if not archive.is_file():
        raise KindError(
            f'{IMAGES_VARIABLE}={named}: no such file; e2e/clusters/kind/README.md, "Images", says how to make it'
        )
    return archive
