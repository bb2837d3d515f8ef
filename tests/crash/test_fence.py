"""The three that prove the fence: a CREATE held, a CREATE late, a daemon that stood still before sending.

Each would leave an account without a live lease if "absent" alone were a proof.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from support.ageing import let_claims_end
from support.blocking import until_blocked, until_true
from support.daemons import CREATION, Daemon, GoneError, connect_target, write_role
from support.slow_wire import slow_wire

WINDOW = 3
_STATE = "SELECT bool_and(state = $1) FROM leases"


@contextlib.asynccontextmanager
async def _connection(dsn: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def _accounts(sql: Any, role: str) -> int:
    return int(await sql.fetchval("SELECT count(*) FROM pg_roles WHERE rolname LIKE $1", f"v-%-{role}-%"))


@pytest.fixture
def role() -> str:
    """A role's name that no other test has."""
    return f"f{uuid.uuid4().hex[:7]}"


@pytest.mark.parametrize("is_let_go", [True, False], ids=["committed", "terminated"])
@pytest.mark.parametrize("is_killed", [True, False], ids=["daemon-killed", "token-revoked"])
async def test_a_create_held_uncommitted(
    folder: Path, stored: str, target_dsn: str, role: str, *, is_let_go: bool, is_killed: bool
) -> None:
    """While its CREATE is under way a lease is not "absent": it is over once the CREATE has ended, and its account."""
    async with (
        _connection(stored) as storage,
        _connection(target_dsn) as target,
        _connection(target_dsn) as holder,
    ):
        gate = holder.transaction()
        await gate.start()
        await holder.execute("SELECT pg_advisory_xact_lock(4711)")
        creation = [CREATION, "SELECT pg_catalog.pg_advisory_xact_lock(4711)"]
        async with Daemon.started(folder, stored, plan={"window": WINDOW}, target_deadline=60) as daemon:
            await connect_target(daemon, target_dsn)
            await write_role(daemon, role, default_ttl="1h", creation_statements=creation)
            made = await daemon.must("POST", "auth/token/create", {"policies": ["root"], "ttl": "1h"})
            token = made.body["auth"]["client_token"]
            asking = asyncio.create_task(daemon.ask("GET", f"db/creds/{role}", token=token))
            await until_blocked(target)
            if is_killed:
                daemon.send(signal.SIGKILL)
                await daemon.until_dead()
                with pytest.raises(GoneError):
                    await asking
                if is_let_go:
                    await gate.rollback()
                    await until_true(target, _NOBODY_CREATES)
                    assert await _accounts(target, role) == 1  # an orphan, but for the row
            else:
                await daemon.must("POST", "auth/token/revoke", {"token": token})
                await until_true(storage, "SELECT bool_and(claim_epoch > 0) FROM leases")
                assert await storage.fetchval(_STATE, "revoking")
                if is_let_go:
                    await gate.rollback()
            async with _after(daemon, folder, stored, is_killed=is_killed):
                await until_true(storage, _STATE, "revoked", patience=60)
                assert await _accounts(target, role) == 0
                if not is_let_go:
                    await gate.rollback()  # and nothing comes afterwards: the CREATE is dead
                await until_true(target, _NOBODY_CREATES)
                assert await _accounts(target, role) == 0
                if not is_killed:
                    assert (await asking).status >= 400


_NOBODY_CREATES = """SELECT NOT EXISTS (SELECT FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'secretd' AND state = 'active')"""


@contextlib.asynccontextmanager
async def _after(daemon: Daemon, folder: Path, stored: str, *, is_killed: bool) -> AsyncIterator[Daemon]:
    if not is_killed:
        yield daemon
        return
    async with Daemon.started(folder, stored) as another:
        yield another


async def test_a_create_delivered_late(folder: Path, stored: str, target_dsn: str, role: str) -> None:
    """A CREATE that reaches the target after the lease was proved dead is refused by the target's clock."""
    place = urlsplit(target_dsn)
    async with (
        _connection(stored) as storage,
        _connection(target_dsn) as target,
        slow_wire(place.hostname or "", place.port or 0) as wire,
    ):
        async with Daemon.started(folder, stored, plan={"window": WINDOW}) as daemon:
            await connect_target(daemon, target_dsn, port=wire.port)
            await write_role(daemon, role, default_ttl="1h")
            wire.hold_next = b"CREATE ROLE"
            asking = asyncio.create_task(daemon.ask("GET", f"db/creds/{role}"))
            await asyncio.wait_for(wire.held.wait(), 30)
            daemon.send(signal.SIGKILL)
            await daemon.until_dead()
            with pytest.raises(GoneError):
                await asking
        async with Daemon.started(folder, stored):
            await until_true(storage, _STATE, "revoked", patience=60)
            wire.release.set()
            await asyncio.wait_for(wire.delivered.wait(), 30)
            assert b"22012" in wire.answer
            assert await _accounts(target, role) == 0


