"""TCP connections that are passed on between two networks.

A socket belongs to the network namespace that it was made in, whichever process uses it. So a process that was handed a
listener of the machine's loopback connects in the cluster's namespace, and the other way round.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

CHUNK = 1 << 16


async def serve(listener: socket.socket, host: str, port: int, peer: str = "") -> asyncio.Server:
    """Pass each connection to ``listener`` on to ``host`` and ``port``, in the network of this process.

    With ``peer``, only those that come from this address; others are closed at once.
    """

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            if peer and writer.get_extra_info("peername")[0] != peer:
                return
            try:
                there_reader, there_writer = await asyncio.open_connection(host, port)
            except OSError:
                return  # closed at once, as by a port that no process listens on
            with contextlib.closing(there_writer):
                await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))

    return await asyncio.start_server(pass_on, sock=listener)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the sender closes its side, and close the other one's."""
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()
