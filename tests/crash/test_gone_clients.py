"""Clients that hang up: what was made for them is ended, whenever they went."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import asyncpg
import pytest

from support.blocking import until_blocked, until_true
from support.daemons import CREATION, ROOT_TOKEN, Daemon, connect_target, write_role

_OVER = "SELECT count(*) > 0 AND bool_and(state = 'revoked' AND end_reason = 'undelivered') FROM leases"
_ASK = "GET /v1/db/creds/{role} HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {token}\r\n\r\n"


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
async def test_a_client_that_hangs_up_during_create(
    folder: Path, stored: str, target_dsn: str, *, is_reset: bool
) -> None:
    """The client is gone before its login is made: the login is finished, then ended as undelivered."""
    role = f"g{uuid.uuid4().hex[:7]}"
    storage, target, holder = [await asyncpg.connect(dsn) for dsn in (stored, target_dsn, target_dsn)]
    try:
        await holder.execute("SELECT pg_advisory_lock(4712)")
        async with Daemon.started(folder, stored, target_deadline=60) as daemon:
            await connect_target(daemon, target_dsn)
            creation = [CREATION, "SELECT pg_catalog.pg_advisory_xact_lock(4712)"]
            await write_role(daemon, role, default_ttl="1h", creation_statements=creation)
            _, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
            writer.write(_ASK.format(role=role, token=ROOT_TOKEN).encode())
            await writer.drain()
            await until_blocked(target)
            if is_reset:
                writer.transport.abort()
            else:
                writer.close()
            await holder.execute("SELECT pg_advisory_unlock(4712)")
            await until_true(storage, _OVER, patience=60)
            assert not await target.fetchval(
                "SELECT count(*) FROM pg_roles WHERE rolname LIKE $1", f"v-%-{role}-%"
            )
    finally:
        for connection in (storage, target, holder):
            await connection.close()
