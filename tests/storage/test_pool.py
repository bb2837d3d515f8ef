"""The pool's manners: settings, rows, transactions, errors, limits."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from secretd.sdk.errors import (
    ConfigError,
    InvalidRequestError,
    SecretdError,
    StorageConflictError,
    StorageUnavailableError,
)
from secretd.storage.failures import UniqueViolationError
from secretd.storage.pool import Pool
from secretd.storage.queries import parse_queries

QUERIES = parse_queries(
    """
-- name: read_text
-- Give back a text.
-- $1 the text
SELECT $1::text AS text;
-- name: read_number
-- Give back a number.
-- $1 the number
SELECT $1::bigint AS number;
-- name: read_setting
-- Say what a setting is for this session.
-- $1 its name
SELECT current_setting($1) AS value;
-- name: make_table
-- Make the table of these tests.
CREATE TABLE things (id bigint PRIMARY KEY, note text);
-- name: widen_table
-- Change the columns of the table under everybody.
ALTER TABLE things ADD COLUMN more text;
-- name: insert_thing
-- Store a thing.
-- $1 its id
INSERT INTO things VALUES ($1);
-- name: delete_things
-- Remove every thing.
DELETE FROM things;
-- name: list_things
-- Read every thing.
SELECT * FROM things ORDER BY id;
-- name: list_prepared
-- Read what the server has prepared for this session.
SELECT name FROM pg_prepared_statements;
-- name: count_sessions
-- Count the pool's sessions on this database.
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'secretd';
-- name: wait_seconds
-- Wait in the server.
-- $1 seconds
SELECT pg_sleep($1);
""",
    source="test",
)


async def test_rows_answer_by_name_and_position_and_hide_values(pg_dsn: str) -> None:
    """A row gives its columns by name and position; its repr shows names only."""
    async with Pool.open(pg_dsn, queries=QUERIES) as pool:
        row = await pool.fetchrow("read_text", "canary")
    assert row is not None
    assert (row["text"], row[0], len(row), row.get("other", 1)) == ("canary", "canary", 1, 1)
    assert "canary" not in repr(row)


async def test_counts_are_rows_affected(pg_dsn: str) -> None:
    """execute returns how many rows were touched, in and outside a transaction, prepared or not."""
    for pgbouncer in (False, True):
        async with Pool.open(pg_dsn, queries=QUERIES, pgbouncer=pgbouncer) as pool:
            if not pgbouncer:
                assert await pool.execute("make_table") == 0
            assert await pool.execute("insert_thing", 1) == 1
            async with pool.transaction() as transaction:
                assert await transaction.execute("insert_thing", 2) == 1
            assert await pool.execute("delete_things") == 2
            assert await pool.fetchrow("list_things") is None


async def test_time_outs_are_start_up_settings(pg_dsn: str) -> None:
    """Each session starts with the three time-outs; with pgbouncer there is no setting and nothing prepared."""
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    async with Pool.open(pg_dsn, queries=QUERIES) as pool:
        values = [(await pool.fetch("read_setting", name))[0]["value"] for name in names]
        assert values == ["10s", "5s", "15s"]
        assert len(await pool.fetch("list_prepared")) >= 2
    async with Pool.open(pg_dsn, queries=QUERIES, pgbouncer=True) as pool:
        assert [(await pool.fetch("read_setting", name))[0]["value"] for name in names] == ["0", "0", "0"]
        assert await pool.fetch("list_prepared") == []


async def test_a_transaction_is_all_or_nothing(pg_dsn: str) -> None:
    """Leaving the block by an error rolls back, and the connection serves on."""
    async with Pool.open(pg_dsn, size=1, queries=QUERIES) as pool:
        await pool.execute("make_table")
        with pytest.raises(ZeroDivisionError):
            async with pool.transaction() as transaction:
                await transaction.execute("insert_thing", 1)
                raise ZeroDivisionError
        assert await pool.fetch("list_things") == []


async def test_a_swallowed_error_does_not_pass_as_a_commit(pg_dsn: str) -> None:
    """A transaction whose failed statement was ignored raises at its end, instead of committing nothing."""
    async with Pool.open(pg_dsn, size=1, queries=QUERIES) as pool:
        await pool.execute("make_table")
        with pytest.raises(StorageUnavailableError, match="rolled back"):
            async with pool.transaction() as transaction:
                await transaction.execute("insert_thing", 1)
                with pytest.raises(UniqueViolationError):
                    await transaction.execute("insert_thing", 1)
        assert await pool.fetch("list_things") == []


async def test_a_lock_ends_with_its_transaction(pg_dsn: str) -> None:
    """The advisory lock of one transaction makes the next wait, a lock_timeout makes it a conflict."""
    async with Pool.open(pg_dsn, queries=QUERIES) as pool, pool.transaction() as holder:
        await holder.lock(7)
        with pytest.raises(StorageConflictError):
            async with pool.transaction() as other:
                await other.run_script("SET LOCAL lock_timeout = '10ms'", timeout=5)
                await other.lock(7)
    async with Pool.open(pg_dsn, queries=QUERIES) as pool, pool.transaction() as other:
        await other.lock(7)


async def test_errors_name_no_value(pg_dsn: str) -> None:
    """A duplicate, a wrong type and a NUL become our errors, without the argument and without a cause."""
    async with Pool.open(pg_dsn, size=1, queries=QUERIES) as pool:
        await pool.execute("make_table")
        await pool.execute("insert_thing", 4711)
        cases: list[tuple[str, object, type[SecretdError]]] = [
            ("insert_thing", 4711, UniqueViolationError),
            ("insert_thing", "canary", SecretdError),
            ("read_text", "canary\x00", InvalidRequestError),
        ]
        for name, argument, kind in cases:
            with pytest.raises(kind) as caught:
                await pool.execute(name, argument)
            assert "canary" not in repr(caught.value)
            assert "4711" not in repr(caught.value)
            assert caught.value.__cause__ is None
            assert caught.value.__suppress_context__
        duplicate = await _failure(pool, 4711)
        assert duplicate.constraint == "things_pkey"


async def _failure(pool: Pool, number: int) -> UniqueViolationError:
    with pytest.raises(UniqueViolationError) as caught:
        await pool.execute("insert_thing", number)
    return caught.value


async def test_changed_columns_are_prepared_afresh(pg_dsn: str) -> None:
    """After another daemon's migration a query that was prepared before answers the new columns."""
    async with Pool.open(pg_dsn, size=1, queries=QUERIES) as pool:
        await pool.execute("make_table")
        await pool.execute("insert_thing", 1)
        assert len((await pool.fetch("list_things"))[0]) == 2
        await pool.execute("widen_table")
        assert len((await pool.fetch("list_things"))[0]) == 3


