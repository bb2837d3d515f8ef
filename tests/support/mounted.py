"""An engine mounted on real storage, without the pipeline: for tests of the logic of engines and logins."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

from secretd.sdk.clock import SystemClock
from secretd.sdk.engine import Engine, Mount
from secretd.sdk.errors import InvalidRequestError, UnsupportedPathError
from secretd.sdk.fields import Sensitive
from secretd.sdk.plugin import DatabasePlugin
from secretd.sdk.request import Call, Caller, Operation
from secretd.sdk.response import Response
from secretd.storage.barrier import Barrier
from secretd.storage.pool import Pool
from secretd.storage.view import EntryView

MOUNT = Mount("mount-1", "here/", "here_1", "here", 3600, 7200)


class AgedClock(SystemClock):
    """This machine's clock, put forward by :attr:`ahead` seconds."""

    ahead = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead)


class LentSystem:
    """What core would lend; tests set the parts."""

    def __init__(self) -> None:
        self.clock = AgedClock()
        self.plugins: dict[str, DatabasePlugin] = {}
        self.policies: dict[str, tuple[str, float]] = {}  # a password and its bits
        self.leases: list[tuple[str, str]] = []  # target and role
        self.offset = 0.0

    def database_plugin(self, name: str) -> DatabasePlugin:
        if name not in self.plugins:
            raise InvalidRequestError("plugin not found")
        return self.plugins[name]

    async def storage_clock_offset(self) -> float:
        return self.offset

    async def generate_password(self, policy: str) -> Sensitive:
        await self.password_bits(policy)
        return Sensitive(self.policies[policy][0])

    async def password_bits(self, policy: str) -> float:
        if policy not in self.policies:
            raise InvalidRequestError("there is no such password policy")
        return self.policies[policy][1]

    async def count_leases(self, mount: Mount, *, target: str = "", role: str = "") -> int:
        return sum(target in {"", t} and role in {"", r} for t, r in self.leases)


class Mounted:
    """One mount; :meth:`ask` runs the row of its table that matches."""

    def __init__(self, engine: Engine, view: EntryView) -> None:
        self.engine = engine
        self.view = view
        self.system = LentSystem()
        self.mount = MOUNT

    def call(self, operation: Operation, path: str, **data: Any) -> Call:
        """The call that the pipeline would make, of the user ``token-alice``."""
        return Call(
            "request-1", operation, path, data, Caller(display_name="token-alice"), "127.0.0.1",
            self.mount, self.view, self.system,
        )  # fmt: skip

    def row(self, call: Call) -> tuple[Any, Any]:
        """The row and its decoded fields."""
        for row in self.engine.paths:
            holes = row.match(call.path) if row.operation == call.operation else None
            if holes is not None:
                return row, row.decode(call.data, holes)
        raise UnsupportedPathError

    async def ask(self, operation: Operation, path: str, **data: Any) -> Response:
        """The answer, with the call's warnings; nothing answered is an empty Response."""
        call = self.call(operation, path, **data)
        row, fields = self.row(call)
        response = await row.handler(call, fields) or Response()
        response.warnings += call.warnings
        return response

    async def exists(self, operation: Operation, path: str) -> bool:
        """What the row says to the policies."""
        call = self.call(operation, path)
        row, fields = self.row(call)
        return await row.exists(call, fields)


@contextlib.asynccontextmanager
async def mounted(engine: Engine, dsn: str) -> AsyncIterator[Mounted]:
    """The engine on a migrated database, behind an open barrier."""
    async with Pool.open(dsn, size=4) as pool:
        barrier = Barrier(pool, SystemClock())
        root_key = bytes(32)
        async with pool.transaction() as transaction:
            await barrier.create(transaction, root_key)
        await barrier.open(root_key)
        mount = Mounted(engine, EntryView(pool, barrier, prefix="logical/mount-1/"))
        if engine.started is not None:
            await engine.started(mount.system, mount.view, mount.mount)
        yield mount
