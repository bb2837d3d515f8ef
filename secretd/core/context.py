"""What core lends to engines: plugins, passwords, counts, clocks. The ``System`` of the SDK."""

from __future__ import annotations

from typing import Protocol

from secretd.core.policy.store import PolicyStore
from secretd.sdk.clock import Clock
from secretd.sdk.engine import Mount
from secretd.sdk.fields import Sensitive
from secretd.sdk.plugin import DatabasePlugin
from secretd.storage.leases import Leases
from secretd.storage.pool import Pool

_FRESH = 60.0  # seconds


class Plugins(Protocol):
    """Who hands out plugins."""

    def database(self, name: str) -> DatabasePlugin:
        """The plugin of that name, behind its child process."""


class CoreSystem:
    """The one implementation."""

    def __init__(
        self, *, pool: Pool, leases: Leases, policies: PolicyStore, plugins: Plugins, clock: Clock
    ) -> None:
        self._pool = pool
        self._leases = leases
        self._policies = policies
        self._plugins = plugins
        self.clock: Clock = clock
        self._offset = 0.0
        self._measured: float | None = None

    def database_plugin(self, name: str) -> DatabasePlugin:
        return self._plugins.database(name)

    async def storage_clock_offset(self) -> float:
        began = self.clock.monotonic()
        if self._measured is None or began - self._measured > _FRESH:
            row = await self._pool.fetchrow("get_clock")
            if row is not None:
                # Half a round trip is in doubt; a wrong offset costs availability, never safety.
                self._offset = (row["now"] - self.clock.now()).total_seconds()
                self._measured = began
        return self._offset

    async def generate_password(self, policy: str) -> Sensitive:
        return await self._policies.generate_password(policy)

    async def password_bits(self, policy: str) -> float:
        return await self._policies.password_bits(policy)

    async def count_leases(self, mount: Mount, *, target: str = "", role: str = "") -> int:
        return await self._leases.count_of_mount(mount.id, target=target, role=role)
