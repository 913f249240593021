"""`kubectl yolofleet doctor`: is everything there that serving needs, and if not, what to do."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence

from rich.console import Console

from yolofleet.api.crd import object_schema
from yolofleet.api.migpool import MigPool
from yolofleet.api.yolodeployment import YoloDeployment
from yolofleet.api.yoloengine import YoloEngine
from yolofleet.cli.diagnosis import Facts, Finding, Level, cluster, gpus, serving
from yolofleet.cli.diagnosis.gather import gather
from yolofleet.cli.live import operator_argument
from yolofleet.cli.printing import as_json, cell, printable
from yolofleet.cli.session import Session

SIGNS: dict[Level, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "warn": ("!", "yellow"),
    "fail": ("✗", "red"),
    "unseen": ("?", "dim"),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `doctor`."""
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="how to print (text)")
    operator_argument(parser)
    parser.epilog = "Exit code: 0 nothing fails, 1 something does, 2 could not ask. It changes nothing."


async def run(told: argparse.Namespace, session: Session) -> int:
    """Print the diagnosis; 1 when something fails."""
    async with session.cluster() as connected:
        findings = diagnosis(await gather(connected, told.operator))
    if told.output == "json":
        counted = Counter(found.level for found in findings)
        document = {"version": 1, "findings": [found.wire() for found in findings], "counts": dict(counted)}
        session.out.print(as_json(document), soft_wrap=True)
    else:
        show(findings, session.out)
    return 1 if any(found.level == "fail" for found in findings) else 0


def diagnosis(facts: Facts) -> tuple[Finding, ...]:
    """Judge all facts, from the cluster up to what is served."""
    known = {kind.kind: object_schema(kind) for kind in (YoloDeployment, YoloEngine, MigPool)}
    return (
        cluster.kubernetes(facts),
        cluster.definitions(facts, known),
        cluster.operator(facts),
        cluster.live(facts),
        cluster.users_rights(facts),
        cluster.operators_rights(facts),
        gpus.discovery(facts),
        gpus.driver(facts),
        *gpus.mig(facts),
        *gpus.dcgm(facts),
        serving.store(facts),
        serving.admission(facts),
        serving.tensorrt(facts),
        *serving.policies(facts),
        serving.deployments(facts),
    )


def show(findings: Sequence[Finding], out: Console) -> None:
    """Print one line per finding, and its remedy below it."""
    width = max(len(found.topic) for found in findings)
    for found in findings:
        sign, style = SIGNS[found.level]
        out.print(cell(f"{sign} {found.topic:<{width}}  {found.message}", style))
        if found.remedy:
            out.print(cell(f"  {'':<{width}}  → {printable(found.remedy)}"))
    counted = Counter(found.level for found in findings)
    told = ", ".join(f"{counted[level]} {level}" for level in SIGNS if counted[level])
    out.print()
    out.print(cell(told, "bold"))
