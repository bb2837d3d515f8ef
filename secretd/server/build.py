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
    installation = await pool.fetchrow("get_installation")
    if installation is None:
        raise LookupError("the row of the installation is missing")
    holder: list[Parts] = []

    def parts() -> Parts:
        return holder[0]

    engine_of = _engine_table(parts)
    barrier = Barrier(pool, clock)
    keys = Keys(pool, barrier)
    tokens = Tokens(pool)
    leases = Leases(pool, installation["lease_generation"])
    policies = PolicyStore(pool, barrier)
    system = CoreSystem(pool=pool, leases=leases, policies=policies, plugins=plugins, clock=clock)
    mounts = MountTable(pool=pool, barrier=barrier, leases=leases, system=system, engine_of=engine_of)
    audit = AuditKeeper(
        pool=pool, barrier=barrier, keys=keys, clock=clock, node=settings.about.node,
        devices=settings.audit_devices, api_folder=settings.audit_api_folder,
    )  # fmt: skip
    caches = Caches(
        pool=pool, barrier=barrier, mounts=mounts, policies=policies, engine_of=engine_of,
        reload_audit=audit.reload, default_ttl=settings.default_ttl, max_ttl=settings.max_ttl,
    )  # fmt: skip

    def find_bed(mount_id: str, name: str) -> Bed:
        route, secret_type = caches.router.secret_type(mount_id, name)
        return Bed(mounts.view(route.mount.id), secret_type)

    revoker = Revoker(
        leases=leases, barrier=barrier, system=system, faults=faults, find_bed=find_bed, workers=settings.workers
    )
    renewer = Renewer(leases=leases, barrier=barrier, system=system, faults=faults, find_bed=find_bed)
    token_service = TokenService(tokens=tokens, leases=leases, keys=keys, wake=revoker.wake)
    lifecycle = Lifecycle(
        pool=pool, barrier=barrier, keys=keys, tokens=tokens, static=settings.static_seal,
        create_defaults=_defaults(policies, mounts),
    )  # fmt: skip
    async with Shelter() as shelter:
        issuer = Issuer(
            leases=leases, barrier=barrier, system=system, shelter=shelter, faults=faults, wake=revoker.wake
        )
        holder.append(
            Parts(
                about=settings.about, clock=clock, pool=pool, barrier=barrier, keys=keys, tokens=tokens,
                leases=leases, policies=policies, mounts=mounts, system=system, lifecycle=lifecycle,
                caches=caches, audit=audit, token_service=token_service, issuer=issuer, renewer=renewer,
                revoker=revoker, engine_of=engine_of,
            )
        )  # fmt: skip
        _connect(lifecycle, audit, caches, revoker)
        pipeline = Pipeline(
            lifecycle=lifecycle, caches=caches, keys=keys, tokens=tokens, policies=policies, mounts=mounts,
            system=system, issuer=issuer, token_service=token_service, audit=audit.tools, shelter=shelter,
            faults=faults, sealed_rows=sealed_rows(parts),
        )  # fmt: skip
        yield Core(parts(), pipeline)
    await audit.close()


def _connect(lifecycle: Lifecycle, audit: AuditKeeper, caches: Caches, revoker: Revoker) -> None:
    """What follows an opened or a sealed barrier."""

    async def refresh() -> None:
        await caches.refresh()
        revoker.wake()

    lifecycle.when_opened(audit.open)
    lifecycle.when_opened(refresh)
    lifecycle.when_sealed(caches.forget)


def _defaults(policies: PolicyStore, mounts: MountTable) -> Callable[[Runner], Awaitable[None]]:
    async def create(runner: Runner) -> None:
        await policies.create_defaults(runner)
        await mounts.insert(
            runner, "system", "sys/", "system", MountConfig(description="system endpoints used for control, policy and debugging")
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
