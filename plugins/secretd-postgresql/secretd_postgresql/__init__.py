"""Leased logins on PostgreSQL: the manifest. Everything runs in a child of the daemon."""

from __future__ import annotations

from secretd.sdk.plugin import SDK_VERSION, Plugin
from secretd_postgresql.config import Connection, Role
from secretd_postgresql.database import PostgresDatabase

PLUGIN = Plugin(
    type="postgresql-database-plugin",
    sdk=SDK_VERSION,
    contract="database",
    config=Connection,
    role=Role,
    factory=PostgresDatabase,
)
