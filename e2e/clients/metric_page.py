"""Runs in a pod: a Prometheus page that follows traces by the clock, `demand{namespace=…,trace=…}` for each.

`traces.json` beside it holds frames of each second by name; the page shows their mean over the last `--window` seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def page(traces: dict[str, list[int]], namespace: str, window: int, elapsed: float) -> str:
    """Return the page so many seconds after the beginning; before and after, the ends of the traces stand."""
    lines = []
    for name, frames in sorted(traces.items()):
        now = min(max(1, int(elapsed)), len(frames))
        last = frames[max(0, now - window) : now]
        lines.append(f'demand{{namespace="{namespace}",trace="{name}"}} {sum(last) / len(last)}')
    return "\n".join([*lines, ""])


def main() -> int:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--wait", type=float, default=0, help="seconds before the traces begin")
    asked = parser.parse_args()
    traces = json.loads(Path(__file__).with_name("traces.json").read_text())
    began = time.time() + asked.wait

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page(traces, asked.namespace, asked.window, time.time() - began).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    sys.stdout.write(json.dumps({"began": began}) + "\n")
    sys.stdout.flush()
    ThreadingHTTPServer(("0.0.0.0", asked.port), Handler).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
