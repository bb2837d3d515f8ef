"""The lives of leases on real storage, before a double of a target.

The double keeps the target's promises (a row without ``issued_time`` is proved only past its deadline) unless a
test tells it what to answer. ``silence`` makes storage do a statement, or not, and say nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

import asyncpg
import msgspec

from secretd.core.faults import NoFaults
from secretd.core.leases import model
from secretd.core.leases.issuer import Issuer
from secretd.core.leases.renewer import Bed, Renewer
from secretd.core.leases.revoker import Revoker
from secretd.core.metrics import Metrics
from secretd.core.shelter import Shelter
from secretd.sdk.clock import SystemClock
from secretd.sdk.engine import Mount
from secretd.sdk.errors import StorageUnavailableError
from secretd.sdk.request import READ, Call, Caller
from secretd.sdk.response import Response
from secretd.sdk.secret_type import Birth, Doomed, End, Plan, Renewal, SecretType
from secretd.storage.barrier import Barrier
from secretd.storage.leases import Leases, NewLease
from secretd.storage.pool import Pool
from secretd.storage.tokens import NewToken, TokenRow, Tokens
from secretd.storage.view import EntryView

ROOT_KEY = bytes(range(32))
MOUNT_ID = "7d1f0c52"
ROLE = "roles/app"


class Recipe(msgspec.Struct):
    """What the double freezes."""

    target: str = "one"


@dataclass
class Ward:
    """A target: its accounts, each with its VALID UNTIL, and what was asked of it."""

    now: Callable[[], Awaitable[datetime]]
    accounts: dict[str, datetime] = field(default_factory=dict)
    batches: list[list[str]] = field(default_factory=list)
    ttl: int = 600
    max_ttl: int = 3600
    names: int = 0
    before_create: Callable[[], Awaitable[None]] | None = None
    after_create: Callable[[], Awaitable[None]] | None = None
    before_renew: Callable[[], Awaitable[None]] | None = None
    before_revoke: Callable[[], Awaitable[None]] | None = None
    secured: datetime | None = None  # what renew answers, if not what it was asked for
    verdicts: dict[str, str] = field(default_factory=dict)  # account → busy, present, error, missing, liar
    tells_past: bool | None = None
    targets: dict[str, str] = field(default_factory=dict)

    async def prepare(self, call: Call, fields: Any) -> Plan:
        self.names += 1
        name = f"v-{self.names}"
        return Plan(
            account_name=name, ttl=self.ttl, max_ttl=self.max_ttl, recipe=Recipe(self.targets.get(name, "one")),
            role="app", role_key=ROLE, target="one",
        )  # fmt: skip

    async def issue(self, system: Any, view: Any, birth: Birth) -> dict[str, Any]:
        await _run(self.before_create)
        self.accounts[birth.plan.account_name] = birth.target_deadline + timedelta(seconds=birth.ttl + 60)
        await _run(self.after_create)
        return {"username": birth.plan.account_name}

    async def renew(self, system: Any, view: Any, renewal: Renewal) -> datetime:
        await _run(self.before_renew)
        return self.secured or renewal.until

    async def revoke(self, system: Any, view: Any, doomed: tuple[Doomed, ...]) -> list[End]:
        self.batches.append([one.account_name for one in doomed])
        await _run(self.before_revoke)
        return [end for one in doomed if (end := await self._end(one)) is not None]

    async def _end(self, one: Doomed) -> End | None:
        wanted = self.verdicts.get(one.account_name, "")
        if wanted == "missing":
            return None
        if wanted in {"busy", "present", "error"}:
            return End(one.lease_id, wanted, error="target_down" if wanted == "error" else "")  # type: ignore[arg-type]
        if wanted != "liar":
            self.accounts.pop(one.account_name, None)
        past = await self.now() >= one.target_deadline if self.tells_past is None else self.tells_past
        return End(one.lease_id, "absent", past=past, sessions_ended=1)


async def _run(hook: Callable[[], Awaitable[None]] | None) -> None:
    if hook is not None:
        await hook()


class MuteLeases(Leases):
    """Leases whose storage may fall silent: before a statement ran, or after."""

    def __init__(self, pool: Pool, generation: int) -> None:
        super().__init__(pool, generation)
        self.planned: dict[str, deque[str]] = {}
        self.asked: list[str] = []

    def silence(self, method: str, *plan: str) -> None:
        """The next calls: ``lost`` = it never ran, ``mute`` = it ran, ``ok`` = answered."""
        self.planned[method] = deque(plan)

    async def _run(self, method: str, *args: Any) -> Any:
        self.asked.append(method)
        plan = self.planned.get(method)
        step = plan.popleft() if plan else "ok"
        if step == "lost":
            raise StorageUnavailableError
        answer = await getattr(super(), method)(*args)
        if step == "mute":
            raise StorageUnavailableError
        return answer

    async def insert_pending(self, lease: Any) -> Any:
        return await self._run("insert_pending", lease)

    async def activate(self, lease_id: str) -> Any:
        return await self._run("activate", lease_id)

    async def find_state(self, lease_id: str) -> Any:
        return await self._run("find_state", lease_id)

    async def end(self, lease_id: str, reason: str) -> Any:
        return await self._run("end", lease_id, reason)

    async def extend(self, lease_id: str, seconds: int, secured: datetime) -> Any:
        return await self._run("extend", lease_id, seconds, secured)

    async def claim_due(self, limit: int, seconds: float) -> Any:
        return await self._run("claim_due", limit, seconds)

    async def finish(self, done: Any) -> Any:
        return await self._run("finish", done)

    async def fail(self, failed: Any) -> Any:
        return await self._run("fail", failed)


@dataclass
class Nursery:
    """Everything that a lease's life needs, and a connection of the test's own to look and to interfere."""

    pool: Pool
    leases: MuteLeases
    tokens: Tokens
    barrier: Barrier
    ward: Ward
    shelter: Shelter
    issuer: Issuer
    renewer: Renewer
    revoker: Revoker
    mount: Mount
    view: EntryView
    secret_type: SecretType
    sql: Any
    dsn: str
    token: TokenRow
    wakes: list[int]

    async def issue(self, token: TokenRow | None = None) -> Response:
        """Lease one for the holder of a token."""
        return await self.issuer.issue(self._call(), token or self.token, self.secret_type, None)

    def _call(self) -> Call:
        return Call(
            request_id="r", operation=READ, path="creds/app", data={}, caller=Caller(), client_address="127.0.0.1",
            mount=self.mount, view=self.view, system=None,  # type: ignore[arg-type]  # the double needs none
        )  # fmt: skip

    async def new_row(self) -> NewLease:
        """A row about to be written, as the issuer makes it."""
        call = self._call()
        plan = await self.ward.prepare(call, None)
        lease_id = model.new_lease_id("db/creds/app")
        return self.issuer._row(
            call, self.token, self.secret_type, plan, lease_id=lease_id, ttl=plan.ttl, max_ttl=plan.max_ttl
        )

    async def pending(self) -> str:
        """The id of a lease whose issuer died after CREATE: pending, and the account is there."""
        new = await self.new_row()
        inserted = await self.leases.insert_pending(new)
        assert inserted is not None
        self.ward.accounts[new.account_name] = inserted[0]
        return new.id

    async def lease(self) -> str:
        """The id of a fresh active lease."""
        grant = (await self.issue()).lease
        assert grant is not None
        return grant.id

    async def row(self, lease_id: str | None = None) -> Any:
        """A lease's row with its facts; without an id, the only one there is."""
        rows = await self.sql.fetch(
            "SELECT l.*, f.account_name, clock_timestamp() AS now FROM leases l JOIN lease_facts f USING (id) "
            "WHERE $1::text IS NULL OR id = $1", lease_id,
        )  # fmt: skip
        assert len(rows) == 1, [row["id"] for row in rows]
        return rows[0]

    async def states(self) -> dict[str, str]:
        """Account → state of its lease."""
        rows = await self.sql.fetch("SELECT account_name, state FROM leases JOIN lease_facts USING (id)")
        return {row[0]: row[1] for row in rows}

    async def turn(self) -> None:
        """One turn of the revoker: everything that is due now is claimed, asked for, and settled."""
        try:
            async with asyncio.TaskGroup() as group:
                await self.revoker._drain(group)
        except ExceptionGroup as troubles:
            raise troubles.exceptions[0] from None

    async def child(self, parent: TokenRow, name: str, *, ttl: int = 3600) -> TokenRow | None:
        """A token under another; None if the parent is over."""
        new = NewToken(
            id=name.encode().ljust(32, b"_"), accessor=name, display_name=name, path="auth/token/create",
            policies=("default",), ttl=ttl, max_ttl=ttl,
        )  # fmt: skip
        if await self.tokens.insert_child(new, parent_id=parent.id, orphan=False) is None:
            return None
        return await self.tokens.find(new.id)

    async def end_token(self, token: TokenRow) -> list[str]:
        """End a token's tree."""
        return await self.tokens.end([token.id], generation=self.leases.generation, reason="token revoked")


