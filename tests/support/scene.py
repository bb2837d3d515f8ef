"""A real PostgreSQL and the mount that serves it, through the plugin in its own process."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg

from secretd.engines.database.creds import CREDS
from secretd.sdk.request import READ, UPDATE
from secretd.sdk.secret_type import Birth, Plan

if TYPE_CHECKING:
    from datetime import datetime

    from support.mounted import Mounted

PLUGIN = "postgresql-database-plugin"


class Scene:
    """A database with an admin who may only create roles, a group role, and the mount that serves both."""

    def __init__(self, database: Mounted, dsn: str) -> None:
        self.database = database
        self.dsn = dsn
        self.token = secrets.token_hex(4)
        place = urlsplit(dsn)
        self.place = f"{place.hostname}:{place.port}{place.path}"

    async def run(self, *statements: str) -> None:
        """As the superuser."""
        connection = await asyncpg.connect(self.dsn)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def set_up(self, password: str = "right") -> None:
        """Admin, group, connection and role ``r``."""
        admin, group = f"admin-{self.token}", f"group-{self.token}"
        await self.run(
            f"""CREATE ROLE "{group}" NOLOGIN""",
            f"""CREATE ROLE "{admin}" LOGIN CREATEROLE PASSWORD 'right'""",
            f"""GRANT "{group}" TO "{admin}" WITH ADMIN OPTION""",
        )
        url = f"postgresql://{{{{username}}}}:{{{{password}}}}@{self.place}"
        await self.database.ask(
            UPDATE, "config/app", plugin_name=PLUGIN, connection_url=url, username=admin, password=password,
            allowed_roles="*", username_template=f"v-{self.token}-{{{{ random 20 }}}}",
        )  # fmt: skip
        await self.database.ask(UPDATE, "roles/r", db_name="app", group_role=group, default_ttl=60)

    async def tear_down(self) -> None:
        """Roles are cluster-wide."""
        for kind in ("admin", "group"):
            await self.run(f'DROP ROLE IF EXISTS "{kind}-{self.token}"')

    async def plan(self) -> Plan:
        call = self.database.call(READ, "creds/r")
        return await CREDS.prepare(call, self.database.fields(call))

    def birth(self, plan: Plan) -> Birth:
        """A pending lease, as core would have it now."""
        deadline = self.now + timedelta(seconds=10 + plan.target_offset)
        return Birth("here/creds/r/1", plan, secrets.randbits(62), deadline, 60)

    @property
    def now(self) -> datetime:
        return self.database.system.clock.now()

    async def issue(self, birth: Birth) -> dict[str, Any]:
        return await CREDS.issue(self.database.system, self.database.view, birth)

    async def can_log_in(self, data: dict[str, Any]) -> bool:
        try:
            connection = await asyncpg.connect(
                f"postgresql://{data['username']}:{data['password']}@{self.place}"
            )
        except asyncpg.InvalidAuthorizationSpecificationError:
            return False
        await connection.close()
        return True
