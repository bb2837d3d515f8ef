"""The composition root: it alone names every concrete class and passes them in.

Read from top to bottom it is the picture of the house: storage, barrier, core, engines, pipeline.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from secretd.auth.approle.engine import ENGINE as APPROLE
from secretd.auth.userpass.engine import ENGINE as USERPASS
from secretd.core.audit.keeper import AuditKeeper
from secretd.core.audit.place import DeviceSpec
from secretd.core.caches import Caches
from secretd.core.context import CoreSystem, Plugins
from secretd.core.faults import Faults
from secretd.core.keys import Keys
from secretd.core.leases.issuer import Issuer
from secretd.core.leases.renewer import Bed, Renewer
from secretd.core.leases.revoker import Revoker
from secretd.core.lifecycle import Lifecycle
from secretd.core.metrics import Metrics, mount_type_of
from secretd.core.mounts.model import MountConfig
from secretd.core.mounts.table import MountTable
from secretd.core.parts import About, Parts
from secretd.core.pipeline import Pipeline
from secretd.core.policy.store import PolicyStore
from secretd.core.shelter import Shelter
from secretd.core.tokens.service import TokenService
from secretd.crypto.seal import StaticSeal
from secretd.engines.cubbyhole.engine import ENGINE as CUBBYHOLE
from secretd.engines.database.engine import ENGINE as DATABASE
from secretd.engines.kv.engine import KV1, KV2
from secretd.sdk.clock import Clock
from secretd.sdk.engine import Engine
from secretd.sdk.errors import InvalidRequestError
from secretd.storage.barrier import Barrier
from secretd.storage.leases import Leases
from secretd.storage.pool import Pool, Runner
from secretd.storage.tokens import Tokens
from secretd.system.engines import sealed_rows, sys_engine, token_engine

_SECRET_ENGINES = {"cubbyhole": CUBBYHOLE, "database": DATABASE}
_AUTH_METHODS = {"approle": APPROLE, "userpass": USERPASS}
_KV_NAMES = {"kv", "generic", "kv-v2", "kv-v1"}


@dataclass(slots=True, frozen=True, kw_only=True)
class Settings:
    """What the composition needs to know. Spans are seconds."""

    about: About
    default_ttl: int
    max_ttl: int
    workers: int
    static_seal: StaticSeal | None
    audit_devices: Sequence[DeviceSpec]
    audit_api_folder: str


@dataclass(slots=True, frozen=True)
class Core:
    """A composed core: its parts, and the pipeline in front of them."""

    parts: Parts
    pipeline: Pipeline


@contextlib.asynccontextmanager
async def compose(
    settings: Settings, pool: Pool, *, plugins: Plugins, clock: Clock, faults: Faults
) -> AsyncIterator[Core]:
    """Put a core together on an open, migrated pool; on leaving, what must not be lost is finished."""
    row = await pool.fetchrow("get_installation")
    if row is None:
        raise LookupError("the row of the installation is missing")
    async with Shelter() as shelter:
        below = _Below(settings, pool, clock, plugins, generation=row["lease_generation"])
        parts = _parts(below, faults, shelter)
        below.parts.append(parts)
        _connect(parts)
        yield Core(parts, _pipeline(parts, faults, shelter))
    await parts.audit.close()


class _Below:
    """What the parts of core stand on, in the order in which each needs the one before."""

    def __init__(
        self, settings: Settings, pool: Pool, clock: Clock, plugins: Plugins, *, generation: int
    ) -> None:
        self.settings = settings
        self.pool = pool
        self.clock = clock
        self.parts: list[Parts] = []  # filled once: the engines of sys/ see the parts that route to them
        self.engine_of = _engine_table(lambda: self.parts[0])
        self.barrier = Barrier(pool, clock)
        self.keys = Keys(pool, self.barrier)
        self.tokens = Tokens(pool, self.keys.sign_grant)
        self.leases = Leases(pool, generation)
        self.policies = PolicyStore(pool, self.barrier)
        self.system = CoreSystem(
            pool=pool, leases=self.leases, policies=self.policies, plugins=plugins, clock=clock
        )
        self.mounts = MountTable(
            pool=pool, barrier=self.barrier, leases=self.leases, system=self.system, engine_of=self.engine_of
        )
        self.audit = AuditKeeper(
            pool=pool, barrier=self.barrier, keys=self.keys, clock=clock, node=settings.about.node,
            devices=settings.audit_devices, api_folder=settings.audit_api_folder,
        )  # fmt: skip
        self.caches = Caches(
            pool=pool, barrier=self.barrier, mounts=self.mounts, policies=self.policies, engine_of=self.engine_of,
            reload_audit=self.audit.reload, default_ttl=settings.default_ttl, max_ttl=settings.max_ttl,
        )  # fmt: skip

        self.metrics = Metrics(mount_type_of(self.caches))

    def find_bed(self, mount_id: str, name: str) -> Bed:
        """Where a lease of a mount lives."""
        route, secret_type = self.caches.router.secret_type(mount_id, name)
        return Bed(self.mounts.view(route.mount.id), secret_type)


def _parts(on: _Below, faults: Faults, shelter: Shelter) -> Parts:
    revoker = Revoker(
        leases=on.leases, barrier=on.barrier, system=on.system, faults=faults, find_bed=on.find_bed,
        workers=on.settings.workers, counts=on.metrics,
    )  # fmt: skip
    return Parts(
        about=on.settings.about,
        clock=on.clock,
        pool=on.pool,
        barrier=on.barrier,
        keys=on.keys,
        tokens=on.tokens,
        leases=on.leases,
        policies=on.policies,
        mounts=on.mounts,
        system=on.system,
        lifecycle=Lifecycle(
            pool=on.pool, barrier=on.barrier, keys=on.keys, tokens=on.tokens, static=on.settings.static_seal,
            create_defaults=_defaults(on.policies, on.mounts),
        ),
        caches=on.caches,
        audit=on.audit,
        token_service=TokenService(tokens=on.tokens, leases=on.leases, keys=on.keys, wake=revoker.wake),
        issuer=Issuer(
            leases=on.leases, barrier=on.barrier, system=on.system, faults=faults, shelter=shelter, wake=revoker.wake,
            counts=on.metrics,
        ),
        renewer=Renewer(
            leases=on.leases, barrier=on.barrier, system=on.system, faults=faults, find_bed=on.find_bed
        ),
        revoker=revoker,
        engine_of=on.engine_of,
        metrics=on.metrics,
    )  # fmt: skip


def _pipeline(parts: Parts, faults: Faults, shelter: Shelter) -> Pipeline:
    return Pipeline(
        lifecycle=parts.lifecycle, caches=parts.caches, keys=parts.keys, tokens=parts.tokens,
        policies=parts.policies, mounts=parts.mounts, system=parts.system, issuer=parts.issuer,
        token_service=parts.token_service, audit=parts.audit.tools, shelter=shelter, faults=faults,
        sealed_rows=sealed_rows(lambda: parts),
    )  # fmt: skip


def _connect(parts: Parts) -> None:
    """What follows an opened or a sealed barrier."""

    async def refresh() -> None:
        await parts.caches.refresh()
        parts.revoker.wake()

    parts.lifecycle.when_opened(parts.audit.open)
    parts.lifecycle.when_opened(refresh)
    parts.lifecycle.when_sealed(parts.caches.forget)


def _defaults(policies: PolicyStore, mounts: MountTable) -> Callable[[Runner], Awaitable[None]]:
    async def create(runner: Runner) -> None:
        await policies.create_defaults(runner)
        await mounts.insert(
            runner,
            "system",
            "sys/",
            "system",
            MountConfig(description="system endpoints used for control, policy and debugging"),
        )
        await mounts.insert(
            runner, "auth", "auth/token/", "token", MountConfig(description="token based credentials")
        )
        await mounts.insert(
            runner, "secret", "cubbyhole/", "cubbyhole",
            MountConfig(description="per-token private secret storage", local=True),
        )  # fmt: skip

    return create


def _engine_table(parts: Callable[[], Parts]) -> Callable[[str, str, Mapping[str, str]], Engine]:
    """From a mount's kind, type and options to its engine."""
    made: dict[str, Engine] = {}

    def core_engine(name: str) -> Engine:
        if name not in made:
            made[name] = sys_engine(parts()) if name == "system" else token_engine(parts())
        return made[name]

    def find(kind: str, type_: str, options: Mapping[str, str]) -> Engine:
        if kind == "system" or (kind == "auth" and type_ == "token"):
            return core_engine(type_)
        if kind == "secret" and type_ in _KV_NAMES:
            return KV2 if options.get("version") == "2" or type_ == "kv-v2" else KV1
        engine = (_AUTH_METHODS if kind == "auth" else _SECRET_ENGINES).get(type_)
        if engine is None:
            raise InvalidRequestError(f"plugin not found in the catalog: {type_}")
        return engine

    return find
