"""Runs in a pod: answers external.metrics.k8s.io from one Prometheus page that it reads anew for each question.

A metric is a series of the page; a selector's labels must be among its labels, and `namespace` is the namespace that
is asked about. What the page does not have is answered with an empty list, as an adapter does that knows no series.
"""

from __future__ import annotations

import argparse
import json
import re
import ssl
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

GROUP = "external.metrics.k8s.io"
ROOT = f"/apis/{GROUP}/v1beta1"
SERIES = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)\{(.*)\} (\S+)$", re.MULTILINE)
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Series:
    """One line of a Prometheus page."""

    name: str
    labels: dict[str, str]
    value: float


def parse(page: str) -> list[Series]:
    """Return the labelled series of a page."""
    return [Series(name, dict(LABEL.findall(labels)), float(value)) for name, labels, value in SERIES.findall(page)]


def chosen(series: list[Series], *, name: str, namespace: str, selector: str) -> list[Series]:
    """Return the series of a metric in a namespace that have all labels of an equality selector."""
    wanted = {"namespace": namespace} | dict(pair.split("=", 1) for pair in selector.split(",") if pair)
    return [one for one in series if one.name == name and wanted.items() <= one.labels.items()]


def value_list(found: list[Series], now: datetime) -> dict[str, Any]:
    """Return the API's answer; values are quantities in thousandths."""
    items = [
        {
            "metricName": one.name,
            "metricLabels": one.labels,
            "timestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "value": f"{round(one.value * 1000)}m",
        }
        for one in found
    ]
    return {"kind": "ExternalMetricValueList", "apiVersion": f"{GROUP}/v1beta1", "metadata": {}, "items": items}


def resource_list() -> dict[str, Any]:
    """Return what discovery shows: any name is a metric."""
    metric = {"name": "*", "singularName": "", "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/v1beta1", "resources": [metric]}


def answer(path: str, page_url: str) -> dict[str, Any] | None:
    """Answer a GET; None for a path that is not ours."""
    asked = urlsplit(path)
    parts = asked.path.removeprefix(ROOT).strip("/").split("/")
    if asked.path.rstrip("/") == ROOT:
        return resource_list()
    if not asked.path.startswith(ROOT) or len(parts) != 3 or parts[0] != "namespaces":
        return None
    with urlopen(page_url, timeout=5) as page:
        series = parse(page.read().decode())
    selector = parse_qs(asked.query).get("labelSelector", [""])[0]
    return value_list(chosen(series, name=parts[2], namespace=parts[1], selector=selector), datetime.now(UTC))


def handler(page_url: str) -> type[BaseHTTPRequestHandler]:
    """Return the request handler for one page."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = answer(self.path, page_url)
            body = json.dumps(document or {"kind": "Status", "apiVersion": "v1", "code": 404}).encode()
            self.send_response(200 if document else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def main() -> int:
    """Serve with the certificate that lies beside this file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--page", required=True, help="URL of a Prometheus page")
    parser.add_argument("--certificate", required=True, help="PEM file with certificate and key")
    parser.add_argument("--port", type=int, default=6443)
    asked = parser.parse_args()
    server = ThreadingHTTPServer(("0.0.0.0", asked.port), handler(asked.page))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(asked.certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