async def test_the_pool_never_outgrows_its_size(pg_dsn: str) -> None:
    """Many concurrent callers share ``size`` sessions, each getting its own answer."""
    async with Pool.open(pg_dsn, size=3, queries=QUERIES) as pool:
        rows = await asyncio.gather(*(pool.fetchrow("read_number", number) for number in range(60)))
        assert [row and row["number"] for row in rows] == list(range(60))
        count = await pool.fetchrow("count_sessions")
        assert count is not None
        assert count[0] <= 3


async def test_an_unknown_query_is_a_key_error(pg_dsn: str) -> None:
    """A misspelt name fails at once and costs no connection."""
    async with Pool.open(pg_dsn, size=1, queries=QUERIES) as pool:
        for _ in range(3):
            with pytest.raises(KeyError):
                await pool.fetch("read_nothing")
        assert await pool.fetchrow("read_number", 1)


async def test_a_role_without_synchronous_commit_is_refused(pg_dsn: str) -> None:
    """synchronous_commit off would lose acknowledged leases: the start is refused with the remedy."""
    connection = await asyncpg.connect(pg_dsn)
    database = await connection.fetchval("SELECT current_database()")
    await connection.execute(f'ALTER DATABASE "{database}" SET synchronous_commit = off')
    await connection.close()
    with pytest.raises(ConfigError, match="synchronous_commit") as caught:
        async with Pool.open(pg_dsn):
            pass
    assert "ALTER ROLE" in (caught.value.hint or "")


async def test_a_refused_login_is_not_waited_for(pg_dsn: str) -> None:
    """A database that does not exist is a configuration error at once, in spite of connect_retry."""
    with pytest.raises(ConfigError, match="3D000"):
        async with Pool.open(pg_dsn + "_not", connect_retry=3600):
            pass


async def test_a_silent_place_is_unavailable_with_a_hint() -> None:
    """Where nothing listens, opening ends after connect_retry with a 503-class error and a hint."""
    with pytest.raises(StorageUnavailableError) as caught:
        async with Pool.open("postgresql://127.0.0.1:1/x", connect_retry=0.0):
            pass
    assert caught.value.hint
    assert caught.value.retry_after
