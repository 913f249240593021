"""A cluster from the command line: `python -m e2e.clusters VERB [--provider bare|kind] [--name NAME]`."""

from __future__ import annotations

import argparse
import sys

from e2e.clusters.bare.cluster import DEFAULT_NAME, BareCluster
from e2e.clusters.bare.prerequisites import MissingPrerequisiteError
from e2e.clusters.kind.cluster import KindCluster
from e2e.clusters.kind.host import GPU_CHOICES, KindError
from e2e.clusters.kind.show import shown_plan
from e2e.clusters.protocol import UnsupportedError

_VERBS = {
    "up": "bring it up, or give a running one the images that changed",
    "down": "end it; built programs and images stay cached",
    "status": "say whether it runs",
    "kubeconfig": "print the path of its kubeconfig",
    "env": "print shell lines that put kubectl, helm and the kubeconfig in place",
    "exec": "run a command inside the first node's namespaces",
    "add-node": "add a node (bare only)",
    "plan": "print what `up` would write and run, and do none of it (kind only)",
}


def main() -> int:
    """Do what the verb says; the exit code of `status` tells whether the cluster runs."""
    arguments = _parser().parse_args()
    try:
        if arguments.verb == "plan":
            print(shown_plan(arguments.name, gpus=arguments.gpus or "auto"))
            return 0
        return _do(arguments.verb, _cluster(arguments), getattr(arguments, "command", []))
    except (MissingPrerequisiteError, KindError, UnsupportedError) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.clusters", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in _VERBS.items():
        added = verbs.add_parser(verb, help=text)
        added.add_argument("--name", default=DEFAULT_NAME)
        added.add_argument("--provider", choices=("bare", "kind"), default="bare")
        added.add_argument("--gpus", choices=GPU_CHOICES, default="", help="kind only (default: auto)")
        if verb == "exec":
            added.add_argument("command", nargs=argparse.REMAINDER)
    return parser


def _cluster(arguments: argparse.Namespace) -> BareCluster | KindCluster:
    if arguments.provider == "kind":
        return KindCluster(arguments.name, gpus=arguments.gpus)
    return BareCluster(arguments.name)


def _do(verb: str, cluster: BareCluster | KindCluster, command: list[str]) -> int:
    if verb == "status":
        print(f"{cluster.name}: {f'runs, nodes {cluster.nodes}' if cluster.running else 'down'}")
        return 0 if cluster.running else 1
    if verb == "up":
        cluster.up()
        print(f"kubeconfig: {cluster.kubeconfig}")
    elif verb == "down":
        cluster.down()
    elif verb == "add-node":
        print(f"node{_add_node(cluster)}")
    elif verb == "kubeconfig":
        print(cluster.kubeconfig)
    elif verb == "exec":
        print(cluster.exec(command[1:] if command[:1] == ["--"] else command), end="")
    else:
        print("\n".join(_environment(cluster)))
    return 0


def _add_node(cluster: BareCluster | KindCluster) -> int:
    if isinstance(cluster, KindCluster):
        raise UnsupportedError(
            "kind makes all nodes of a cluster when it makes the cluster; the bare cluster adds nodes"
        )
    return cluster.add_node()


def _environment(cluster: BareCluster | KindCluster) -> list[str]:
    folder = cluster.kubectl_path.rpartition("/")[0]
    path = [f"export PATH={folder}:$PATH"] if folder else []
    return [f"export KUBECONFIG={cluster.kubeconfig}", *path]


if __name__ == "__main__":
    sys.exit(main())
