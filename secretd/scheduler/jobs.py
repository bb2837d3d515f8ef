"""What is done by the clock: a table. Each job asks Postgres what is due; none remembers anything.

An interval is in seconds; jitter keeps daemons that started together apart.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from secretd.core.leases.model import back_off
from secretd.core.parts import Parts
from secretd.sdk.engine import Engine, Timer
from secretd.sdk.errors import NoHandlerError, SecretdError

log = structlog.get_logger()
_BATCH = 500
_KEEP = 24 * 3600.0  # seconds that ended leases and tokens are kept
_SILENT = 3600.0  # seconds after which a daemon is forgotten


@dataclass(slots=True, frozen=True)
class Job:
    """One row of the table. ``while_sealed``: runs without keys, too."""

    name: str
    interval: float
    jitter: float
    run: Callable[[Parts], Awaitable[None]]
    while_sealed: bool = False


async def open_barrier(parts: Parts) -> None:
    """A static seal opens a store that somebody else initialised, or that was out of reach at start."""
    await parts.lifecycle.open_static()


async def beat(parts: Parts) -> None:
    """Say that we live, and how far the audit chains have come."""
    about = parts.about
    await parts.pool.execute("beat_node", about.node, about.api_address, about.version)
    if parts.lifecycle.is_open:
        await parts.audit.save_heads()


async def revoke_due(parts: Parts) -> None:
    """Let the revoker look for due leases, with mounts as fresh as the leases."""
    await parts.caches.refresh()
    parts.revoker.wake()


async def end_expired_tokens(parts: Parts) -> None:
    """End the trees of tokens whose time is over."""
    while True:
        ended, due = await parts.tokens.end_expired(_BATCH, generation=parts.leases.generation)
        if due:
            parts.revoker.wake()
        if ended < _BATCH:
            return


async def run_timers(parts: Parts) -> None:
    """Timed work of mounts that is due."""
    for row in await parts.pool.fetch("claim_due_timers", 20):
        name, epoch = row["name"], row["claim_epoch"]
        try:
            route = parts.caches.router.by_id(row["mount_id"])
            await _timer(route.engine, name).run(
                parts.system, parts.mounts.view(row["mount_id"]), route.mount
            )
        except Exception as error:  # a bug in one engine must not keep the others from their turn
            code = error.code if isinstance(error, SecretdError) else type(error).__name__
            log.warning("timer.failed", timer=name, error=code)
            wait = back_off(row["attempts"])
            await parts.pool.execute("fail_timer", row["mount_id"], name, epoch, code, wait)
        else:
            await parts.pool.execute("finish_timer", row["mount_id"], name, epoch)


def _timer(engine: Engine, name: str) -> Timer:
    for timer in engine.timers:
        if timer.name == name:
            return timer
    raise NoHandlerError


async def finish_mounts(parts: Parts) -> None:
    """Remove mounts whose end was begun, once their leases are over."""
    for record in await parts.mounts.list_disabling():
        if await parts.mounts.finish_disabling(record):
            log.info("mount.disabled", path=record.path)


async def forget_the_ended(parts: Parts) -> None:
    """Remove rows of what ended long ago, in small batches."""
    await parts.leases.delete_old(_KEEP, _BATCH)
    for token_id in await parts.tokens.delete_ended(_KEEP, _BATCH):
        await parts.forget_cubbyhole(token_id)
    await parts.pool.execute("delete_dead_nodes", _SILENT)


async def count_encryptions(parts: Parts) -> None:
    """Save how often the term has encrypted; it rotates itself long before its limit."""
    await parts.barrier.save_count()


JOBS = (
    Job("open_barrier", 1.0, 0.1, open_barrier, while_sealed=True),
    Job("beat", 1.0, 0.1, beat, while_sealed=True),
    Job("revoke_due", 0.5, 0.1, revoke_due),
    Job("end_expired_tokens", 1.0, 0.2, end_expired_tokens),
    Job("run_timers", 5.0, 1.0, run_timers),
    Job("finish_mounts", 2.0, 0.5, finish_mounts),
    Job("forget_the_ended", 60.0, 20.0, forget_the_ended),
    Job("count_encryptions", 60.0, 20.0, count_encryptions),
)


def first_delay(job: Job) -> float:
    """Seconds until a job's first turn: somewhere within its jitter."""
    return secrets.randbelow(1000) / 1000 * job.jitter
