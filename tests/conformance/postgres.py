"""A PostgreSQL to lease logins on, as the tests of the database engine see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import asyncpg
import hvac

CREATION = (
    "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';"
    'GRANT CONNECT ON DATABASE "@database@" TO "{{name}}";'
)


@dataclass(frozen=True)
class Target:
    """A database and its superuser."""

    host: str
    port: int
    database: str
    username: str
    password: str = field(repr=False)

    @property
    def url(self) -> str:
        """The address with Vault's placeholders."""
        return f"postgresql://{{{{username}}}}:{{{{password}}}}@{self.host}:{self.port}/{self.database}?sslmode=disable"

    @property
    def creation(self) -> list[str]:
        """Statements that make a login, as people write them for Vault."""
        return [CREATION.replace("@database@", self.database)]

    async def query(
        self, sql: str, *values: Any, login: tuple[str, str] | None = None
    ) -> list[asyncpg.Record]:
        """Run a statement as the superuser, or as somebody else."""
        user, password = login or (self.username, self.password)
        connection = await asyncpg.connect(
            host=self.host, port=self.port, database=self.database, user=user, password=password, timeout=10
        )
        try:
            return list(await connection.fetch(sql, *values))
        finally:
            await connection.close()

    async def roles(self, prefix: str = "v-") -> set[str]:
        """Names of the cluster's roles that begin so."""
        rows = await self.query("SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1)", prefix)
        return {row["rolname"] for row in rows}

    def connect(self, api: hvac.Client, mount: str, *, name: str = "pg", **fields: Any) -> None:
        """Write ``config/{name}``."""
        api.secrets.database.configure(
            name,
            "postgresql-database-plugin",
            mount_point=mount,
            connection_url=self.url,
            username=self.username,
            password=self.password,
            **({"allowed_roles": ["*"]} | fields),
        )

    def role(self, api: hvac.Client, mount: str, *, name: str = "app", **fields: Any) -> None:
        """Write ``roles/{name}``."""
        api.secrets.database.create_role(
            name, fields.pop("db_name", "pg"), fields.pop("creation_statements", self.creation),
            mount_point=mount, **fields,
        )  # fmt: skip
