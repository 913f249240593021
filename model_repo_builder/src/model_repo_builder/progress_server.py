"""Answers GET /progress with the latest progress as JSON; what the operator asks a build pod, which has no token."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

from yolofleet.api.build import PROGRESS_PORT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_repo_builder.progress import Board


class _Server(HTTPServer):
    """One connection at a time, a short queue, no waiting for slow callers; IPv6 and IPv4 where both are."""

    request_queue_size = 16
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def _handler(board: Board) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 2
        server_version = "yolofleet"
        sys_version = ""

        def do_GET(self) -> None:
            known = self.path == "/progress"
            body = board.latest().model_dump_json(by_alias=True).encode() if known else b""
            self.send_response(HTTPStatus.OK if known else HTTPStatus.NOT_FOUND)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing: the log is for the build."""

    return Handler


@contextmanager
def serving(board: Board, *, port: int = PROGRESS_PORT) -> Iterator[int]:
    """Serve progress in a thread while the block runs; yields the port (0 asks for a free one)."""
    server = _Server(("", port), _handler(board))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
