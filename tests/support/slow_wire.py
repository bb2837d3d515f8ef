"""A TCP proxy that can keep what one client says, and deliver it long after that client is gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class SlowWire:
    """Passes bytes on both ways. ``hold_next``: the next message with these bytes in it waits for ``release``."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self.hold_next = b""
        self.held = asyncio.Event()
        self.release = asyncio.Event()
        self.delivered = asyncio.Event()
        self.answer = b""
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await asyncio.open_connection(*self._to)
        back = asyncio.create_task(self._pump(upstream, writer))
        self._tasks.add(back)
        try:
            while chunk := await reader.read(65536):
                if self.hold_next and self.hold_next in chunk:
                    self.hold_next = b""
                    await self._deliver_late(chunk, upstream, downstream, back)
                    return
                downstream.write(chunk)
                await downstream.drain()
        except ConnectionError:
            pass
        finally:
            downstream.close()
            back.cancel()
            writer.close()

    async def _deliver_late(
        self,
        chunk: bytes,
        upstream: asyncio.StreamReader,
        downstream: asyncio.StreamWriter,
        back: asyncio.Task[None],
    ) -> None:
        self.held.set()
        await self.release.wait()
        back.cancel()  # its client is gone: we read the answer
        with contextlib.suppress(asyncio.CancelledError):
            await back
        downstream.write(chunk)
        await downstream.drain()
        while b"Z" not in self.answer[-6:-5]:  # ReadyForQuery: the last message of an answer, 6 bytes
            got = await upstream.read(65536)
            if not got:
                break
            self.answer += got
        self.delivered.set()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def slow_wire(host: str, port: int) -> AsyncIterator[SlowWire]:
    """A proxy before a server, on a port of its own."""
    wire = SlowWire(host, port)
    server = await asyncio.start_server(wire._serve, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        wire.release.set()
        server.close()
        for task in wire._tasks:
            task.cancel()
        await asyncio.gather(*wire._tasks, return_exceptions=True)
