"""Carry TCP from the outside's loopback into the cluster through a unix socket, which no network namespace binds.

`python relay.py inside SOCKET` runs in the cluster: a connection's first line is its target, HOST:PORT.
`python relay.py outside SOCKET PORT HOST:PORT` listens on 127.0.0.1:PORT (0: any free one) and prints the port it got.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

_CHUNK = 1 << 16


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def _join(
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter], far: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    try:
        with suppress(asyncio.CancelledError):  # whoever closes the relay ends what it carries
            await asyncio.gather(_pump(near[0], far[1]), _pump(far[0], near[1]))
    finally:
        near[1].close()
        far[1].close()


async def serve_inside(socket: str) -> None:
    """Accept on the unix socket and connect to whatever address the first line names."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = (await reader.readline()).decode().strip().rpartition(":")
        try:
            far = await asyncio.open_connection(host, int(port))
        except (OSError, ValueError):
            writer.close()
            return
        await _join((reader, writer), far)

    server = await asyncio.start_unix_server(accept, socket)
    await server.serve_forever()


async def listen_outside(socket: str, port: int, target: str) -> asyncio.Server:
    """Accept on loopback and hand every connection to the inside, with the target's address in front."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far = await asyncio.open_unix_connection(socket)
        except OSError:
            writer.close()
            return
        far[1].write(f"{target}\n".encode())
        await _join((reader, writer), far)

    return await asyncio.start_server(accept, "127.0.0.1", port)


async def _outside(socket: str, port: int, target: str) -> None:
    server = await listen_outside(socket, port, target)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "inside":
        Path(sys.argv[2]).unlink(missing_ok=True)
        asyncio.run(serve_inside(sys.argv[2]))
    else:
        asyncio.run(_outside(sys.argv[2], int(sys.argv[3]), sys.argv[4]))
