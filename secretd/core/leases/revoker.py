"""The one way to die: expiry, a revoke call, a token's end, a deleted mount all make a row due.

1. claim due rows in short transactions; no row lock is held while a target is called (rules 14, 15)
2. hand them to their engine: issued ones of one target in a batch, never-activated ones alone (16, 17)
3. proved dead → finish, with a receipt; else → fail, with a back-off (18-20); silence proves nothing
4. tell those who wait in this process; other daemons read the row
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import structlog

from secretd.core.faults import Faults
from secretd.core.leases import model
from secretd.core.leases.renewer import Bed, FindBed
from secretd.sdk.engine import System
from secretd.sdk.errors import SealedError, SecretdError, TargetError, UnavailableError
from secretd.sdk.secret_type import Doomed, End
from secretd.storage.barrier import Barrier
from secretd.storage.leases import Claim, Leases

log = structlog.get_logger()
CLAIM = 60.0  # seconds; longer than a plugin's deadline for a batch
BATCH = 100
_LOOK_AGAIN = 0.25  # seconds between looks of a sync caller; another daemon may finish its leases


class Revoker:
    """Ends what is due. :meth:`serve` runs for the daemon's life while the barrier is open."""

    def __init__(
        self, *, leases: Leases, barrier: Barrier, system: System, faults: Faults, find_bed: FindBed, workers: int,
        counts: model.Counts,
    ) -> None:  # fmt: skip
        self._leases = leases
        self._barrier = barrier
        self._system = system
        self._faults = faults
        self._find_bed = find_bed
        self._workers = workers
        self._room = asyncio.Semaphore(workers)  # a claim may hold more batches than that
        self._counts = counts
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        self._busy = 0

    def wake(self) -> None:
        """Something is due now."""
        self._wake.set()

    async def serve(self) -> None:
        """Claim and end, for ever. A storage error or a bug delays, it does not stop."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wake.wait()
                self._wake.clear()
                try:
                    await self._drain(group)
                except Exception as error:
                    log.warning("lease.claim_failed", error=_code(error))

    async def _drain(self, group: asyncio.TaskGroup) -> None:
        """Start a task for each batch while workers are free and rows are due."""
        while self._busy < self._workers and self._barrier.is_open:
            room = (self._workers - self._busy) * BATCH
            claims = await self._leases.claim_due(room, CLAIM)  # (1)
            if not claims:
                return
            await self._faults.reach("8.revoke.claimed")
            for bed, batch in await self._sort(claims):
                self._busy += 1
                group.create_task(self._work(bed, batch))
            if len(claims) < room:
                return

    async def run_once(self) -> int:
        """Claim once and wait until what was claimed is done; how many. For tests and for draining."""
        claims = await self._leases.claim_due(BATCH * self._workers, CLAIM)
        async with asyncio.TaskGroup() as group:
            for bed, batch in await self._sort(claims):
                self._busy += 1
                group.create_task(self._work(bed, batch))
        return len(claims)

    async def _sort(self, claims: Sequence[Claim]) -> list[tuple[Bed, list[tuple[Claim, bytes]]]]:
        """Batches of claims with their recipes: what shares a target, in hundreds; never-activated alone."""
        groups: dict[tuple[str, ...], list[tuple[Claim, bytes]]] = defaultdict(list)
        beds: dict[tuple[str, ...], Bed] = {}
        for claim in claims:
            try:
                bed = self._find_bed(claim.mount_id, claim.secret_type)
                recipe = await self._barrier.decrypt_recipe(claim.id, claim.recipe)
                shared = bed.secret_type.batch_key(recipe)
            except Exception as error:  # one row that nobody can read must not keep the others alive
                await self._fail([claim], _code(error))
                continue
            alone = "" if claim.was_issued else claim.id
            key = (claim.mount_id, claim.secret_type, shared, alone)
            beds[key] = bed
            groups[key].append((claim, recipe))
        return [
            (beds[key], members[at : at + BATCH])
            for key, members in groups.items()
            for at in range(0, len(members), BATCH)
        ]

    async def _work(self, bed: Bed, batch: list[tuple[Claim, bytes]]) -> None:
        claimed = asyncio.get_running_loop().time()
        try:
            async with self._room:
                # What waited for long is left: its claim ends, and whoever claims it then has time for it.
                if asyncio.get_running_loop().time() - claimed < CLAIM / 2:
                    await self._end(bed, batch)
        finally:
            self._busy -= 1
            self._wake.set()

    async def _end(self, bed: Bed, batch: list[tuple[Claim, bytes]]) -> None:
        claims = [claim for claim, _ in batch]
        try:
            doomed = tuple(
                Doomed(c.id, c.account_name, recipe, c.fence_key, c.target_deadline, c.was_issued)
                for c, recipe in batch
            )
            async with asyncio.timeout(CLAIM * 0.8):
                ends = await bed.secret_type.revoke(self._system, bed.view, doomed)  # (2)
            await self._faults.reach("9.revoke.removed")
            await self._settle(claims, ends)
        except TimeoutError:
            await self._fail(claims, TargetError.code)
        except SealedError:
            log.info("lease.revoke_interrupted", leases=len(claims))
        except Exception as error:
            await self._fail(claims, _code(error))

    async def _settle(self, claims: Sequence[Claim], ends: Sequence[End]) -> None:
        verdicts = {end.lease_id: end for end in ends}
        done: list[tuple[Claim, bytes]] = []
        failed: list[tuple[Claim, str, float]] = []
        for claim in claims:
            end = verdicts.get(claim.id) or End(claim.id, "error", error="no_verdict")
            if model.is_proved(end, was_issued=claim.was_issued):
                done.append((claim, model.receipt(end, was_issued=claim.was_issued)))
            elif end.outcome in {"busy", "absent"}:
                failed.append((claim, "", model.BUSY_DELAY))
            else:
                failed.append((claim, end.error or end.outcome, model.back_off(claim.attempts)))
        if done:
            self._counts.leases_revoked(len(await self._leases.finish(done)))  # (3)
            await self._faults.reach("10.revoke.finished")
            log.info("lease.revoked", leases=len(done))
        if failed:
            await self._leases.fail(failed)
            self._log_failures(failed)
        self._ended.set()  # (4)
        self._ended = asyncio.Event()

    async def _fail(self, claims: Sequence[Claim], error: str) -> None:
        failed = [(claim, error, model.back_off(claim.attempts)) for claim in claims]
        self._log_failures(failed)
        try:
            await self._leases.fail(failed)
        except Exception as trouble:  # the claims end by themselves, and the rows are due again
            log.warning("lease.fail_failed", error=_code(trouble))
        self._ended.set()
        self._ended = asyncio.Event()

    def _log_failures(self, failed: Sequence[tuple[Claim, str, float]]) -> None:
        errors = [(claim, error) for claim, error, _ in failed if error]
        self._counts.lease_ends_failed(len(errors))
        for claim, error in errors[:5]:
            log.warning(
                "lease.revoke_failed",
                lease_id=claim.id,
                target=claim.target,
                error=error,
                attempts=claim.attempts + 1,
            )

    async def wait_until_over(self, before: Mapping[str, int]) -> None:
        """Return when these rows are over; raise when one failed again (trying goes on). The row decides (rule 20).

        ``before``: id → how often its end had failed when the caller asked for it.
        """
        self.wake()
        while True:
            ended = self._ended
            still_open = await self._leases.list_open(list(before))
            if not still_open:
                return
            if any(attempts > before[lease_id] for lease_id, attempts in still_open.items()):
                raise UnavailableError(
                    f"{len(still_open)} of {len(before)} leases could not be ended yet",
                    hint="secretd goes on trying; see `secretd lease irrevocable` and the target's state",
                )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN):
                    await ended.wait()


def _code(error: Exception) -> str:
    return error.code if isinstance(error, SecretdError) else "internal"
