"""`kubectl yolofleet rollout`: how a new engine or image proves itself, and the ways to hasten, stop or repeat that."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from yolofleet.api.rollout import ROLLOUT_ANNOTATION, VERBS
from yolofleet.cli.printing import as_json, cell, table
from yolofleet.cli.session import Cluster, Session
from yolofleet.errors import ApiServerError, CannotAskError
from yolofleet.observe.resources import YOLODEPLOYMENT, YOLOENGINE

Object = dict[str, Any]
POLL_S = 1.0
UNDER_WAY = ("Building", "Canary", "Promoting")
FITS = {"promote": (*UNDER_WAY, "RolledBack"), "abort": UNDER_WAY, "retry": ("RolledBack",)}
"""In which phases a verb means something."""
NOT_FOUND = 404
CODES = {"RolledBack": 1} | dict.fromkeys(UNDER_WAY, 3)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rollout`."""
    parser.add_argument("action", choices=("status", *VERBS), help="look; put in without more proof; take back; repeat")
    parser.add_argument("name", metavar="NAME", help="a YoloDeployment")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="how to print (text)")
    parser.add_argument("--wait", action="store_true", help="wait for the end")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="how long to wait (600)")
    parser.epilog = "Exit code: 0 what is wanted serves, 1 rolled back, 3 under way, 2 could not ask."


async def run(told: argparse.Namespace, session: Session) -> int:
    """Say or ask, and print how the rollout stands."""
    async with session.cluster() as cluster:
        status = await _status(cluster, told.name)
        if told.action != "status":
            await _ask(cluster, told.name, told.action, status)
            status = await _answered(cluster, told.name, until=time.monotonic() + min(told.timeout, 10.0))
        until = time.monotonic() + told.timeout
        while told.wait and status.get("phase") in UNDER_WAY and time.monotonic() < until:
            await asyncio.sleep(POLL_S)
            status = await _status(cluster, told.name)
        found = {key: await _accuracy(cluster, str(status.get(key, ""))) for key in ("engine", "previousEngine")}
    if told.output == "json":
        document = {"version": 1, "name": told.name, "rollout": status, "accuracy": found}
        session.out.print(as_json(document), soft_wrap=True)
    else:
        show(told.name, status, found, session.out)
    return CODES.get(str(status.get("phase")), 0)


async def _found(cluster: Cluster, name: str) -> Object:
    try:
        return await cluster.kube.get(YOLODEPLOYMENT, namespace=cluster.namespace, name=name)
    except ApiServerError as error:
        if error.status != NOT_FOUND or not error.message.startswith(YOLODEPLOYMENT.plural):
            raise
        told = f"no YoloDeployment {name} in namespace {cluster.namespace}; `kubectl yolofleet status -A` shows all"
        raise CannotAskError(told) from error


async def _status(cluster: Cluster, name: str) -> Object:
    """Return status.rollout; {} before the first one."""
    found: Object = ((await _found(cluster, name)).get("status") or {}).get("rollout") or {}
    return found


async def _accuracy(cluster: Cluster, engine: str) -> Object | None:
    """Return what an engine found in its labelled set; None where it has none, or nobody may tell."""
    if not engine:
        return None
    try:
        found = await cluster.kube.get(YOLOENGINE, namespace=cluster.namespace, name=engine)
    except ApiServerError:
        return None
    told: Object | None = ((found.get("status") or {}).get("gate") or {}).get("accuracy")
    return told


async def _ask(cluster: Cluster, name: str, verb: str, status: Object) -> None:
    """Write the annotation that the operator carries out once; a verb that means nothing now is refused here."""
    phase = status.get("phase", "none")
    if phase not in FITS[verb]:
        fits = ", ".join(FITS[verb])
        raise CannotAskError(f"{verb}: the rollout of {name} is {phase}; this verb is for {fits}: nothing was changed")
    # The time makes each request another one: the same verb may be asked for again.
    asked = f"{verb} {status['engine']} {datetime.now(UTC).isoformat(timespec='seconds')}"
    await cluster.kube.request(
        "PATCH",
        YOLODEPLOYMENT.path(cluster.namespace, name),
        body={"metadata": {"annotations": {ROLLOUT_ANNOTATION: asked}}},
        content_type="application/merge-patch+json",
    )


async def _answered(cluster: Cluster, name: str, *, until: float) -> Object:
    """Wait until the operator has carried out what stands in the annotation."""
    while True:
        obj = await _found(cluster, name)
        status: Object = (obj.get("status") or {}).get("rollout") or {}
        if status.get("answered") == obj["metadata"].get("annotations", {}).get(ROLLOUT_ANNOTATION):
            return status
        if time.monotonic() >= until:
            told = "the operator has not answered yet: `kubectl yolofleet doctor` says whether it runs"
            raise CannotAskError(f"{name}: {told}")
        await asyncio.sleep(POLL_S)


def show(name: str, status: Object, accuracy: Mapping[str, Object | None], out: Console) -> None:
    """Print where it is, why, what both engines find of what is labelled, and how former rollouts ended."""
    if not status:
        out.print(f"{name}: nothing has been rolled out since it began to serve.", soft_wrap=True)
        return
    out.print(cell(f"{name}: {status['phase']} since {status['since']}: {status['reason']}", "bold"), soft_wrap=True)
    for side, engine, image in (("new", "engine", "image"), ("old", "previousEngine", "previousImage")):
        line = f"  {side}  {_revision(status[engine], status.get(image, ''))}{_figures(accuracy.get(engine))}"
        out.print(cell(line), soft_wrap=True)
    out.print(cell(f"  {status.get('message', '')}"), soft_wrap=True)
    if to_do := _to_do(name, str(status["phase"])):
        out.print(cell(f"  → {to_do}", "cyan"), soft_wrap=True)
    if history := status.get("history"):
        out.print()
        made = table("ended", "how", "why", "engine", "numbers")
        for one in history:
            told = (one["time"], one["phase"], one["reason"], one["engine"], one.get("message", ""))
            made.add_row(*(cell(part) for part in told))
        out.print(made)


def _revision(engine: str, image: str) -> str:
    return f"{engine} on {image}" if image else engine


def _figures(told: Object | None) -> str:
    if told is None:
        return ""
    return f": mAP50 {told['map50']}, mAP50-95 {told['map50To95']} over {told['images']} labelled pictures"


def _to_do(name: str, phase: str) -> str:
    if phase == "RolledBack":
        return f"change the spec, or `kubectl yolofleet rollout retry {name}` or `promote {name}`"
    if phase in UNDER_WAY:
        return f"wait (--wait), or `kubectl yolofleet rollout promote {name}` or `abort {name}`"
    return ""
