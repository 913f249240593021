"""What a verb plans from: the cluster, with the manifests of `-f` as if applied, or the file that `-f` names alone."""

from __future__ import annotations

import argparse

from yolofleet.api.fleet import Fleet
from yolofleet.api.snapshot import SnapshotFile
from yolofleet.cli.files import read
from yolofleet.cli.gathering import gathered
from yolofleet.cli.session import Session
from yolofleet.errors import Refused


def filename_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument by which one names a file instead of, or beside, the cluster."""
    parser.add_argument(
        "-f",
        "--filename",
        metavar="FILE",
        help="a snapshot (asks no cluster), or YoloDeployments as if they were applied; -: standard input",
    )


async def given(filename: str | None, session: Session, *, applying: bool = True) -> Fleet | SnapshotFile:
    """Return a fleet or a snapshot from a file, else a snapshot of the cluster, with the manifests as if applied."""
    found = read(filename) if filename else []
    if not isinstance(found, list):
        return found
    if found and not applying:
        remedy = "name a fleet or a snapshot, or leave -f out; with --planned they are planned as if applied"
        raise Refused(field="-f", value=str(filename), message="manifests sit nowhere yet", remedy=remedy)
    return await gathered(session, found)


async def snapshot(filename: str | None, session: Session) -> SnapshotFile:
    """Return what is planned from, which must say what runs today."""
    found = await given(filename, session)
    if isinstance(found, Fleet):
        remedy = "`kubectl yolofleet simulate -f` plans it; here name a snapshot or manifests"
        raise Refused(field="-f", value=str(filename), message="a fleet does not say what runs today", remedy=remedy)
    return found
