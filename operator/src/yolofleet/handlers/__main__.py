"""The operator's process: `python3 -m yolofleet.handlers --settings FILE`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from pathlib import Path

import kopf

from yolofleet.errors import SettingsError
from yolofleet.handlers import switchboard
from yolofleet.handlers.collector import sparing
from yolofleet.settings import Settings, load

_PLAIN = frozenset(vars(logging.makeLogRecord({})))


class _Json(logging.Formatter):
    """One JSON object per event, with its fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {k: v for k, v in vars(record).items() if k not in _PLAIN and not k.startswith(("k8s_", "settings"))}
        told = {"time": self.formatTime(record), "level": record.levelname, "event": record.getMessage(), **fields}
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def _log(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    if settings.log_format == "json":
        handler.setFormatter(_Json())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for chatty in ("kopf.objects", "kopf.activities", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


async def _serve(settings: Settings) -> int:
    stop = asyncio.Event()
    async with sparing():
        await kopf.operator(
            registry=switchboard(settings, stop),
            standalone=True,
            clusterwide=not settings.watch_namespaces,
            namespaces=settings.watch_namespaces,
            stop_flag=stop,
        )
    return 1 if stop.is_set() else 0  # only a bug sets it; signals are kopf's own


def main() -> int:
    """Read the settings and run until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=Path, default=Path("/etc/yolofleet/settings.yaml"))
    try:
        settings = load(parser.parse_args().settings)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    _log(settings)
    return asyncio.run(_serve(settings))


if __name__ == "__main__":
    sys.exit(main())
