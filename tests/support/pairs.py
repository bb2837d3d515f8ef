"""Cores in this process on one store: asked through the pipeline as listeners ask, with targets that are real."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from secretd.sdk.fields import Sensitive
from secretd.sdk.plugin import Reach
from secretd.sdk.request import DELETE, LIST, READ, UPDATE, Operation, Request
from secretd.sdk.response import Response
from secretd.server.build import Core
from secretd.storage.pool import Pool
from secretd_postgresql.database import PostgresDatabase
from support.daemons import CREATION, ROOT_TOKEN, composed


class InProcess:
    """The PostgreSQL plugin without a child."""

    def __init__(self) -> None:
        self.plugin = PostgresDatabase(
            Reach(deadline=20.0, connect_timeout=10.0, concurrency=4, deny_networks=())
        )

    def database(self, name: str) -> PostgresDatabase:
        return self.plugin


@dataclass
class Asked:
    """A core and how to ask it."""

    core: Core

    async def ask(
        self, operation: Operation, path: str, data: dict[str, Any] | None = None, *, token: str = ROOT_TOKEN
    ) -> Response:
        """One request; errors are raised."""
        return await self.core.pipeline.handle(
            Request(str(uuid.uuid4()), operation, path, data or {}, token=Sensitive(token))
        )

    async def read(self, path: str, *, token: str = ROOT_TOKEN) -> Response:
        return await self.ask(READ, path, token=token)

    async def write(
        self, path: str, data: dict[str, Any] | None = None, *, token: str = ROOT_TOKEN
    ) -> Response:
        return await self.ask(UPDATE, path, data, token=token)

    async def delete(self, path: str, *, token: str = ROOT_TOKEN) -> Response:
        return await self.ask(DELETE, path, token=token)

    async def list(self, path: str, *, token: str = ROOT_TOKEN) -> Response:
        return await self.ask(LIST, path, token=token)

    async def token(self, **wish: Any) -> str:
        """A fresh token."""
        grant = (await self.write("auth/token/create", wish)).auth
        assert grant is not None
        return grant.client_token

    async def connect(self, target: str, *, role: str = "app") -> None:
        """A database mount at ``db/`` with a role."""
        parts = urlsplit(target)
        await self.write("sys/mounts/db", {"type": "database"})
        url = f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{parts.port}{parts.path}"
        await self.write(
            "db/config/pg",
            {
                "plugin_name": "postgresql-database-plugin",
                "allowed_roles": "*",
                "connection_url": url,
                "username": unquote(parts.username or ""),
                "password": unquote(parts.password or ""),
            },
        )
        await self.write(
            f"db/roles/{role}", {"db_name": "pg", "creation_statements": [CREATION], "default_ttl": "1h"}
        )


@contextlib.asynccontextmanager
async def core(dsn: str, *, node: str, audit_folder: str = "") -> AsyncIterator[Asked]:
    """A daemon without listeners and clock: pool, core, revoker."""
    plugins = InProcess()
    async with (
        Pool.open(dsn) as pool,
        composed(pool, node=node, plugins=plugins, audit_folder=audit_folder) as made,
    ):
        await made.parts.lifecycle.open_static()
        revoking = asyncio.create_task(made.parts.revoker.serve())
        try:
            yield Asked(made)
        finally:
            revoking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await revoking
            await plugins.plugin.close()
