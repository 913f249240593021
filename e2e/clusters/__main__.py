"""A bare cluster from the command line: `python -m e2e.clusters VERB [--name NAME]`."""

from __future__ import annotations

import argparse
import sys

from e2e.clusters.bare.cluster import DEFAULT_NAME, BareCluster
from e2e.clusters.bare.prerequisites import MissingPrerequisiteError

_VERBS = {
    "up": "bring it up, or give a running one the images that changed",
    "down": "end it; built programs and images stay cached",
    "status": "say whether it runs",
    "kubeconfig": "print the path of its kubeconfig",
    "env": "print shell lines that put kubectl, helm and the kubeconfig in place",
    "exec": "run a command inside the first node's namespaces",
    "add-node": "add a node",
}


def main() -> int:
    """Do what the verb says; the exit code of `status` tells whether the cluster runs."""
    parser = argparse.ArgumentParser(prog="python -m e2e.clusters", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in _VERBS.items():
        added = verbs.add_parser(verb, help=text)
        added.add_argument("--name", default=DEFAULT_NAME)
        if verb == "exec":
            added.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    try:
        return _do(arguments.verb, BareCluster(arguments.name), getattr(arguments, "command", []))
    except MissingPrerequisiteError as error:
        print(error, file=sys.stderr)
        return 2


def _do(verb: str, cluster: BareCluster, command: list[str]) -> int:
    if verb == "status":
        print(f"{cluster.name}: {f'runs, nodes {cluster.nodes}' if cluster.running else 'down'}")
        return 0 if cluster.running else 1
    if verb == "up":
        cluster.up()
        print(f"kubeconfig: {cluster.kubeconfig}")
    elif verb == "down":
        cluster.down()
    elif verb == "add-node":
        print(f"node{cluster.add_node()}")
    elif verb == "kubeconfig":
        print(cluster.kubeconfig)
    elif verb == "exec":
        print(cluster.exec(command[1:] if command[:1] == ["--"] else command), end="")
    else:
        print(f"export KUBECONFIG={cluster.kubeconfig}\nexport PATH={cluster.kubectl_path.rpartition('/')[0]}:$PATH")
    return 0


if __name__ == "__main__":
    sys.exit(main())
