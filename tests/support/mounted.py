"""A :class:`Desk` whose system lends what targets and logins need, and whose answers carry their warnings."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.fields import Sensitive
from secretd.sdk.response import Response
from support.engines import Desk, FakeSystem, desk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from secretd.sdk.engine import Engine, Mount
    from secretd.sdk.plugin import DatabasePlugin
    from secretd.sdk.request import Call, Operation


@dataclass
class LentSystem(FakeSystem):
    """What core would lend; tests set the parts."""

    plugins: dict[str, DatabasePlugin] = field(default_factory=dict)
    policies: dict[str, tuple[str, float]] = field(default_factory=dict)  # a password and its bits
    leases: list[tuple[str, str]] = field(default_factory=list)  # target and role
    offset: float = 0.0

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
    """One mount; :meth:`ask` takes fields as keywords and answers what a client would see."""

    def __init__(self, at: Desk) -> None:
        self.desk = at
        self.view = at.view
        self.system: LentSystem = at.system
        self.mount = at.mount
        self.client_address = "127.0.0.1"

    def call(self, operation: Operation, path: str, **data: Any) -> Call:
        """The call that the pipeline would make, of a caller named ``token-alice``."""
        call = self.desk._call(operation, path, data)
        call.client_address = self.client_address
        return call

    def fields(self, call: Call) -> Any:
        """The call's decoded fields."""
        row, holes = self.desk.row(call.operation, call.path)
        return row.decode(call.data, holes)

    async def ask(self, operation: Operation, path: str, **data: Any) -> Response:
        """The answer with the call's warnings; nothing answered is an empty Response."""
        call = self.call(operation, path, **data)
        row, holes = self.desk.row(operation, path)
        response = await row.handler(call, row.decode(call.data, holes)) or Response()
        response.warnings += call.warnings
        return response

    async def data(self, operation: Operation, path: str, **data: Any) -> dict[str, Any]:
        """The data of the answer, which must have some."""
        response = await self.ask(operation, path, **data)
        assert response.data is not None
        return response.data

    async def exists(self, path: str) -> bool:
        """What the row says to the policies."""
        return await self.desk.exists(path)


@contextlib.asynccontextmanager
async def mounted(engine: Engine, dsn: str) -> AsyncIterator[Mounted]:
    """The engine on a migrated database."""
    async with desk(dsn, engine, system=LentSystem(), path="here/", max_lease_ttl=7200) as at:
        yield Mounted(at.as_caller(display_name="token-alice"))
