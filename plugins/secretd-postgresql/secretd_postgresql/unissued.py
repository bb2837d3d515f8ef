"""Death of an account that may never have been born: a CREATE can still be on its way (rules 17 and 18).

1. Try the lease's lock. Held: busy, for somebody is creating; past the deadline the holder is ended.
2. Holding it, read the target's clock, in a statement of its own.
3. Drop what is there; commit.
4. Prove in a new snapshot. Absence counts only if the clock of step 2 had reached the deadline.
"""

from __future__ import annotations

from secretd.sdk.errors import TargetError, TargetUnavailableError
from secretd.sdk.plugin import DoomedUser, Verdict
from secretd_postgresql.driver import Link, RefusedError
from secretd_postgresql.handover import look
from secretd_postgresql.issue import do_block
from secretd_postgresql.revoke import clear, sessions_left
from secretd_postgresql.statements import require_name
from secretd_postgresql.transaction import Access, begin, persist

_TRY = "SELECT pg_catalog.pg_try_advisory_xact_lock($1::pg_catalog.int8)"
_CLOCK = "SELECT pg_catalog.clock_timestamp() >= $1::pg_catalog.timestamptz"
_DROP = """BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = {{name}}::name) THEN
    EXECUTE format('DROP ROLE %I', {{name}});
  END IF;
END"""
_ABSENT = "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $1::pg_catalog.name)"
_END_HOLDER = """SELECT pg_catalog.pg_terminate_backend(l.pid, 2000)
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = pg_catalog.current_database()
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND (l.classid::pg_catalog.int8 << 32 | l.objid::pg_catalog.int8) = $1::pg_catalog.int8"""


async def revoke_unissued(access: Access, user: DoomedUser) -> Verdict:
    """End one account whose lease was never activated."""
    require_name(user.name)
    try:
        return await persist(lambda: _revoke(access, user))
    except RefusedError as error:
        return Verdict(name=user.name, outcome="error", error=error.name)
    except TargetUnavailableError:
        raise
    except TargetError:
        return Verdict(name=user.name, outcome="error", error="database_refused")


async def _revoke(access: Access, user: DoomedUser) -> Verdict:
    async with access.pool.link() as link:
        await link.run(begin(access.reach))
        if not await link.value(_TRY, user.fence_key):  # 1
            return await _busy(link, user)
        is_past = bool(await link.value(_CLOCK, user.target_deadline))  # 2
        ended: dict[str, int] = {}
        found = (await look(link, [user.name])).get(user.name)
        if found is not None and (found.has_sessions or found.owns or user.recipe.revocation):
            # The lock stays with this session; another one commits what has to be committed before the drop.
            other = await access.dialer.open()
            try:
                await clear(access, other, user, found=found, ended=ended)
            finally:
                other.terminate()
        await link.run(do_block(_DROP, name=user.name) + "COMMIT")  # 3
        is_absent = bool(await link.value(_ABSENT, user.name))  # 4
        lively = await sessions_left(link, [found.oid] if found is not None else [])
    gone = is_absent and not lively
    return Verdict(
        name=user.name,
        outcome="absent" if gone else "present",
        past=is_past,
        sessions_ended=ended.get(user.name, 0),
        error="" if gone else ("session_remains" if is_absent else "account_remains"),
    )


async def _busy(link: Link, user: DoomedUser) -> Verdict:
    await link.roll_back()
    if await link.value(_CLOCK, user.target_deadline):
        await link.rows(_END_HOLDER, user.fence_key)  # it checked the clock in time; its COMMIT is what hangs
    return Verdict(name=user.name, outcome="busy")
