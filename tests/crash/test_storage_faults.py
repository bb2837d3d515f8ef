"""Storage that goes away and comes back, a daemon that is killed: nobody has to do anything."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import asyncpg

from secretd.server import embedded
from secretd.server.embedded import EmbeddedPostgres
from support.blocking import until_true
from support.clusters import NEWEST, binaries
from support.daemons import (
    PATIENCE,
    Daemon,
    GoneError,
    connect_target,
    free_port,
    initialise,
    write_role,
)

_SETTINGS = {"fsync": "off", "synchronous_commit": "on"}
_OVER = "SELECT NOT EXISTS (SELECT FROM leases WHERE state IN ('pending', 'revoking'))"


class Load:
    """Clients that go on whatever they hear, and keep what they heard."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.heard: dict[int, int] = {}
        self.hasty: list[int] = []  # statuses of refusals without Retry-After
        self.others: list[object] = []
        self.held: set[str] = set()
        self.stop = asyncio.Event()

    async def run(self) -> None:
        """Until told to stop."""
        async with asyncio.TaskGroup() as clients:
            for number in range(3):
                clients.create_task(self._write(number))
            for _ in range(2):
                clients.create_task(self._lease())

    async def _write(self, number: int) -> None:
        while not self.stop.is_set():
            await self._ask("POST", f"kv/{number}", {"value": "x"})
            await self._ask("GET", f"kv/{number}")

    async def _lease(self) -> None:
        while not self.stop.is_set():
            status, body = await self._ask("GET", "db/creds/faults")
            if status == 200:
                self.held.add(body["lease_id"])  # type: ignore[index]
            await asyncio.sleep(0.05)

    async def _ask(self, method: str, path: str, body: object = None) -> tuple[int, object]:
        answer = await self.daemon.ask(method, path, body)
        self.heard[answer.status] = self.heard.get(answer.status, 0) + 1
        if answer.status == 503 and not int(answer.headers.get("Retry-After", "0")):
            self.hasty.append(answer.status)
        if answer.status not in {200, 204, 503}:
            self.others.append((answer.status, answer.body))
        if answer.status == 503:
            await asyncio.sleep(0.02)
        return answer.status, answer.body


async def test_storage_restarts_under_load(
    folder: Path, tmp_path: Path, target_dsn: str, monkeypatch
) -> None:
    """While storage is away: 503 with Retry-After and nothing else; when it is back: service, and no lost lease."""
    port = free_port()
    monkeypatch.setattr(embedded, "_free_port", lambda: port)
    place = tmp_path / "pg"

    def server() -> EmbeddedPostgres:
        return EmbeddedPostgres(place, bin_dir=binaries(NEWEST), settings=_SETTINGS)

    async with server() as postgres:
        storage = postgres.dsn(tcp=True)
        await initialise(storage)
    async with server():
        pass  # it comes up where it was
    running = server()
    await running.__aenter__()
    try:
        async with Daemon.started(folder, storage) as daemon:
            await connect_target(daemon, target_dsn)
            await write_role(daemon, "faults", default_ttl="1h")
            await daemon.must("POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "1"}})
            load = Load(daemon)
            loading = asyncio.create_task(load.run())
            await _until(lambda: load.heard.get(200, 0) > 20)
            await running.__aexit__(None, None, None)
            await _until(lambda: load.heard.get(503, 0) > 20)
            assert (await daemon.ask("GET", "sys/health", token="")).status in {200, 503}
            running = server()
            await running.__aenter__()
            back = time.monotonic()
            answered = load.heard.get(204, 0)
            await _until(lambda: load.heard.get(204, 0) > answered + 5)
            print(f"serving {time.monotonic() - back:.2f} s after storage came back: {load.heard}")
            load.stop.set()
            await loading
            assert (load.hasty, load.others) == ([], [])
            await _compare(daemon, load, storage, target_dsn)
    finally:
        await running.__aexit__(None, None, None)


async def _compare(daemon: Daemon, load: Load, storage: str, target: str) -> None:
    sql, accounts = await asyncpg.connect(storage), await asyncpg.connect(target)
    try:
        await until_true(sql, _OVER, patience=PATIENCE)
        rows = await sql.fetch(
            "SELECT id, account_name FROM leases JOIN lease_facts USING (id) WHERE state = 'active'"
        )
        there = await accounts.fetch("SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%-faults-%'")
        assert {row[0] for row in there} == {row["account_name"] for row in rows}
        assert load.held == {row["id"] for row in rows}, (
            "a lease nobody holds, or one that was answered is gone"
        )
        await daemon.must("POST", "sys/leases/revoke-prefix/db")
    finally:
        await sql.close()
        await accounts.close()


async def _until(is_so) -> None:
    limit = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < limit
        await asyncio.sleep(0.01)


async def test_killed_with_a_static_seal(folder: Path, stored: str) -> None:
    """kill -9, and a start 0 seconds later: serving again, unsealed, with nobody's help; what was written is there."""
    async with Daemon.started(folder, stored) as daemon:
        await daemon.must("POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "1"}})
        await daemon.must("POST", "kv/x", {"value": "kept"})
        port = daemon.port
        daemon.send(signal.SIGKILL)
        await daemon.until_dead()
    began = time.monotonic()
    async with Daemon.started(folder, stored, port=port) as daemon:
        seconds = time.monotonic() - began
        print(f"serving {seconds:.2f} s after kill -9")
        assert (await daemon.must("GET", "kv/x")).data == {"value": "kept"}
        assert seconds < 20  # three on a machine of its own


async def test_a_daemon_waits_for_its_storage(folder: Path, tmp_path: Path, monkeypatch) -> None:
    """Started before storage is there, a daemon waits for it, then serves."""
    port = free_port()
    monkeypatch.setattr(embedded, "_free_port", lambda: port)
    place = tmp_path / "pg"
    async with EmbeddedPostgres(place, bin_dir=binaries(NEWEST), settings=_SETTINGS) as postgres:
        storage = postgres.dsn(tcp=True)
        await initialise(storage)
    async with Daemon.started(folder, storage, wait=False) as daemon:
        for _ in range(3):
            try:
                assert (await daemon.ask("GET", "sys/health", token="")).status != 200
            except GoneError:
                await asyncio.sleep(0.2)
        assert daemon.process.poll() is None
        async with EmbeddedPostgres(place, bin_dir=binaries(NEWEST), settings=_SETTINGS):
            await daemon.until_serving()
