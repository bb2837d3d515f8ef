"""The parts of a running core, as ``server/build.py`` puts them together and ``system/`` uses them."""

from __future__ import annotations

from dataclasses import dataclass

from secretd.core.audit.keeper import AuditKeeper
from secretd.core.caches import Caches
from secretd.core.keys import Keys
from secretd.core.leases.issuer import Issuer
from secretd.core.leases.renewer import Renewer
from secretd.core.leases.revoker import Revoker
from secretd.core.lifecycle import Lifecycle
from secretd.core.metrics import Metrics
from secretd.core.mounts.table import MountTable
from secretd.core.policy.store import PolicyStore
from secretd.core.router import EngineOf
from secretd.core.tokens.service import TokenService
from secretd.sdk.clock import Clock
from secretd.sdk.engine import System
from secretd.storage.barrier import Barrier
from secretd.storage.leases import Leases
from secretd.storage.pool import Pool
from secretd.storage.tokens import Tokens


@dataclass(slots=True, frozen=True)
class About:
    """What this daemon says of itself. Spans are seconds."""

    version: str  # an API level that clients gate on, with our own version as build metadata
    build_date: str
    node: str
    api_address: str
    cluster_id: str
    request_deadline: float


@dataclass(slots=True, frozen=True, kw_only=True)
class Parts:
    """Everything that a mount which sees core may touch."""

    about: About
    clock: Clock
    pool: Pool
    barrier: Barrier
    keys: Keys
    tokens: Tokens
    leases: Leases
    policies: PolicyStore
    mounts: MountTable
    system: System
    lifecycle: Lifecycle
    caches: Caches
    audit: AuditKeeper
    token_service: TokenService
    issuer: Issuer
    renewer: Renewer
    revoker: Revoker
    engine_of: EngineOf
    metrics: Metrics

    async def forget_cubbyhole(self, token_id: bytes) -> None:
        """Remove what a token kept for itself alone."""
        route = self.caches.router.by_path("cubbyhole/")
        if route is not None:
            await self.mounts.view(route.mount.id).delete_prefix(token_id.hex() + "/")
