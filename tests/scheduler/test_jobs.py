"""The table of jobs, where one row's trouble must not be another's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from secretd.scheduler.jobs import run_timers


class _Pool:
    """Two timers that are due, and what was said of them."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    async def fetch(self, *_: object) -> list[dict[str, Any]]:
        return [
            {"mount_id": "m", "name": name, "claim_epoch": 1, "attempts": 0} for name in ("broken", "sound")
        ]

    async def execute(self, query: str, _mount_id: str, name: str, *_: object) -> int:
        self.said.append((query, name))
        return 1


async def _break(*_: object) -> None:
    raise ValueError


async def _succeed(*_: object) -> None:
    return None


async def test_a_timer_that_breaks_does_not_hold_up_the_others() -> None:
    """A bug in one engine's timed work is its own failure: it backs off, and the others have their turn."""
    timers = (SimpleNamespace(name="broken", run=_break), SimpleNamespace(name="sound", run=_succeed))
    route = SimpleNamespace(engine=SimpleNamespace(timers=timers), mount=None)
    pool = _Pool()
    parts: Any = SimpleNamespace(
        pool=pool,
        system=None,
        caches=SimpleNamespace(router=SimpleNamespace(by_id=lambda _: route)),
        mounts=SimpleNamespace(view=lambda _: None),
    )
    await run_timers(parts)
    assert pool.said == [("fail_timer", "broken"), ("finish_timer", "sound")]
