"""Connections to Postgres, lent by the query.

Our own small pool, because asyncpg's costs three times the CPU of the query it carries (measured on a
one-row read: 137 µs against 45 µs; it wraps each connection in a proxy and sends a reset on release).
Ours adds some 3 µs: a stack of bare connections, each with its prepared statements by query name.

1. A connection that is known to be closed is never lent.
2. A statement is sent again only if it provably never ran.
3. A connection that failed, timed out or was cancelled in mid-query is closed, never lent again; its
   place is free once the server has let go, so that cancelled requests cannot outgrow the pool.
4. Whatever the driver says becomes one of our errors, without its text.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Protocol

from secretd.sdk.errors import ConfigError, StorageUnavailableError
from secretd.storage.address import Address, parse_address
from secretd.storage.driver import COMMAND_TIMEOUT, DRIVER_ERRORS, Link, Row, Statement, connect, never_ran
from secretd.storage.failures import is_login_refused, sqlstate_of, translate
from secretd.storage.queries import QUERIES, Query

__all__ = ["Pool", "Row", "Runner", "Transaction"]

_ACQUIRE_TIMEOUT = 10.0  # seconds
_OLDEST_SERVER = 15


class Runner(Protocol):
    """What runs named queries: a Pool (each query by itself) or a Transaction."""

    async def fetch(self, name: str, *args: object) -> list[Row]: ...
    async def fetchrow(self, name: str, *args: object) -> Row | None: ...
    async def execute(self, name: str, *args: object) -> int: ...


class Transaction:
    """A transaction under way. For one task; commits when its block ends, rolls back on an error."""

    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link

    async def fetch(self, name: str, *args: object) -> list[Row]:
        """All rows of a named query."""
        with self._judged(name):
            return await (await self._statement(name)).fetch(*args)

    async def fetchrow(self, name: str, *args: object) -> Row | None:
        """The first row of a named query, or None."""
        with self._judged(name):
            return await (await self._statement(name)).fetchrow(*args)

    async def execute(self, name: str, *args: object) -> int:
        """Run a named query; return how many rows it affected."""
        with self._judged(name):
            return await (await self._statement(name)).run(*args)

    async def lock(self, key: int) -> None:
        """Wait for the advisory lock ``key`` (64 bits, signed); the end of the transaction frees it."""
        with self._judged("lock"):
            await self._link.connection.execute("SELECT pg_advisory_xact_lock($1)", key)

    async def run_script(self, script: str, *, timeout: float) -> None:
        """Run many statements of our own package (migrations), ``timeout`` seconds each and together."""
        with self._judged("script"):
            milliseconds = int(timeout * 1000)
            await self._link.connection.fetch(
                "SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $1, true)",
                str(milliseconds),
            )
            await self._link.connection.execute(script, timeout=timeout + COMMAND_TIMEOUT)

    async def _statement(self, name: str) -> Statement:
        return self._link.statements.get(name) or await self._link.prepare(name)

    @contextlib.contextmanager
    def _judged(self, name: str) -> Iterator[None]:
        try:
            yield
        except DRIVER_ERRORS as error:
            raise self._link.fail(error, query=name) from None
        except asyncio.CancelledError:
            self._link.broken = True  # the server may still be at it
            raise


class Pool:
    """Up to ``size`` connections. :meth:`open` makes one; the methods raise errors of ``sdk.errors`` only."""

    def __init__(self, address: Address, *, size: int, pgbouncer: bool, queries: Mapping[str, Query]) -> None:
        self._address = address
        self._pgbouncer = pgbouncer
        self._queries = dict(queries)
        self._slots = asyncio.Semaphore(size)
        self._idle: list[Link] = []  # a stack: the warmest connection first, the surplus goes cold
        self._is_closed = False
        self._closing: set[asyncio.Task[None]] = set()  # awaited when the pool closes

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        size: int = 10,
        connect_retry: float = 60.0,
        pgbouncer: bool = False,
        queries: Mapping[str, Query] = QUERIES,
    ) -> AsyncIterator[Pool]:
        """Connect, check the server, lend connections until the block ends.

        Tries for ``connect_retry`` seconds, then raises StorageUnavailableError. ConfigError: the URL,
        the login, a server older than 15, or a role whose ``synchronous_commit`` is off.
        """
        pool = cls(parse_address(url), size=size, pgbouncer=pgbouncer, queries=queries)
        try:
            await pool._connect_first(deadline=time.monotonic() + connect_retry)
            yield pool
        finally:
            await pool._close()

    async def fetch(self, name: str, *args: object) -> list[Row]:
        """All rows of a named query, in a transaction of its own."""
        link, statement = await self._ready(name)
        try:
            rows = await statement.fetch(*args)
        except BaseException as error:
            if self._may_repeat(link, error):
                return await self.fetch(name, *args)
            raise self._fail(link, error, query=name) from None
        self._give(link)
        return rows

    async def fetchrow(self, name: str, *args: object) -> Row | None:
        """The first row of a named query, or None, in a transaction of its own."""
        link, statement = await self._ready(name)
        try:
            row = await statement.fetchrow(*args)
        except BaseException as error:
            if self._may_repeat(link, error):
                return await self.fetchrow(name, *args)
            raise self._fail(link, error, query=name) from None
        self._give(link)
        return row

    async def execute(self, name: str, *args: object) -> int:
        """Run a named query in a transaction of its own; return how many rows it affected."""
        link, statement = await self._ready(name)
        try:
            count = await statement.run(*args)
        except BaseException as error:
            if self._may_repeat(link, error):
                return await self.execute(name, *args)
            raise self._fail(link, error, query=name) from None
        self._give(link)
        return count

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """One READ COMMITTED transaction. Leaving the block commits, an error rolls back.

        StorageUnavailableError on leaving means that the commit was not acknowledged: it may have
        happened. A transaction that a swallowed error has aborted raises rather than commit nothing.
        """
        link = await self._begin()
        try:
            yield Transaction(link)
            await self._commit(link)
        except Exception:
            await self._roll_back(link)
            raise
        except BaseException:
            link.broken = True  # closing rolls back, and waits for nothing that was cancelled
            raise
        finally:
            self._give(link)

    async def _begin(self) -> Link:
        link = await self._take()
        for last in (False, True):
            try:
                await link.connection.execute("BEGIN")
            except BaseException as error:
                failure = self._fail(link, error, query="begin")
                if last or not isinstance(failure, StorageUnavailableError):
                    raise failure from None
            else:
                return link
            link = await self._take()  # nothing has run yet, so another connection may try
        raise StorageUnavailableError

    async def _commit(self, link: Link) -> None:
        try:
            status = await link.connection.execute("COMMIT")
        except DRIVER_ERRORS as error:
            raise link.fail(error, query="commit") from None
        if status != "COMMIT":
            raise StorageUnavailableError("the transaction had failed and was rolled back")

    async def _roll_back(self, link: Link) -> None:
        if link.broken or link.is_closed():
            return
        try:
            await link.connection.execute("ROLLBACK")
        except BaseException as error:
            link.broken = True
            if not isinstance(error, Exception):
                raise

    async def _ready(self, name: str) -> tuple[Link, Statement]:
        """A connection and the statement on it. Preparing runs nothing, so a dead connection is replaced."""
        if name not in self._queries:
            raise KeyError(name)
        link = await self._take()
        statement = link.statements.get(name)
        if statement is not None:
            return link, statement
        try:
            return link, await link.prepare(name)
        except BaseException as error:
            failure = self._fail(link, error, query=name)
            if not link.broken or not isinstance(failure, StorageUnavailableError):
                raise failure from None
        link = await self._take()
        try:
            return link, await link.prepare(name)
        except BaseException as error:
            raise self._fail(link, error, query=name) from None

    async def _take(self) -> Link:
        if self._is_closed:
            raise StorageUnavailableError("storage is closed")
        if self._slots.locked():
            await self._wait_for_slot()
        else:
            await self._slots.acquire()
        while self._idle:
            link = self._idle.pop()
            if not link.is_closed():
                return link
        try:
            return await self._connect()
        except BaseException as error:
            self._slots.release()
            if isinstance(error, Exception):
                raise translate(error, query="connect") from None
            raise

    async def _wait_for_slot(self) -> None:
        try:
            async with asyncio.timeout(_ACQUIRE_TIMEOUT):
                await self._slots.acquire()
        except TimeoutError:
            raise StorageUnavailableError("every connection to storage is busy") from None

    def _give(self, link: Link) -> None:
        if link.broken or self._is_closed or link.is_closed():
            self._discard(link)
        else:
            self._idle.append(link)
            self._slots.release()

    def _may_repeat(self, link: Link, error: BaseException) -> bool:
        """Whether to ask again; gives up the connection then, so each time there is one bad one fewer."""
        if not never_ran(error):
            return False
        link.broken = True
        self._give(link)
        return True

    def _fail(self, link: Link, error: BaseException, *, query: str) -> BaseException:
        """Give the connection back, or close it, after an error; return what to raise."""
        known = isinstance(error, DRIVER_ERRORS)
        failure: BaseException = error
        if known:
            failure = link.fail(error, query=query)
        else:
            link.broken = True  # cancelled in mid-query, or a bug: no guessing about its state
        if known and link.broken:
            self._drop_idle()
        self._give(link)
        return failure

    def _drop_idle(self) -> None:
        """What broke one connection broke its neighbours: let nobody wait for a time-out on each."""
        while self._idle:
            self._idle.pop().connection.terminate()

    def _discard(self, link: Link) -> None:
        task = asyncio.get_running_loop().create_task(self._end(link))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _end(self, link: Link) -> None:
        """Close one connection, cancelling what it runs; then its place is free."""
        try:
            await link.close()
        finally:
            self._slots.release()

    async def _connect(self) -> Link:
        return await connect(self._address, pgbouncer=self._pgbouncer, queries=self._queries)

    async def _connect_first(self, *, deadline: float) -> None:
        delay = 0.05
        while True:
            try:
                link = await self._connect()
                break
            except DRIVER_ERRORS as error:
                _require_worth_waiting(error, left=deadline - time.monotonic())
            await asyncio.sleep(min(delay, max(0.0, deadline - time.monotonic())))
            delay = min(delay * 2, 2.0)
        await self._slots.acquire()
        try:
            await _check_server(link.connection)
        except DRIVER_ERRORS as error:
            raise link.fail(error, query="check") from None
        finally:
            self._give(link)

    async def _close(self) -> None:
        self._is_closed = True
        while self._idle:
            self._discard(self._idle.pop())
        while self._closing:
            await asyncio.wait(tuple(self._closing))


def _require_worth_waiting(error: BaseException, *, left: float) -> None:
    """Raise when another attempt cannot help or the time is up."""
    if is_login_refused(error):
        raise ConfigError(
            f"storage refused the login (SQLSTATE {sqlstate_of(error)})",
            hint="check user, password and database of storage.url",
        ) from None
    if isinstance(error, ValueError):
        raise ConfigError("storage.url: the driver refuses an option of it") from None
    if left <= 0:
        raise StorageUnavailableError(
            "storage is out of reach", hint="is PostgreSQL up where storage.url points?"
        ) from None


async def _check_server(connection: Any) -> None:
    if connection.get_server_version().major < _OLDEST_SERVER:
        raise ConfigError("storage needs PostgreSQL 15 or newer", hint="upgrade the server of storage.url")
    if await connection.fetchval("SELECT current_setting('synchronous_commit')") == "off":
        raise ConfigError(
            "synchronous_commit is off for storage's role: an acknowledged lease could be lost in a crash",
            hint="ALTER ROLE … SET synchronous_commit = on",
        )
