"""APScheduler as a metronome: it keeps time in memory, Postgres keeps what is due.

Its default skips a tick that is a second late; ours is late instead, once. A job that fails is logged by class
and comes again; a tick that finds the last one still at work is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Protocol, Self

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]  # it ships no types

from secretd.core.parts import Parts
from secretd.scheduler.jobs import Job, first_delay
from secretd.sdk.errors import SecretdError

log = structlog.get_logger()


class _Metronome(Protocol):
    """The little of APScheduler that is used here."""

    def add_job(self, function: Any, trigger: str, **options: Any) -> Any: ...
    def start(self) -> None: ...
    def shutdown(self, *, wait: bool) -> None: ...


class Scheduler:
    """Runs a table of jobs. An async context manager; ``ticks`` is the heartbeat: job name → turns done."""

    def __init__(self, parts: Parts, jobs: Sequence[Job]) -> None:
        self._parts = parts
        self._jobs = jobs
        self._metronome: _Metronome = AsyncIOScheduler(timezone="UTC")
        self.ticks: dict[str, int] = {job.name: 0 for job in jobs}

    async def __aenter__(self) -> Self:
        now = self._parts.clock.now()
        for job in self._jobs:
            self._metronome.add_job(
                self._run,
                "interval",
                args=[job],
                id=job.name,
                seconds=job.interval,
                next_run_time=now + timedelta(seconds=first_delay(job)),
                misfire_grace_time=None,
                coalesce=True,
                max_instances=1,
            )
        self._metronome.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._metronome.shutdown(wait=False)

    async def _run(self, job: Job) -> None:
        if not job.while_sealed and not self._parts.lifecycle.is_open:
            return
        try:
            await job.run(self._parts)
        except SecretdError as error:
            log.warning("job.failed", job=job.name, error=error.code)
        except Exception as error:
            log.error("job.broke", job=job.name, error=type(error).__name__)
        self.ticks[job.name] += 1
