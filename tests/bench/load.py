"""The load generator, a process of its own: a closed loop on N kept-alive connections.

Protocol: a job as one line of JSON on stdin; ``ready`` on stdout once connected and warm; ``go`` on stdin;
the result as one line of JSON. Its own CPU is nobody's: it reads no clock but the monotonic one and parses
no body.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

QUIET = 120.0  # seconds without an answer after which a run is given up


class Job:
    """What to send: ``{n}`` in path and body counts up, modulo ``keys`` where that is set."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.head = (
            f"{spec['method']} {spec['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Vault-Token: {spec['token']}\r\n"
            "X-Vault-Request: true\r\n"
        )
        self.body: str = spec.get("body", "")
        self.keys: int = spec.get("keys", 0)
        self.seconds: float = spec.get("seconds", 0.0)
        self.count: int = spec.get("count", 0)
        self.next = 0

    def request(self) -> bytes:
        """The next request, whole."""
        number = str(self.next % self.keys if self.keys else self.next)
        self.next += 1
        body = self.body.replace("{n}", number).encode()
        head = self.head.replace("{n}", number)
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Run:
    """One measured stretch over all connections: latencies in milliseconds, answers by status."""

    def __init__(self, job: Job, *, seconds: float, count: int) -> None:
        self.job = job
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = {}
        self.busy = 0
        self.left = count or sys.maxsize
        self.begun = time.monotonic()
        self.ends = self.begun + seconds if seconds else float("inf")
        self.last = self.begun
        self.done = asyncio.Event()

    def take(self) -> bytes | None:
        """The next request to send, or None when this stretch is over."""
        if self.left <= 0 or time.monotonic() >= self.ends:
            return None
        self.left -= 1
        self.busy += 1
        return self.job.request()

    def finish(self, status: int, sent: float) -> None:
        """Count an answer."""
        self.last = time.monotonic()
        self.latencies.append((self.last - sent) * 1000)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.busy -= 1

    def result(self) -> dict[str, Any]:
        """What one line of JSON says."""
        return {"seconds": self.last - self.begun, "latencies": self.latencies, "statuses": self.statuses}


class Connection(asyncio.Protocol):
    """One connection that asks, waits for the whole answer, and asks again."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self.buffer = bytearray()
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport  # uvloop's is no asyncio.Transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.run is not None:
            self.run.finish(0, self.sent)
            self.run.done.set()

    def start(self, run: Run) -> None:
        """Begin a stretch."""
        self.run = run
        self._ask()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = _answer_end(self.buffer)
        if end and self.run is not None:
            status = int(self.buffer[9:12])
            del self.buffer[:end]
            self.run.finish(status, self.sent)
            self._ask()

    def _ask(self) -> None:
        assert self.run is not None
        request = self.run.take()
        if request is None:
            run, self.run = self.run, None
            if run.busy == 0:
                run.done.set()
            return
        self.sent = time.monotonic()
        self.transport.write(request)


def _answer_end(buffer: bytearray) -> int:
    """Where the first answer ends; 0 while it is not whole."""
    head_end = buffer.find(b"\r\n\r\n")
    if head_end < 0:
        return 0
    head = bytes(buffer[:head_end]).lower()
    body = head_end + 4
    if b"\r\ntransfer-encoding: chunked" in head:
        last = buffer.find(b"0\r\n\r\n", body)
        return last + 5 if last >= 0 else 0
    at = head.find(b"\r\ncontent-length:")
    length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    return body + length if len(buffer) >= body + length else 0


async def _stretch(job: Job, connections: list[Connection], *, seconds: float, count: int) -> Run:
    run = Run(job, seconds=seconds, count=count)
    for connection in connections:
        connection.start(run)
    async with asyncio.timeout(seconds + QUIET):
        await run.done.wait()
    return run


async def main() -> None:
    """Do the job that stdin names."""
    loop = asyncio.get_running_loop()
    spec = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    job = Job(spec)
    connections = [
        (await loop.create_connection(Connection, "127.0.0.1", spec["port"]))[1]
        for _ in range(spec["connections"])
    ]
    if spec.get("warm"):
        await _stretch(job, connections, seconds=0, count=spec["warm"])
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    run = await _stretch(job, connections, seconds=job.seconds, count=job.count)
    print(json.dumps(run.result()), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
