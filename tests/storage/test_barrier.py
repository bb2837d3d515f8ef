"""The barrier between an operator who seals and work that is under way."""

from __future__ import annotations

import asyncio
from typing import Any

from secretd.crypto.keyring import Keyring
from secretd.sdk.clock import SystemClock
from secretd.storage.barrier import Barrier

_ROOT_KEY = bytes(32)


class _SlowPool:
    """Answers with a keyring, when it is let."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._row = {"value": Keyring.generate(0).wrap(_ROOT_KEY), "version": 1}

    async def fetchrow(self, *_: object) -> dict[str, Any]:
        self.asked.set()
        await self.may_answer.wait()
        return self._row


async def test_sealing_is_not_undone_by_a_reload_under_way() -> None:
    """A keyring that arrives after the seal is dropped: the barrier stays closed."""
    pool: Any = _SlowPool()
    barrier = Barrier(pool, SystemClock())
    await barrier.open(_ROOT_KEY)
    pool.asked.clear()
    pool.may_answer.clear()
    reload = asyncio.create_task(barrier.reload())
    await pool.asked.wait()
    barrier.close()
    pool.may_answer.set()
    await reload
    assert not barrier.is_open
