"""A target as it is in practice: PostgreSQL 15, 17 and 18, and an admin with CREATEROLE, no superuser."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest

from secretd.core.plugins.catalog import PluginCatalog
from secretd.core.plugins.supervisor import PluginSupervisor
from secretd.sdk.fields import Sensitive
from secretd.sdk.plugin import DatabasePlugin, NewUser, Recipe
from secretd.sdk.testing import DatabaseCase, Session
from support.clusters import MAJORS, Cluster


class PostgresSession(Session):
    """A login on the target."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def works(self) -> bool:
        try:
            return bool(await self.connection.fetchval("SELECT 1"))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
            return False


class PostgresCase(DatabaseCase):
    """One fresh database, one admin, one group role; all named after this case."""

    gate = 4711  # an advisory lock in the way of a CREATE

    def __init__(self, plugin: DatabasePlugin, cluster: Cluster, super_dsn: str) -> None:
        self.plugin = plugin
        self.cluster = cluster
        self.super_dsn = super_dsn
        token = secrets.token_hex(4)
        self.prefix = f"v-{token}-"
        self.admin, self.group = f"admin-{token}", f"group-{token}"
        self.password = secrets.token_urlsafe(12)
        self.recipe = Recipe(group_role=self.group)
        place = urlsplit(super_dsn)
        self.host, self.port, self.database = place.hostname or "", place.port or 0, place.path.lstrip("/")

    @property
    def url(self) -> str:
        return f"postgresql://{{{{username}}}}:{{{{password}}}}@{self.host}:{self.port}/{self.database}"

    async def open(self) -> None:
        """Make the admin and the group as an operator would."""
        async with self.superuser() as connection:
            await connection.execute(
                f"""CREATE ROLE "{self.admin}" LOGIN CREATEROLE PASSWORD '{self.password}';
                CREATE ROLE "{self.group}" NOLOGIN;
                GRANT "{self.group}" TO "{self.admin}" WITH ADMIN OPTION;
                CREATE SCHEMA app; GRANT USAGE, CREATE ON SCHEMA app TO "{self.group}";"""
            )
        self.config = await self.describe()

    async def describe(self, **changes: Any) -> dict[str, Any]:
        """The stored configuration of this target, with some fields changed."""
        fields = {"connection_url": self.url, "username": self.admin, "password": self.password}
        return (await self.plugin.describe(fields | changes)).config

    @asynccontextmanager
    async def superuser(self, database: str = "") -> AsyncIterator[Any]:
        """A session that may do anything."""
        dsn = self.super_dsn if not database else self.cluster.dsn(database)
        connection = await asyncpg.connect(dsn)
        try:
            yield connection
        finally:
            await connection.close()

    async def login(self, name: str, password: Sensitive, database: str = "") -> Any:
        """A session of an account."""
        return await asyncpg.connect(
            host=self.host, port=self.port, user=name, password=password.reveal(),
            database=database or self.database,
        )  # fmt: skip

    async def list_accounts(self) -> set[str]:
        async with self.superuser() as connection:
            rows = await connection.fetch(
                "SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1)", self.prefix
            )
        return {row["rolname"] for row in rows}

    @asynccontextmanager
    async def holding(self, user: NewUser) -> AsyncIterator[None]:
        """The plugin's own CREATE, stopped after it has created and before it commits."""
        recipe = Recipe(
            creation=(
                """CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'""",
                f"SELECT pg_advisory_xact_lock({self.gate})",
            )
        )
        async with self.superuser() as gate, asyncio.TaskGroup() as tasks:
            await gate.execute(f"SELECT pg_advisory_lock({self.gate})")
            held = msgspec.structs.replace(user, recipe=recipe)
            tasks.create_task(self.plugin.create_user(self.config, held))
            await self.wait_for(
                gate, f"SELECT count(*) = 1 FROM pg_locks WHERE objid = {self.gate} AND NOT granted"
            )
            yield
            await gate.execute(f"SELECT pg_advisory_unlock({self.gate})")

    async def wait_for(self, connection: Any, question: str, *args: Any) -> None:
        """Ask until the target says yes."""
        async with asyncio.timeout(10):
            while not await connection.fetchval(question, *args):
                await asyncio.sleep(0)

    async def spoil(self, name: str) -> None:
        """A table of its own in a database that nobody can connect to."""
        spoilt = f"spoilt-{self.prefix}"
        async with self.superuser() as connection:
            await connection.execute(f'CREATE DATABASE "{spoilt}"')
            async with self.superuser(spoilt) as inside:
                await inside.execute(f'CREATE TABLE t (); ALTER TABLE t OWNER TO "{name}"')
            await connection.execute(f'ALTER DATABASE "{spoilt}" ALLOW_CONNECTIONS false')

    @asynccontextmanager
    async def session(self, name: str, password: Sensitive) -> AsyncIterator[PostgresSession]:
        connection = await self.login(name, password)
        try:
            yield PostgresSession(connection)
        finally:
            connection.terminate()

    async def said(self) -> str:
        async with self.superuser() as connection:
            folder = Path(await connection.fetchval("SHOW data_directory"))
        return "".join(path.read_text(errors="replace") for path in folder.parent.glob("*.log"))

    async def close(self) -> None:
        """Remove every role of this case; its database is dropped by the fixture."""
        async with self.superuser("postgres") as connection:
            await connection.execute(f'DROP DATABASE IF EXISTS "spoilt-{self.prefix}" WITH (FORCE)')
            await connection.execute(f'DROP DATABASE IF EXISTS "{self.database}" WITH (FORCE)')
            names = [self.admin, self.group, *await self.list_left(connection)]
            for name in names:
                await connection.execute(f'DROP OWNED BY "{name}"')
            await connection.execute("DROP ROLE " + ", ".join(f'"{name}"' for name in reversed(names)))

    async def list_left(self, connection: Any) -> list[str]:
        rows = await connection.fetch(
            "SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1)", self.prefix
        )
        return [row["rolname"] for row in rows]


@pytest.fixture
async def supervisor() -> AsyncIterator[PluginSupervisor]:
    """The real way to the plugin: a child of its own."""
    async with PluginSupervisor(PluginCatalog(allow=["secretd-postgresql==0.1.*"])) as running:
        yield running


@pytest.fixture(params=MAJORS, ids=lambda major: f"pg{major}")
async def case(
    request: pytest.FixtureRequest, pg_cluster: Callable[[int], Cluster], supervisor: PluginSupervisor
) -> AsyncIterator[PostgresCase]:
    """The plugin on each supported major version."""
    cluster = pg_cluster(request.param)
    async with cluster.database() as dsn:
        made = PostgresCase(supervisor.database("postgresql-database-plugin"), cluster, dsn)
        await made.open()
        try:
            yield made
        finally:
            await made.close()
