"""`kubectl yolofleet top`: the fleet now, refreshed in place; without the operator, what stands in status."""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime
from typing import Any

import aiohttp
from rich.live import Live as Refreshed

from yolofleet.api.top import Top
from yolofleet.cli.live import Asking, operator_argument
from yolofleet.cli.picture import SORTS, Look, picture
from yolofleet.cli.printing import as_json
from yolofleet.cli.session import Cluster, Session, in_words
from yolofleet.cli.standing import number
from yolofleet.errors import ApiServerError, CannotAskError, NotLiveError
from yolofleet.observe.resources import YOLODEPLOYMENT
from yolofleet.render.meta import stamp
from yolofleet.render.top import Live, top_row


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `top`."""
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="look at all namespaces")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="how to print; json: once")
    parser.add_argument("--once", action="store_true", help="print once and end")
    parser.add_argument("--sort", choices=tuple(SORTS), default="demand", help="what comes first (demand)")
    parser.add_argument("--interval", type=float, default=2.0, metavar="SECONDS", help="between two looks (2)")
    operator_argument(parser)
    parser.epilog = "Exit code: 0 live, 1 the operator could not be asked and status was shown, 2 could not ask."


async def run(told: argparse.Namespace, session: Session) -> int:
    """Show the fleet; 1 when it was not live."""
    async with session.cluster() as cluster:
        asking = Asking(cluster, told.operator)
        if told.once or told.output == "json" or not session.out.is_terminal:
            return await _once(asking, cluster, told, session)
        await _on_and_on(asking, cluster, told, session)
    return 0


async def _once(asking: Asking, cluster: Cluster, told: argparse.Namespace, session: Session) -> int:
    top, why = await _look(asking, cluster)
    if told.output == "json":
        document: dict[str, Any] = top.wire_with_nulls() | {"source": "status" if why else "live"}
        session.out.print(as_json(document | ({"notLive": why} if why else {})), soft_wrap=True)
    else:
        note = _note(why)
        session.out.print(picture(top, Look(session.out.width, 10_000, told.sort, cluster.namespace is None, note)))
    if why and told.output == "json":
        session.err.print(_note(why))
    return 1 if why else 0


async def _on_and_on(asking: Asking, cluster: Cluster, told: argparse.Namespace, session: Session) -> None:
    """Refresh in place until Ctrl-C; while nobody answers, the last picture stays with a note."""
    top, why = await _look(asking, cluster)
    with Refreshed(console=session.out, screen=True, auto_refresh=False) as screen:
        while True:
            size = session.out.size
            look = Look(size.width, size.height, told.sort, cluster.namespace is None, _note(why))
            screen.update(picture(top, look), refresh=True)
            await asyncio.sleep(max(0.5, told.interval))
            try:
                top, why = await _look(asking, cluster)
            except (CannotAskError, ApiServerError, aiohttp.ClientError, TimeoutError, OSError) as error:
                gone = error if isinstance(error, CannotAskError) else in_words(error, cluster.server)
                why = f"this is the picture of {top.taken_at}: {gone}"


async def _look(asking: Asking, cluster: Cluster) -> tuple[Top, str]:
    """Return the fleet and "", or what stands in status and why it is not live."""
    try:
        return await asking.ask(), ""
    except NotLiveError as error:
        why = str(error)
    found = await cluster.items(YOLODEPLOYMENT)
    taken_at = stamp(datetime.now(UTC))
    return Top(taken_at=taken_at, deployments=[top_row(obj, _remembered(obj)) for obj in found]), why


def _remembered(obj: dict[str, Any]) -> Live:
    """Return the two figures that a status holds, to two digits."""
    summary = (obj.get("status") or {}).get("summary") or {}
    served, _, demanded = str(summary.get("fps") or "").partition("/")
    return Live(served_fps=number(served), demand_fps=number(demanded))


def _note(why: str) -> str:
    return f"not live, figures from status: {why}" if why else ""
