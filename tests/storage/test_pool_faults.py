"""The pool while Postgres restarts, kills sessions or is slow, and while callers go away."""

from __future__ import annotations

import asyncio
import os
import shlex
from typing import TYPE_CHECKING

import asyncpg
import pytest

from secretd.sdk.errors import StorageUnavailableError
from secretd.server.embedded import EmbeddedPostgres, find_binaries
from secretd.storage import driver
from secretd.storage import pool as pool_module
from secretd.storage.pool import Pool
from secretd.storage.queries import parse_queries

if TYPE_CHECKING:
    from pathlib import Path

QUERIES = parse_queries(
    """
-- name: read_number
-- Give back a number.
-- $1 the number
SELECT $1::bigint AS number;
-- name: read_pid
-- Name the session.
SELECT pg_backend_pid() AS pid;
-- name: wait_seconds
-- Wait in the server.
-- $1 seconds
SELECT pg_sleep($1);
-- name: count_waiting
-- Count the sessions of this database that still wait.
SELECT count(*) AS number FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE '%pg_sleep%' AND state = 'active' AND pid <> pg_backend_pid();
-- name: make_table
-- Make the table of these tests.
CREATE TABLE things (id bigint);
-- name: insert_thing
-- Store a thing, a repeated one too.
-- $1 its id
INSERT INTO things VALUES ($1);
-- name: list_things
-- Read every thing.
SELECT id FROM things;
""",
    source="test",
)
_KILL = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'secretd'"
)


async def _control(folder: Path, *arguments: str) -> None:
    """pg_ctl on the cluster in this folder, as the user that may run Postgres."""
    mapped = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--") if os.geteuid() == 0 else ()
    command = (*mapped, str(find_binaries() / "pg_ctl"), "-D", str(folder / "data"), "-w", *arguments)
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet)
    assert await process.wait() == 0, arguments


async def test_a_restart_of_postgres_is_survived(tmp_path: Path) -> None:
    """While Postgres is down every call is a 503-class error, soon; after its return the same pool answers."""
    async with EmbeddedPostgres(tmp_path) as server:
        options = shlex.split((tmp_path / "data" / "postmaster.opts").read_text())[1:]
        async with Pool.open(server.dsn(), size=3, queries=QUERIES) as pool:
            await asyncio.gather(*(pool.fetchrow("read_number", number) for number in range(9)))
            await _control(tmp_path, "stop", "-m", "immediate")
            for _ in range(5):
                with pytest.raises(StorageUnavailableError) as caught:
                    async with asyncio.timeout(2):
                        await pool.fetchrow("read_number", 1)
                assert caught.value.retry_after
            with pytest.raises(StorageUnavailableError):
                async with pool.transaction():
                    pass
            await _control(tmp_path, "start", "-l", str(tmp_path / "again.log"), "-o", shlex.join(options))
            try:
                rows = await asyncio.gather(*(pool.fetchrow("read_number", number) for number in range(9)))
                assert [row and row["number"] for row in rows] == list(range(9))
            finally:
                await _control(tmp_path, "stop", "-m", "immediate")


async def test_idle_sessions_that_were_killed_cost_nobody_an_error(pg_dsn: str) -> None:
    """A session known to be gone is replaced before anything is sent: queries and transactions just work."""
    async with Pool.open(pg_dsn, size=2, queries=QUERIES) as pool:
        first = await _pid(pool)
        admin = await asyncpg.connect(pg_dsn)
        await admin.execute(_KILL)
        await _until_gone(admin, first)
        second = await _pid(pool)
        assert second != first
        await admin.execute(_KILL)
        await _until_gone(admin, second)
        async with pool.transaction() as transaction:
            assert await transaction.fetchrow("read_pid")
        await admin.close()


async def _pid(pool: Pool) -> int:
    row = await pool.fetchrow("read_pid")
    assert row is not None
    return int(row["pid"])


async def _until_gone(admin: asyncpg.Connection, pid: int) -> None:
    while await admin.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid):
        pass


async def test_a_storm_of_terminations_repeats_nothing(pg_dsn: str) -> None:
    """Under pg_terminate_backend storms each insert runs at most once, the acknowledged ones exactly once."""
    acknowledged: set[int] = set()
    failed: list[BaseException] = []
    async with Pool.open(pg_dsn, size=4, queries=QUERIES) as pool:
        await pool.execute("make_table")
        async with asyncio.TaskGroup() as group:
            group.create_task(_kill_often(pg_dsn))
            for worker in range(8):
                group.create_task(_insert_many(pool, worker, acknowledged, failed))
        stored = [row["id"] for row in await pool.fetch("list_things")]
    assert len(stored) == len(set(stored))
    assert acknowledged <= set(stored)
    assert all(isinstance(error, StorageUnavailableError) for error in failed)
    assert acknowledged


