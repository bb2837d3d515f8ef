"""The crash table: SIGKILL after each numbered step of a credential's life, ten seeds each, under load.

Afterwards a daemon is started as always, and by itself it comes to where the accounts on the target are exactly
those of the live leases: no orphan, no ghost; what was answered is there, what was acknowledged dead is dead.

The issue window is one second in the daemon that dies (``SECRETD_TEST_FULL=1``: its ten), and claims of the dead
are made to end: rule 15 would wait a minute for them.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from crash.load import LONG, SHORT, Memory, client
from secretd.core.faults import STEPS
from support.ageing import let_claims_end
from support.blocking import until_true
from support.daemons import Daemon, connect_target, write_role

IS_FULL = os.environ.get("SECRETD_TEST_FULL") == "1"
WINDOW = 10 if IS_FULL else 1
SEEDS = range(10)
_OVER = """SELECT NOT EXISTS (SELECT FROM leases WHERE state IN ('pending', 'revoking')
  OR state = 'active' AND expire_time < clock_timestamp() + interval '5 minutes')"""


class Round:
    """One life and death of a daemon between a store and a target."""

    def __init__(self, folder: Path, storage: str, target: str, seed: int, step: str) -> None:
        self.chance = random.Random(f"{step}/{seed}")
        self.folder, self.storage, self.target, self.step = folder, storage, target, step
        tag = uuid.uuid4().hex[:6]
        self.roles = {SHORT: f"s{tag}", LONG: f"l{tag}"}
        self.memory = Memory()

    async def live_and_die(self) -> None:
        """Load until the fault."""
        plan = {
            "step": self.step, "nth": self.chance.randint(1, 4), "window": WINDOW,
            "delay": self.chance.choice((0.0, self.chance.random() * 0.05)),
        }  # fmt: skip
        async with Daemon.started(self.folder, self.storage, plan=plan) as daemon:
            await connect_target(daemon, self.target)
            for ttl, name in self.roles.items():
                await write_role(daemon, name, default_ttl=ttl, max_ttl="2h")
            daemon.send(signal.SIGUSR1)
            async with asyncio.TaskGroup() as clients:
                for _ in range(self.chance.randint(1, 4)):
                    clients.create_task(client(daemon, self.memory, self.chance, self.roles))
            assert await daemon.until_dead() == -signal.SIGKILL
            assert f"fault {self.step}" in daemon.log

    async def recover(self, sql: Any) -> None:
        """A daemon as always, until nothing is left to be done."""
        await let_claims_end(sql)
        async with Daemon.started(self.folder, self.storage) as daemon:
            await until_true(sql, _OVER, patience=60 + WINDOW)
            await self.compare(sql)
            await daemon.must("POST", "sys/leases/revoke-prefix/db")
            assert await self.accounts() == set()

    async def compare(self, sql: Any) -> None:
        """Accounts against live leases against what clients were told."""
        rows = await sql.fetch(
            "SELECT id, account_name FROM leases JOIN lease_facts USING (id) WHERE state = 'active'"
        )
        live = {row["id"] for row in rows}
        accounts = await self.accounts()
        assert accounts - {row["account_name"] for row in rows} == set(), "orphans"
        assert {row["account_name"] for row in rows} - accounts == set(), "ghosts"
        assert self.memory.held <= live, "an answered lease is gone"
        assert not self.memory.dead & live, "an acknowledged end was undone"
        assert len(live - self.memory.held - self.memory.unsure) <= self.memory.unheard, (
            "a lease nobody holds"
        )

    async def accounts(self) -> set[str]:
        """This round's logins on the target."""
        connection = await asyncpg.connect(self.target)
        try:
            rows = await connection.fetch(
                "SELECT rolname FROM pg_roles WHERE rolname LIKE ANY ($1::text[])",
                [f"v-%-{name}-%" for name in self.roles.values()],
            )
            return {row[0] for row in rows}
        finally:
            await connection.close()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("step", STEPS)
async def test_accounts_equal_live_leases_after_a_kill(
    step: str, seed: int, folder: Path, stored: str, target_dsn: str
) -> None:
    """Killed after this step, restarted, settled: the target's accounts are those of the live leases."""
    one = Round(folder, stored, target_dsn, seed, step)
    await one.live_and_die()
    sql = await asyncpg.connect(stored)
    try:
        await one.recover(sql)
    finally:
        await sql.close()
