"""The driver: the one module that imports asyncpg, which ships no types; Protocols stand around it.

A :class:`Link` is one connection with its prepared statements by query name, and the knowledge
whether it may be lent again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, cast

import asyncpg  # type: ignore[import-untyped]  # it ships no types; this module alone imports it

from secretd.sdk.errors import SecretdError
from secretd.storage.address import Address
from secretd.storage.failures import is_poisoned, translate
from secretd.storage.queries import Query

CONNECT_TIMEOUT = 5.0  # seconds, each of these
COMMAND_TIMEOUT = 15.0  # longer than statement_timeout: it only speaks when the network is dead
CLOSE_TIMEOUT = 2.0
SETTINGS = {
    "statement_timeout": "10s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "15s",
    "jit": "off",  # compiling costs more than any query of ours runs
}
DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    ValueError,  # an argument that cannot be encoded; its text quotes it
)


def never_ran(error: BaseException) -> bool:
    """Whether the statement that failed so provably did not run, so that it may be sent again.

    Either the server refused a prepared statement whose columns a migration has changed, or the
    session's end had arrived unnoticed and asyncpg's state machine refused to send at all.
    """
    if isinstance(error, asyncpg.InternalClientError):
        return str(error).startswith("cannot switch to state")
    return isinstance(error, asyncpg.InvalidCachedStatementError)


class Row(Protocol):
    """One answered row: columns by name or position. Its repr shows no value."""

    def __getitem__(self, key: str | int, /) -> Any: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...
    def get(self, key: str, default: Any = None, /) -> Any: ...
    def keys(self) -> Iterator[str]: ...
    def values(self) -> Iterator[Any]: ...
    def items(self) -> Iterator[tuple[str, Any]]: ...


class Statement(Protocol):
    """A named query on one connection; ``run`` answers the number of rows affected."""

    async def fetch(self, *args: object) -> list[Row]: ...
    async def fetchrow(self, *args: object) -> Row | None: ...
    async def run(self, *args: object) -> int: ...


class _Record(asyncpg.Record):  # type: ignore[misc]  # asyncpg is untyped
    """asyncpg's own repr prints every value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<Row {', '.join(self.keys())}>"


class _Prepared:
    """A statement that the server keeps for this connection."""

    __slots__ = ("_statement", "fetch", "fetchrow")

    def __init__(self, statement: Any) -> None:
        self._statement = statement
        self.fetch = statement.fetch  # bound once: the hot path pays for no wrapper
        self.fetchrow = statement.fetchrow

    async def run(self, *args: object) -> int:
        await self._statement.fetch(*args)
        return _count(self._statement.get_statusmsg())


class _Unprepared:
    """A statement sent whole each time: behind PgBouncer the next transaction has another server."""

    __slots__ = ("_connection", "_text")

    def __init__(self, connection: Any, text: str) -> None:
        self._connection, self._text = connection, text

    async def fetch(self, *args: object) -> list[Row]:
        return cast("list[Row]", await self._connection.fetch(self._text, *args))

    async def fetchrow(self, *args: object) -> Row | None:
        return cast("Row | None", await self._connection.fetchrow(self._text, *args))

    async def run(self, *args: object) -> int:
        return _count(await self._connection.execute(self._text, *args))


def _count(status: str) -> int:
    """Rows affected, from a command tag such as ``INSERT 0 1``; 0 for tags without a number."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdecimal() else 0


class Link:
    """One connection, its statements, and whether it may be lent again."""

    __slots__ = ("broken", "connection", "is_closed", "prepares", "queries", "statements")

    def __init__(self, connection: Any, *, queries: Mapping[str, Query], prepares: bool) -> None:
        self.connection = connection
        self.is_closed = connection.is_closed
        self.queries = queries
        self.prepares = prepares
        self.statements: dict[str, Statement] = {}
        self.broken = False

    async def prepare(self, name: str) -> Statement:
        """The statement of a named query on this connection, kept from now on. Nothing runs."""
        text = self.queries[name].text
        statement: Statement
        if self.prepares:
            statement = _Prepared(await self.connection.prepare(text))
        else:
            statement = _Unprepared(self.connection, text)
        self.statements[name] = statement
        return statement

    def fail(self, error: BaseException, *, query: str) -> SecretdError:
        """Judge the connection by its error and return ours."""
        self.broken = self.broken or is_poisoned(error)
        return translate(error, query=query)

    async def close(self) -> None:
        """Cancel what runs, say goodbye, and wait for it a moment; never raises."""
        try:
            await self.connection.close(timeout=CLOSE_TIMEOUT)
        except Exception:  # however it ended, it is gone
            self.connection.terminate()


async def connect(address: Address, *, pgbouncer: bool, queries: Mapping[str, Query]) -> Link:
    """A new connection; raises one of DRIVER_ERRORS. PgBouncer refuses settings at the start."""
    options: dict[str, Any] = {"statement_cache_size": 0}
    if not pgbouncer:
        settings = {"application_name": address.application_name, **SETTINGS}
        options = {"server_settings": settings}
    connection = await asyncpg.connect(
        **address.arguments(),
        **options,
        timeout=address.connect_timeout or CONNECT_TIMEOUT,
        command_timeout=COMMAND_TIMEOUT,
        record_class=_Record,
    )
    return Link(connection, queries=queries, prepares=not pgbouncer)