@contextlib.asynccontextmanager
async def nursery(dsn: str, *, generation: int = 1, is_first: bool = True) -> AsyncIterator[Nursery]:
    """Open one on a migrated database; ``is_first`` fills it (a second daemon finds it filled)."""
    sql = await asyncpg.connect(dsn)
    try:
        async with Pool.open(dsn, size=20) as pool:
            barrier = Barrier(pool, SystemClock())
            mount = Mount(
                id=MOUNT_ID,
                path="db/",
                accessor="a",
                type="double",
                default_lease_ttl=600,
                max_lease_ttl=7200,
            )
            if is_first:
                await _fill(pool, barrier, mount)
            await barrier.open(ROOT_KEY)
            view = EntryView(pool, barrier, prefix=f"mounts/{MOUNT_ID}/")
            if is_first:
                await view.put(ROLE, b"role")
            async with Shelter() as shelter:
                yield await _put_together(pool, barrier, mount, view, sql, dsn, generation, shelter)
    finally:
        await sql.close()


async def _fill(pool: Pool, barrier: Barrier, mount: Mount) -> None:
    async with pool.transaction() as runner:
        await barrier.create(runner, ROOT_KEY)
        await runner.fetchrow("insert_mount", mount.id, 0, "secret", mount.path, mount.type, "a", "{}")
        await runner.execute("insert_root_token", b"root" * 8, 0, "root", 0, b"")


