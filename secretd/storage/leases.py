"""Leases: the rows of the state machine, by the statements of ``sql/queries/leases.sql``.

Every method is one statement. What an unacknowledged one means is said in lease-protocol.md ("what
silence means"); the callers in ``core/leases`` act on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from secretd.storage.again import again_after_conflict
from secretd.storage.pool import Pool, Row
from secretd.storage.view import after_prefix


@dataclass(slots=True, frozen=True, kw_only=True)
class NewLease:
    """A lease about to be written as pending. Spans are seconds."""

    id: str
    fence_key: int
    ttl: int
    max_ttl: int
    issue_window: float
    target_offset: float
    mount_id: str
    token_id: bytes
    role_key: str
    secret_type: str
    path: str
    role: str
    target: str
    account_name: str
    recipe: bytes
    client_address: str


@dataclass(slots=True, frozen=True)
class Claim:
    """A lease whose end we own until the claim's end."""

    id: str
    epoch: int
    fence_key: int
    was_issued: bool
    target_deadline: datetime
    attempts: int
    account_name: str
    recipe: bytes
    mount_id: str
    secret_type: str
    target: str


class Leases:
    """The table of leases. ``generation`` is in every writing statement (rule 22)."""

    def __init__(self, pool: Pool, generation: int) -> None:
        self._pool = pool
        self.generation = generation

    async def insert_pending(self, lease: NewLease) -> tuple[datetime, float] | None:
        """Rules 1-3: (target deadline, ttl after the token's end), or None if a parent is over."""
        row = await self._pool.fetchrow(
            "insert_pending_lease", lease.id, 0, self.generation, lease.fence_key, lease.ttl, lease.max_ttl,
            lease.issue_window, lease.target_offset, lease.mount_id, lease.token_id, lease.role_key,
            lease.secret_type, lease.path, lease.role, lease.target, lease.account_name, lease.recipe,
            lease.client_address,
        )  # fmt: skip
        return None if row is None else (row["target_deadline"], row["ttl"])

    async def activate(self, lease_id: str) -> float | None:
        """Rule 7: the seconds it lives from now, or None if it was not pending in time."""
        row = await self._pool.fetchrow("activate_lease", lease_id, self.generation)
        return None if row is None else float(row["lease_duration"])

    async def find_state(self, lease_id: str) -> Row | None:
        """Rule 8: ``state, attempts, last_error, lease_duration`` of any lease that is stored."""
        return await self._pool.fetchrow("find_lease_state", lease_id)

    async def end(self, lease_id: str, reason: str) -> bool:
        """Rule 13; whether it was pending or active."""
        return await self._pool.execute("end_lease", lease_id, self.generation, reason) > 0

    async def end_prefix(self, prefix: str, reason: str) -> dict[str, int]:
        """Rule 13 for all under a path; earlier failures there are due now, too.

        All that are not over: id → how often its end had failed before this call.
        """
        before = await self._list_range(prefix)
        await self._end_range(prefix, reason)
        await self._hasten_range(prefix)
        return {lease_id: before.get(lease_id, 0) for lease_id in await self._list_range(prefix)}

    async def _list_range(self, prefix: str) -> dict[str, int]:
        rows = await self._pool.fetch(
            "list_open_leases_by_prefix", 0, prefix, after_prefix(prefix), self.generation
        )
        return {row[0]: row[1] for row in rows}

    @again_after_conflict
    async def _end_range(self, prefix: str, reason: str) -> None:
        await self._pool.execute(
            "end_leases_by_prefix", 0, prefix, after_prefix(prefix), self.generation, reason
        )

    @again_after_conflict
    async def _hasten_range(self, prefix: str) -> None:
        await self._pool.execute("hasten_leases_by_prefix", 0, prefix, after_prefix(prefix), self.generation)

    @again_after_conflict
    async def abandon_prefix(self, prefix: str, reason: str) -> list[str]:
        """An operator's force: tombstones. The ids."""
        rows = await self._pool.fetch(
            "abandon_leases_by_prefix", 0, prefix, after_prefix(prefix), self.generation, reason
        )
        return [row[0] for row in rows]

    async def find_to_renew(self, lease_id: str, seconds: int) -> Row | None:
        """Rule 10's read."""
        return await self._pool.fetchrow("find_lease_to_renew", lease_id, 0, seconds)

    async def extend(self, lease_id: str, seconds: int, secured: datetime) -> float | None:
        """Rule 11: seconds it now lives, or None if it is over."""
        row = await self._pool.fetchrow("extend_lease", lease_id, self.generation, seconds, secured)
        return None if row is None else float(row["lease_duration"])

    async def shorten(self, lease_id: str, seconds: int) -> float | None:
        """Rule 12: seconds it now lives, or None if it is over."""
        row = await self._pool.fetchrow("shorten_lease", lease_id, self.generation, seconds)
        return None if row is None else float(row["lease_duration"])

    async def claim_due(self, limit: int, seconds: float) -> list[Claim]:
        """Rules 14 and 15."""
        rows = await self._pool.fetch("claim_due_leases", self.generation, limit, seconds)
        return [
            Claim(
                id=row["id"],
                epoch=row["claim_epoch"],
                fence_key=row["fence_key"],
                was_issued=row["issued_time"] is not None,
                target_deadline=row["target_deadline"],
                attempts=row["attempts"],
                account_name=row["account_name"],
                recipe=row["recipe"],
                mount_id=row["mount_id"],
                secret_type=row["secret_type"],
                target=row["target"],
            )
            for row in rows
        ]

    @again_after_conflict
    async def finish(self, done: Sequence[tuple[Claim, bytes]]) -> set[str]:
        """Rule 20: proved dead, each with its receipt; the ids that were still ours."""
        rows = await self._pool.fetch(
            "finish_leases", [c.id for c, _ in done], [c.epoch for c, _ in done], [r for _, r in done]
        )
        return {row[0] for row in rows}

    @again_after_conflict
    async def fail(self, failed: Sequence[tuple[Claim, str, float]]) -> set[str]:
        """Rule 20: (claim, error class or '' for mere waiting, seconds to wait); the ids still ours."""
        rows = await self._pool.fetch(
            "fail_leases",
            [c.id for c, _, _ in failed],
            [c.epoch for c, _, _ in failed],
            [error for _, error, _ in failed],
            [wait for _, _, wait in failed],
        )
        return {row[0] for row in rows}

    async def list_open(self, lease_ids: Sequence[str]) -> dict[str, int]:
        """Of these, those that are not over: id → failed attempts to end it."""
        rows = await self._pool.fetch("list_open_leases", list(lease_ids))
        return {row[0]: row[1] for row in rows}

    async def find(self, lease_id: str) -> Row | None:
        """One lease that is not over, with the operators' columns."""
        return await self._pool.fetchrow("find_lease", 0, lease_id)

    async def list_names(self, prefix: str) -> list[str]:
        """Names directly under a path."""
        return [row[0] for row in await self._pool.fetch("list_lease_names", 0, prefix, after_prefix(prefix))]

    async def count_by_mount(self, *, irrevocable: bool) -> dict[str, int]:
        """Mount id → leases that are not over, or those whose end failed six times."""
        name = "count_irrevocable_by_mount" if irrevocable else "count_leases_by_mount"
        return {row[0]: row[1] for row in await self._pool.fetch(name, 0)}

    async def list_irrevocable(self, limit: int) -> list[Row]:
        """Leases whose end failed six times or more."""
        return await self._pool.fetch("list_irrevocable_leases", 0, limit)

    async def count_of_mount(self, mount_id: str, *, role: str = "", target: str = "") -> int:
        """Leases of a mount that are not over."""
        row = await self._pool.fetchrow("count_mount_leases", mount_id, role, target)
        return 0 if row is None else int(row[0])

    async def count_by_state(self) -> list[Row]:
        """``state, leases, lateness, failing, unrevoked_age`` for metrics; seconds."""
        return await self._pool.fetch("count_leases_by_state")

    async def delete_old(self, age: float, limit: int) -> int:
        """Forget leases that were revoked long ago."""
        return len(await self._pool.fetch("delete_old_leases", age, limit))
