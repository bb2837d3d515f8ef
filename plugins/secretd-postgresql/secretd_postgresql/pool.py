"""A few sessions of one target, kept while they are used: at most so many, none idle for long.

Everybody waits for a place, nobody for somebody else's dialling.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from secretd_postgresql.driver import Link, RefusedError, SilentError

IDLE_SECONDS: Final = 60.0
_ROLLBACK_SECONDS: Final = 2.0


class Pool:
    """``size`` sessions at most, ``max_idle`` kept, each for ``lifetime`` seconds (0 = no end)."""

    def __init__(
        self, dial: Callable[[], Awaitable[Link]], *, size: int, max_idle: int, lifetime: float
    ) -> None:
        self._dial = dial
        self._places = asyncio.Semaphore(size)
        self._max_idle = max_idle
        self._lifetime = lifetime
        self._idle: list[tuple[Link, float, float]] = []  # the session, when it was born, since when idle
        self._users = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def is_unused(self) -> bool:
        """Whether nobody holds or waits for a session and none is kept."""
        return not self._users and not self._idle

    @asynccontextmanager
    async def link(self) -> AsyncIterator[Link]:
        """Lend a session that is between transactions; whatever is in doubt afterwards is dropped."""
        self._users += 1
        try:
            async with self._places:
                link, born = self._take_idle() or (await self._dial(), _now())
                try:
                    yield link
                except RefusedError:
                    await self._give_back(link, born)
                    raise
                except BaseException:
                    link.terminate()  # a statement may be under way still
                    raise
                await self._give_back(link, born)
        finally:
            self._users -= 1

    def _take_idle(self) -> tuple[Link, float] | None:
        while self._idle:
            link, born, _ = self._idle.pop()
            if link.is_usable and not self._is_old(born):
                return link, born
            link.terminate()
        return None

    def _is_old(self, born: float) -> bool:
        return bool(self._lifetime) and _now() - born > self._lifetime

    async def _give_back(self, link: Link, born: float) -> None:
        if not link.is_usable:  # closed, or in a transaction that failed
            with contextlib.suppress(RefusedError, SilentError, TimeoutError):
                async with asyncio.timeout(_ROLLBACK_SECONDS):
                    await link.roll_back()
        if not link.is_usable or self._is_closed or self._is_old(born) or len(self._idle) >= self._max_idle:
            link.terminate()
            return
        self._idle.append((link, born, _now()))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        limit = _now() - IDLE_SECONDS
        for link, _, since in self._idle:
            if since <= limit:
                link.terminate()
        self._idle = [entry for entry in self._idle if entry[2] > limit]
        if self._idle:
            self._timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._sweep)

    async def close(self) -> None:
        """End the sessions that are not lent; those that are end when they come back."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        idle, self._idle = self._idle, []
        async with asyncio.TaskGroup() as tasks:
            for link, _, _ in idle:
                tasks.create_task(link.close())


def _now() -> float:
    return asyncio.get_running_loop().time()