async def _put_together(
    pool: Pool, barrier: Barrier, mount: Mount, view: EntryView, sql: Any, dsn: str, generation: int,
    shelter: Shelter,
) -> Nursery:  # fmt: skip
    async def now() -> datetime:
        row = await pool.fetchrow("get_clock")
        assert row is not None
        return cast("datetime", row["now"])

    ward, leases, tokens = Ward(now), MuteLeases(pool, generation), Tokens(pool, lambda told: b"")
    secret_type = SecretType(
        "creds", fields=msgspec.Struct, prepare=ward.prepare, issue=ward.issue, renew=ward.renew, revoke=ward.revoke,
        batch_key=lambda recipe: msgspec.msgpack.decode(recipe, type=Recipe).target,
    )  # fmt: skip

    def find_bed(mount_id: str, name: str) -> Bed:
        return Bed(view, secret_type)

    wakes: list[int] = []
    shared: dict[str, Any] = {"leases": leases, "barrier": barrier, "system": None, "faults": NoFaults()}
    revoker = Revoker(**shared, find_bed=find_bed, workers=4, counts=Metrics())
    token = await tokens.find(b"root" * 8)
    assert token is not None
    return Nursery(
        pool=pool, leases=leases, tokens=tokens, barrier=barrier, ward=ward, shelter=shelter,
        issuer=Issuer(**shared, shelter=shelter, wake=lambda: wakes.append(1), counts=Metrics()),
        renewer=Renewer(**shared, find_bed=find_bed), revoker=revoker, mount=mount, view=view,
        secret_type=secret_type, sql=sql, dsn=dsn, token=token, wakes=wakes,
    )  # fmt: skip
