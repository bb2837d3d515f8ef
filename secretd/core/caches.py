"""What a daemon keeps in memory of what storage holds, and how it notices that it is stale.

The token read of every request brings the generations along. A number that differs reloads that part
before the request is authorised, so two daemons on one database agree on the next request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from secretd.core.mounts.table import MountTable
from secretd.core.policy.store import PolicyStore
from secretd.core.router import EngineOf, Router
from secretd.sdk.errors import SealedError
from secretd.storage.barrier import Barrier
from secretd.storage.pool import Pool
from secretd.storage.tokens import Generations


class Caches:
    """The router of the present generation, and the generations of everything else."""

    def __init__(
        self,
        *,
        pool: Pool,
        barrier: Barrier,
        mounts: MountTable,
        policies: PolicyStore,
        engine_of: EngineOf,
        reload_audit: Callable[[], Awaitable[None]],
        default_ttl: int,
        max_ttl: int,
    ) -> None:
        self._pool = pool
        self._barrier = barrier
        self._mounts = mounts
        self._policies = policies
        self._engine_of = engine_of
        self._reload_audit = reload_audit
        self.default_ttl = default_ttl
        self.max_ttl = max_ttl
        self._lock = asyncio.Lock()
        self._generations: Generations | None = None
        self._router: Router | None = None

    @property
    def router(self) -> Router:
        """The mounts; SealedError before the first load."""
        if self._router is None:
            raise SealedError
        return self._router

    def forget(self) -> None:
        """Sealed."""
        self._generations = None
        self._router = None
        self._policies.forget()

    async def refresh(self, seen: Generations | None = None) -> Router:
        """Be at least as fresh as what was seen; None = look, and be as fresh as that."""
        if seen is None or seen != self._generations:
            async with self._lock:
                await self._reload()
        return self.router

    async def _reload(self) -> None:
        """Numbers first, then what they number: a change in between is only loaded twice."""
        row = await self._pool.fetchrow("get_generations", 0)
        if row is None:
            raise SealedError
        now, had = Generations(*row), self._generations
        if now == had:
            return
        if had is not None and now.keyring != had.keyring:
            await self._barrier.reload()
        if had is None or now.policies != had.policies:
            self._policies.forget()
        if had is None or now.mounts != had.mounts:
            records = await self._mounts.load()
            self._router = Router(
                records, self._engine_of, default_ttl=self.default_ttl, max_ttl=self.max_ttl
            )
        if had is None or now.audit != had.audit:
            await self._reload_audit()
        if not self._barrier.is_open:  # sealed meanwhile: what was forgotten stays so
            self.forget()
            raise SealedError
        self._generations = now
