"""Transactions that Postgres gave up for another's sake, and what is never repeated."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from secretd.sdk.errors import StorageConflictError, StorageUnavailableError
from secretd.storage.again import again_after_conflict
from secretd.storage.pool import Pool


async def test_a_deadlocks_victim_is_run_again(storage_dsn: str) -> None:
    """Two transactions lock two rows in opposite order: Postgres ends one, and both are done all the same."""
    async with Pool.open(storage_dsn) as pool:
        tries = []
        for name in ("one", "two"):
            await pool.execute("insert_seal_record", name, b"0")
        met = asyncio.Barrier(2)

        @again_after_conflict
        async def write(first: str, second: str) -> None:
            tries.append(first)
            async with pool.transaction() as runner:
                await runner.execute("update_seal_record", first, b"1", 1)
                if len(tries) <= 2:
                    await met.wait()
                await runner.execute("update_seal_record", second, b"1", 1)

        await asyncio.gather(write("one", "two"), write("two", "one"))
        assert len(tries) == 3
    connection = await asyncpg.connect(storage_dsn)
    try:
        assert await connection.fetchval("SELECT bool_and(value = '1') FROM seal_records")
    finally:
        await connection.close()


@pytest.mark.parametrize("error", [StorageUnavailableError, ValueError])
async def test_silence_is_never_repeated(error: type[Exception]) -> None:
    """An answer that did not come may have been a yes."""
    tries = []

    @again_after_conflict
    async def ask() -> None:
        tries.append(1)
        raise error

    with pytest.raises(error):
        await ask()
    assert tries == [1]


async def test_patience_has_an_end() -> None:
    """A conflict that stays is the caller's error."""
    tries = []

    @again_after_conflict
    async def ask() -> None:
        tries.append(1)
        raise StorageConflictError

    with pytest.raises(StorageConflictError):
        await ask()
    assert len(tries) == 5
