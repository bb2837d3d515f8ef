"""An engine's table on real storage: what the pipeline does around an engine, without tokens, HTTP and audit.

``async with desk(dsn, ENGINE) as kv: await kv.write("data/x", {"data": {}})``. Errors of the engine raise.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from secretd.sdk.engine import Mount
from secretd.sdk.errors import UnsupportedOperationError, UnsupportedPathError
from secretd.sdk.request import DELETE, LIST, PATCH, READ, UPDATE, Call, Caller, Operation
from secretd.storage.barrier import Barrier
from secretd.storage.pool import Pool
from secretd.storage.view import EntryView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from secretd.sdk.engine import Engine
    from secretd.sdk.path import Path
    from secretd.sdk.response import Response

START = datetime(2026, 11, 23, 10, 0, 0, tzinfo=UTC)
MONTH = 2764800  # seconds of Vault's default lease
ROOT_KEY = bytes(range(32))


class FakeClock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    def advance(self, seconds: float) -> None:
        self.passed += seconds


@dataclass
class FakeSystem:
    """As much of core as engines without targets need; others derive from it."""

    clock: FakeClock = field(default_factory=FakeClock)


@dataclass
class Desk:
    """An engine at a mount, and one caller before it. ``last`` is the last call, for its warnings."""

    engine: Engine
    view: EntryView
    system: Any
    mount: Mount
    caller: Caller
    last: Call | None = None

    def as_caller(self, **facts: Any) -> Desk:
        """The same mount before another caller."""
        return replace(self, caller=replace(self.caller, **facts))

    async def read(self, path: str, **query: Any) -> Response | None:
        return await self.ask(READ, path, query)

    async def write(self, path: str, body: dict[str, Any] | None = None) -> Response | None:
        return await self.ask(UPDATE, path, body)

    async def patch(self, path: str, body: dict[str, Any] | None = None) -> Response | None:
        return await self.ask(PATCH, path, body)

    async def delete(self, path: str) -> Response | None:
        return await self.ask(DELETE, path, {})

    async def list(self, path: str, *, after: str = "", limit: int = 0) -> Response | None:
        return await self.ask(LIST, path, {}, pages=(after, limit))

    async def exists(self, path: str) -> bool:
        """What an UPDATE row's ``exists`` says of a path."""
        row, holes = self.row(UPDATE, path)
        assert row.exists is not None
        return await row.exists(self._call(UPDATE, path, {}), row.decode({}, holes))

    async def ask(
        self,
        operation: Operation,
        path: str,
        data: dict[str, Any] | None,
        *,
        pages: tuple[str, int] = ("", 0),
    ) -> Response | None:
        """The answer of the first row that fits."""
        row, holes = self.row(operation, path)
        call = self.last = self._call(operation, path, data or {}, pages=pages)
        for name in row.unknown(call.data):
            call.warn(f"unknown field {name}")
        return await row.handler(call, row.decode(call.data, holes))

    def row(self, operation: Operation, path: str) -> tuple[Path, dict[str, str]]:
        """The row of a request; raises as the router does."""
        fits = False
        for row in self.engine.paths:
            holes = row.match(path)
            if holes is not None and row.operation == operation:
                return row, holes
            fits = fits or holes is not None
        raise UnsupportedOperationError if fits else UnsupportedPathError

    def _call(
        self, operation: Operation, path: str, data: dict[str, Any], *, pages: tuple[str, int] = ("", 0)
    ) -> Call:
        return Call(
            request_id="6f1b2f6e-0000-4000-8000-000000000000",
            operation=operation,
            path=path,
            data=data,
            caller=self.caller,
            client_address="127.0.0.1",
            mount=self.mount,
            view=self.view,
            system=self.system,
            list_pages=pages,
        )


@contextlib.asynccontextmanager
async def desk(dsn: str, engine: Engine, *, system: Any = None, **mount: Any) -> AsyncIterator[Desk]:
    """A fresh mount of the engine in a migrated database; ``mount`` replaces fields of its :class:`Mount`."""
    place = Mount(
        id="0c7e1f3a", path=f"{engine.type}/", accessor=f"{engine.type}_0c7e1f3a", type=engine.type,
        default_lease_ttl=MONTH, max_lease_ttl=MONTH,
    )  # fmt: skip
    place = replace(place, **mount)
    system = system or FakeSystem()
    async with Pool.open(dsn) as pool:
        barrier = Barrier(pool, system.clock)
        async with pool.transaction() as transaction:
            await barrier.create(transaction, ROOT_KEY)
        await barrier.open(ROOT_KEY)
        view = EntryView(pool, barrier, prefix=f"mounts/{place.id}/")
        if engine.started is not None:
            await engine.started(system, view, place)
        yield Desk(engine, view, system, place, Caller(display_name="test", token_key="testtokenkey"))
