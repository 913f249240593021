"""The kubectl plugin's entry: which verb is meant, what all verbs take, and one line for every failure."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Protocol

from yolofleet.cli.printing import consoles, own_version, printable
from yolofleet.cli.session import Flags, Session
from yolofleet.errors import YolofleetError

CANNOT_ASK = 2
INTERRUPTED = 130
VERBS = {
    "simulate": "what a fleet in a file needs, on which slices of which GPUs, with a proof; asks no cluster",
    "plan": "what would change, step by step, before anything does",
    "layout": "who sits where on which GPU",
    "admit": "how many more streams of a deployment fit, and what would make more fit",
    "check": "whether a plan holds: layouts, demands, cost, and the bound from its prices, without a solver",
    "status": "what is served, what is not, and what to do about it",
    "top": "the fleet now: frames served against demanded, latency, slices",
    "explain": "why this many replicas, this slice and this engine, and what would change it",
    "rollout": "how a new engine or image proves itself; promotes it, aborts it, tries it again",
    "doctor": "whether all is there that serving needs, with a remedy for what is not",
}
"""Each is a module of this package, imported only when it is asked for."""


class Verb(Protocol):
    """What a verb's module has."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the verb's own arguments."""

    async def run(self, told: argparse.Namespace, session: Session) -> int:
        """Do it, and return the exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; 0 all well, 1 something is not, 2 nobody could be asked."""
    told = parsed(sys.argv[1:] if argv is None else list(argv))
    flags = Flags(told.kubeconfig, told.context, told.namespace, getattr(told, "all_namespaces", False))
    out, err = consoles()
    try:
        return asyncio.run(verb(told.verb).run(told, Session(flags, out, err)))
    except YolofleetError as error:
        sys.stderr.write(f"error: {printable(' '.join(str(error).split()))}\n")
        return CANNOT_ASK
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `… | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def verb(name: str) -> Verb:
    """Return the module of a verb."""
    module: Verb = importlib.import_module(f"yolofleet.cli.{name.replace('-', '_')}")
    return module


def parsed(argv: list[str]) -> argparse.Namespace:
    """Parse the command line; only the verb that is asked for is imported."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--kubeconfig", metavar="FILE", help="the kubeconfig file to use")
    common.add_argument("--context", metavar="NAME", help="the context in it to use")
    common.add_argument("-n", "--namespace", metavar="NAME", help="the namespace to look at; absent: the context's")
    parser = argparse.ArgumentParser(prog="kubectl yolofleet", description="Fleets of YOLO models on slices of GPUs.")
    parser.add_argument("--version", action="version", version=f"kubectl-yolofleet {own_version()}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    wanted = argv[0] if argv else ""
    for name, text in VERBS.items():
        added = verbs.add_parser(name, help=text, description=f"Says {text}.", parents=[common])
        if name == wanted:
            verb(name).arguments(added)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
