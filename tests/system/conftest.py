"""A whole core in this process, on real storage: what the mounts that see core are asked through."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from secretd.core.faults import NoFaults
from secretd.core.parts import About
from secretd.sdk.clock import SystemClock
from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.fields import Sensitive
from secretd.sdk.request import DELETE, LIST, READ, UPDATE, Operation, Request
from secretd.server import build
from secretd.storage.pool import Pool
from support.lender import Lender

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from secretd.sdk.plugin import DatabasePlugin
    from secretd.sdk.response import Response

DAY = 86400
ROOT = "root-of-tests"


class NoPlugins:
    """Has none."""

    def database(self, _name: str) -> DatabasePlugin:
        """Refuse."""
        raise InvalidRequestError("there are no plugins here")


@dataclass
class Client:
    """Asks a core as the listeners do; errors raise."""

    core: build.Core
    token: str = ROOT

    def as_token(self, token: str) -> Client:
        """The same core, asked by another token."""
        return Client(self.core, token)

    async def ask(self, operation: Operation, path: str, /, **data: Any) -> Response:
        """One request."""
        token = Sensitive(self.token) if self.token else None
        request = Request(str(uuid.uuid4()), operation, path, data, token=token, client_address="127.0.0.1")
        return await self.core.pipeline.handle(request)

    async def read(self, path: str, /, **data: Any) -> dict[str, Any]:
        """What a READ answers, in or without an envelope."""
        return _content(await self.ask(READ, path, **data))

    async def write(self, path: str, /, **data: Any) -> dict[str, Any]:
        """What an UPDATE answers."""
        return _content(await self.ask(UPDATE, path, **data))

    async def delete(self, path: str) -> dict[str, Any]:
        """What a DELETE answers."""
        return _content(await self.ask(DELETE, path))

    async def list(self, path: str) -> list[str]:
        """The keys of a LIST; nothing there is no key."""
        keys: list[str] = _content(await self.ask(LIST, path)).get("keys", [])
        return keys

    async def new_token(self, policy: str = "", **wish: Any) -> Client:
        """A client with a fresh token; ``policy`` is the text of what it may do."""
        if policy:
            name = f"p{uuid.uuid4().hex}"
            await self.write(f"sys/policies/acl/{name}", policy=policy)
            wish["policies"] = [name]
        grant = (await self.ask(UPDATE, "auth/token/create", **wish)).auth
        assert grant is not None
        return self.as_token(grant.client_token)

    async def lease(self, path: str) -> str:
        """Lease a credential; its lease's id."""
        lease = (await self.ask(READ, path)).lease
        assert lease is not None
        return lease.id


def _content(response: Response) -> dict[str, Any]:
    return response.body if response.body is not None else response.data or {}


@pytest.fixture
def lender(monkeypatch: pytest.MonkeyPatch) -> Lender:
    """An engine of the catalogue that leases names."""
    made = Lender()
    monkeypatch.setitem(build._SECRET_ENGINES, "lender", made.engine)
    return made


@contextlib.asynccontextmanager
async def _composed(dsn: str, api_folder: str = "") -> AsyncIterator[build.Core]:
    about = About(
        "1.16.3+test", "2026-11-23T00:00:00Z", "node", "http://127.0.0.1:1", str(uuid.uuid4()), 20.0
    )
    settings = build.Settings(
        about=about, default_ttl=32 * DAY, max_ttl=32 * DAY, workers=2, static_seal=None, audit_devices=(),
        audit_api_folder=api_folder,
    )  # fmt: skip
    async with (
        Pool.open(dsn) as pool,
        build.compose(settings, pool, plugins=NoPlugins(), clock=SystemClock(), faults=NoFaults()) as core,
    ):
        revoking = asyncio.create_task(core.parts.revoker.serve())
        try:
            yield core
        finally:
            revoking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await revoking


@pytest.fixture
def compose(storage_dsn: str) -> Callable[..., contextlib.AbstractAsyncContextManager[build.Core]]:
    """``compose()``: one more core on this test's database; it is sealed, or not even initialised."""
    return lambda **options: _composed(storage_dsn, **options)


@pytest.fixture
async def empty(compose: Callable[..., Any]) -> AsyncIterator[Client]:
    """A core whose store is not initialised, asked without a token."""
    async with compose() as core:
        yield Client(core, "")


@pytest.fixture
async def root(compose: Callable[..., Any], tmp_path: Path, lender: Any) -> AsyncIterator[Client]:  # noqa: ARG001 -- it is in the catalogue
    """An open core, asked by root; audit devices may be made below ``tmp_path``."""
    async with compose(api_folder=str(tmp_path)) as core:
        made = await core.parts.lifecycle.initialise(1, 1, root_token=ROOT)
        await core.parts.lifecycle.unseal(made.shares[0])
        yield Client(core)
