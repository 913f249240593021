"""`kubectl yolofleet admit`: how many more streams of a deployment fit, and what would make more fit."""

from __future__ import annotations

import argparse
from typing import Any

from yolofleet.cli.given import filename_argument, snapshot
from yolofleet.cli.printing import as_json, cell, table
from yolofleet.cli.session import Session
from yolofleet.planning.whatif.admission import Admission, Option, admission


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `admit`."""
    parser.add_argument("name", metavar="[NAMESPACE/]NAME", help="a YoloDeployment")
    filename_argument(parser)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="how to print (text)")
    parser.epilog = "Exit code: 0 one more fits on the slices that exist, 1 none does, 2 the input cannot be planned."


async def run(told: argparse.Namespace, session: Session) -> int:
    """Print how many fit, each way; 1 when not one more does."""
    given = await snapshot(told.filename, session)
    space, _, name = told.name.rpartition("/")
    homes = sorted({one.namespace for one in given.deployments if one.name == name})
    home = space or session.flags.namespace or (homes[0] if homes else "default")
    found = admission(given, f"{home}/{name}")
    if told.output == "json":
        session.out.print(as_json(_wire(found)), soft_wrap=True)
    else:
        now = f"{found.name} has {found.streams} streams × {found.frames_per_second:g} frames/s"
        session.out.print(cell(now, "bold"), soft_wrap=True)
        made = table("way", "fit", "more")
        for way in (found.as_cut, found.cut_anew, *found.others):
            made.add_row(cell(way.way), cell("any" if way.streams is None else way.streams), cell(_more(found, way)))
        session.out.print(made)
    more = found.as_cut.streams
    return 0 if more is None or more > found.streams else 1


def _more(found: Admission, way: Option) -> str:
    return "any" if way.streams is None else f"{way.streams - found.streams:+d}"


def _wire(found: Admission) -> dict[str, Any]:
    ways = [("asCut", found.as_cut), ("cutAnew", found.cut_anew), *(("other", way) for way in found.others)]
    return {
        "version": 1,
        "name": found.name,
        "streams": found.streams,
        "framesPerSecond": found.frames_per_second,
        "ways": [
            {
                "kind": kind,
                "way": way.way,
                "streams": way.streams,
                "more": None if way.streams is None else way.streams - found.streams,
            }
            for kind, way in ways
        ],
    }