async def _insert_many(pool: Pool, worker: int, acknowledged: set[int], failed: list[BaseException]) -> None:
    for number in range(worker * 1000, worker * 1000 + 40):
        try:
            await pool.execute("insert_thing", number)
            acknowledged.add(number)
        except StorageUnavailableError as error:
            failed.append(error)


async def _kill_often(dsn: str) -> None:
    admin = await asyncpg.connect(dsn)
    for _ in range(25):
        await admin.execute(_KILL)
    await admin.close()


@pytest.mark.parametrize("pgbouncer", [False, True])
async def test_a_cancelled_call_leaves_a_clean_pool(pg_dsn: str, *, pgbouncer: bool) -> None:
    """After cancelled queries the next caller gets its own answer, and the server runs nothing abandoned."""
    async with Pool.open(pg_dsn, size=1, queries=QUERIES, pgbouncer=pgbouncer) as pool:
        for number in range(5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await pool.fetchrow("wait_seconds", 60)
            row = await pool.fetchrow("read_number", number)
            assert row is not None
            assert row["number"] == number
        waiting = await pool.fetchrow("count_waiting")
        assert waiting is not None
        assert waiting["number"] == 0


async def test_a_cancelled_transaction_is_rolled_back(pg_dsn: str) -> None:
    """A transaction whose task is cancelled, between statements or in one, stores nothing and frees its place."""
    async with Pool.open(pg_dsn, size=1, queries=QUERIES) as pool:
        await pool.execute("make_table")
        for query, argument in (("wait_seconds", 60), ("read_number", 1)):
            task = asyncio.ensure_future(_insert_and(pool, query, argument, began := asyncio.Event()))
            await began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await pool.fetch("list_things") == []


async def _insert_and(pool: Pool, query: str, argument: int, began: asyncio.Event) -> None:
    async with pool.transaction() as transaction:
        await transaction.execute("insert_thing", 1)
        began.set()
        await transaction.fetchrow(query, argument)
        await asyncio.Event().wait()


async def test_callers_that_leave_the_queue_lose_no_place(pg_dsn: str) -> None:
    """Cancelling those who wait for a connection leaves the pool with all its places."""
    async with Pool.open(pg_dsn, size=1, queries=QUERIES) as pool:
        async with pool.transaction():
            waiting = [asyncio.ensure_future(pool.fetchrow("read_number", number)) for number in range(5)]
            await asyncio.wait(waiting, timeout=0)
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
        for number in range(3):
            assert await pool.fetchrow("read_number", number)


async def test_a_busy_pool_answers_503(pg_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gets no connection in time is told that storage is busy, not left waiting."""
    monkeypatch.setattr(pool_module, "_ACQUIRE_TIMEOUT", 0.01)
    async with Pool.open(pg_dsn, size=1, queries=QUERIES) as pool, pool.transaction():
        with pytest.raises(StorageUnavailableError, match="busy"):
            await pool.fetchrow("read_number", 1)


async def test_a_silent_server_is_given_up(pg_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement without an answer ends as a 503-class error after the command time-out; the pool serves on."""
    monkeypatch.setattr(driver, "COMMAND_TIMEOUT", 0.3)
    async with Pool.open(pg_dsn, size=1, queries=QUERIES) as pool:
        with pytest.raises(StorageUnavailableError, match="too long"):
            await pool.fetchrow("wait_seconds", 60)
        assert await pool.fetchrow("read_number", 1)


async def test_a_pool_survives_a_transaction_that_lost_its_session(pg_dsn: str) -> None:
    """A session killed in mid-transaction makes its statements 503-class errors; the next transaction works."""
    async with Pool.open(pg_dsn, size=1, queries=QUERIES) as pool:
        admin = await asyncpg.connect(pg_dsn)
        with pytest.raises(StorageUnavailableError):
            async with pool.transaction() as transaction:
                await admin.execute(_KILL)
                await transaction.fetchrow("read_number", 1)
        await admin.close()
        async with pool.transaction() as transaction:
            assert await transaction.fetchrow("read_number", 1)