async def test_a_create_delivered_in_time_after_an_early_end(
    folder: Path, stored: str, target_dsn: str, role: str
) -> None:
    """The lease is ended while its CREATE is on the wire: absence does not count until the deadline, so it is found."""
    place = urlsplit(target_dsn)
    async with (
        _connection(stored) as storage,
        _connection(target_dsn) as target,
        slow_wire(place.hostname or "", place.port or 0) as wire,
    ):
        async with Daemon.started(folder, stored, plan={"window": 8}) as daemon:
            await connect_target(daemon, target_dsn, port=wire.port)
            await write_role(daemon, role, default_ttl="1h")
            wire.hold_next = b"CREATE ROLE"
            asking = asyncio.create_task(daemon.ask("GET", f"db/creds/{role}"))
            await asyncio.wait_for(wire.held.wait(), 30)
            await daemon.must("POST", "sys/leases/revoke-prefix/db", {"sync": False})
            await until_true(storage, "SELECT bool_and(claim_epoch >= 1) FROM leases")
            assert await storage.fetchval(_STATE, "revoking")
            wire.release.set()
            await asyncio.wait_for(wire.delivered.wait(), 30)
            await until_true(storage, _STATE, "revoked", patience=60)
            assert await _accounts(target, role) == 0
            assert (await asking).status >= 400
        row = await storage.fetchrow("SELECT revoked_time >= target_deadline AS late, attempts FROM leases")
        assert (row["late"], row["attempts"]) == (True, 0)


@pytest.mark.parametrize("step", ["2.inserted", "3.created"])
async def test_a_daemon_that_stood_still(
    folder: Path, stored: str, target_dsn: str, role: str, step: str
) -> None:
    """Stopped before it sends (or after the answer) and resumed past the deadline, a daemon leases nothing."""
    async with _connection(stored) as storage, _connection(target_dsn) as target:
        plan = {"step": step, "signal": signal.SIGSTOP, "window": WINDOW}
        async with Daemon.started(folder, stored, plan=plan) as daemon:
            await connect_target(daemon, target_dsn)
            await write_role(daemon, role, default_ttl="1h")
            await write_role(daemon, "warm", default_ttl="1h")
            await daemon.must("GET", "db/creds/warm")
            await daemon.must("POST", "sys/leases/revoke-prefix/db/creds/warm")
            daemon.send(signal.SIGUSR1)
            asking = asyncio.create_task(daemon.ask("GET", f"db/creds/{role}"))
            await until_true(storage, "SELECT bool_or(state = 'pending') FROM leases")
            async with Daemon.started(folder.with_name("other"), stored) as other:
                await until_true(storage, _STATE, "revoked", patience=60)
                assert await _accounts(target, role) == 0
                daemon.send(signal.SIGCONT)
                answer = await asking
                assert answer.status >= 400
                assert await _accounts(target, role) == 0
                assert await storage.fetchval(_STATE, "revoked")
                await other.must("GET", f"db/creds/{role}")
                assert await _accounts(target, role) == 1
                await other.must("POST", "sys/leases/revoke-prefix/db")


async def test_a_revoker_that_stood_still(folder: Path, stored: str, target_dsn: str, role: str) -> None:
    """A daemon stopped after the target answered its DROP, while another finishes the lease, changes nothing later."""
    async with _connection(stored) as storage, _connection(target_dsn) as target:
        plan = {"step": "9.revoke.removed", "signal": signal.SIGSTOP}
        async with Daemon.started(folder, stored, plan=plan) as daemon:
            await connect_target(daemon, target_dsn)
            await write_role(daemon, role, default_ttl="1h")
            lease_id = (await daemon.must("GET", f"db/creds/{role}")).body["lease_id"]
            daemon.send(signal.SIGUSR1)
            asking = asyncio.create_task(daemon.ask("POST", "sys/leases/revoke", {"lease_id": lease_id}))
            await until_true(
                target, "SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname LIKE $1)", f"v-%-{role}-%"
            )
            await until_true(storage, "SELECT bool_and(claim_epoch = 1) FROM leases")
            await let_claims_end(storage)
            async with Daemon.started(folder.with_name("other"), stored):
                await until_true(storage, _STATE, "revoked", patience=60)
            before = await storage.fetchrow("SELECT * FROM leases")
            daemon.send(signal.SIGCONT)
            assert (await asking).status == 204
            assert await storage.fetchrow("SELECT * FROM leases") == before
