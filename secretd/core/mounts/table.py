"""The table of mounts: enable, tune, move, disable. Every write bumps the generation in its transaction.

Disabling (pains P07): 1. unroutable, and every lease and token under it is due, in one transaction;
2. wait until the leases are over, as long as the caller's deadline allows; 3. remove storage and row. What
the deadline cuts off stays ``disabling`` and the scheduler finishes it.
"""

from __future__ import annotations

import msgspec

from secretd.core.mounts import model
from secretd.core.mounts.model import MountConfig, MountRecord
from secretd.core.router import EngineOf
from secretd.crypto.digest import random_token, random_uuid
from secretd.sdk.engine import System
from secretd.sdk.errors import InvalidRequestError
from secretd.storage.again import again_after_conflict
from secretd.storage.barrier import Barrier
from secretd.storage.leases import Leases
from secretd.storage.pool import Pool, Row, Runner
from secretd.storage.tokens import end_trees
from secretd.storage.view import EntryView


def storage_prefix(mount_id: str) -> str:
    """Where a mount's entries are."""
    return f"mounts/{mount_id}/"


def _record(row: Row) -> MountRecord:
    config = msgspec.json.decode(row["config"], type=MountConfig)
    return MountRecord(
        row["id"], row["kind"], row["path"], row["type"], row["accessor"], row["state"], config
    )


class MountTable:
    """Reads and writes mounts."""

    def __init__(
        self, *, pool: Pool, barrier: Barrier, leases: Leases, system: System, engine_of: EngineOf
    ) -> None:
        self._pool = pool
        self._barrier = barrier
        self._leases = leases
        self._system = system
        self._engine_of = engine_of

    async def load(self) -> list[MountRecord]:
        """Every mount, those being disabled included."""
        return [_record(row) for row in await self._pool.fetch("list_mounts", 0)]

    def view(self, mount_id: str, runner: Runner | None = None) -> EntryView:
        """A mount's storage."""
        return EntryView(runner or self._pool, self._barrier, prefix=storage_prefix(mount_id))

    async def enable(self, kind: model.Kind, path: str, type_: str, config: MountConfig) -> MountRecord:
        """Make a mount. It is usable when this returns; InvalidRequestError if path or type cannot be."""
        async with self._pool.transaction() as runner:
            return await self.insert(runner, kind, path, type_, config)

    async def insert(
        self, runner: Runner, kind: model.Kind, path: str, type_: str, config: MountConfig
    ) -> MountRecord:
        """Make a mount inside a transaction; mounting is serialised by the row of generations."""
        engine = self._engine_of(kind, type_, config.options or {})
        await runner.execute("bump_mounts", 0)
        taken = [row["path"] for row in await runner.fetch("list_mounts", 0)]
        model.require_free(path, taken)
        record = MountRecord(
            random_uuid(), kind, path, type_, random_token(f"{'auth_' if kind == 'auth' else ''}{type_}_", 8),
            "active", msgspec.structs.replace(config, uuid=random_uuid()),
        )  # fmt: skip
        await runner.fetchrow(
            "insert_mount", record.id, 0, kind, path, type_, record.accessor, _json(record.config)
        )
        for timer in engine.timers:
            await runner.execute("insert_timer", record.id, timer.name, timer.interval)
        if engine.started is not None:
            await engine.started(
                self._system, self.view(record.id, runner), record.seen(default_ttl=0, max_ttl=0)
            )
        return record

    async def tune(self, record: MountRecord, config: MountConfig) -> None:
        """Replace a mount's configuration."""
        async with self._pool.transaction() as runner:
            await runner.execute("bump_mounts", 0)
            if not await runner.execute("update_mount_config", record.id, _json(config)):
                raise InvalidRequestError("the mount was disabled meanwhile")

    async def move(self, record: MountRecord, path: str) -> None:
        """Give a mount another path; everything that hangs on its id goes with it."""
        async with self._pool.transaction() as runner:
            await runner.execute("bump_mounts", 0)
            taken = [row["path"] for row in await runner.fetch("list_mounts", 0) if row["id"] != record.id]
            model.require_free(path, taken)
            if not await runner.execute("move_mount", record.id, path):
                raise InvalidRequestError("the mount was disabled meanwhile")

    @again_after_conflict
    async def begin_disabling(self, record: MountRecord) -> list[str]:
        """Step 1; the ids of leases that are now due."""
        async with self._pool.transaction() as runner:
            await runner.execute("bump_mounts", 0)
            await runner.execute("begin_disabling_mount", record.id)
            tokens = [
                row[0] for row in await runner.fetch("end_mount_tokens", record.id, "mount disabled", "")
            ]
            due = await end_trees(
                runner, tokens, generation=self._leases.generation, reason="mount disabled", are_ended=True
            )
            rows = await runner.fetch(
                "end_leases_of_mount", record.id, self._leases.generation, "mount disabled"
            )
            return due + [row[0] for row in rows]

    @again_after_conflict
    async def end_logins(self, mount_id: str, reason: str, *, under: str = "") -> list[str]:
        """End the tokens of an auth mount's logins under a path ("" = all), with their trees; the leases now due."""
        async with self._pool.transaction() as runner:
            tokens = [row[0] for row in await runner.fetch("end_mount_tokens", mount_id, reason, under)]
            generation = self._leases.generation
            return await end_trees(runner, tokens, generation=generation, reason=reason, are_ended=True)

    async def finish_disabling(self, record: MountRecord) -> bool:
        """Step 3, if no lease is left; whether it is done."""
        if await self._leases.count_of_mount(record.id):
            return False
        await self.view(record.id).delete_prefix("")
        async with self._pool.transaction() as runner:
            await runner.execute("bump_mounts", 0)
            await runner.execute("delete_mount", record.id)
        return True

    async def list_disabling(self) -> list[MountRecord]:
        """Mounts whose end was begun and not finished."""
        return [_record(row) for row in await self._pool.fetch("list_disabling_mounts")]


def _json(config: MountConfig) -> str:
    return msgspec.json.encode(config).decode()
