"""Prolonging an account: its VALID UNTIL moves forward under the lease's lock, never back, never creating.

Without the lock an older check would undo a newer change; without the check an older renewal, come late,
would cut short what a newer one has promised.
"""

from __future__ import annotations

from datetime import datetime

from secretd.sdk.errors import TargetError
from secretd.sdk.plugin import RenewUser
from secretd_postgresql.driver import Link, RefusedError, SilentError
from secretd_postgresql.issue import do_block
from secretd_postgresql.statements import fill, prepare, require_name, timestamp
from secretd_postgresql.transaction import Access, begin, fence, persist, refusal, silence

RENEWAL_NAMES = ("name", "username", "expiration")
_FORWARD = """BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = {{name}}::name AND rolcanlogin
      AND rolvaliduntil < {{until}}::timestamptz) THEN
    EXECUTE format('ALTER ROLE %I VALID UNTIL %L', {{name}}, {{until}});
  END IF;
END"""
_STATE = """SELECT NULLIF(rolvaliduntil, 'infinity'::pg_catalog.timestamptz) AS until,
  rolvaliduntil IS NULL OR rolvaliduntil >= $2::pg_catalog.timestamptz AS is_secured
FROM pg_catalog.pg_roles WHERE rolname = $1::pg_catalog.name AND rolcanlogin"""


async def renew_user(access: Access, user: RenewUser) -> datetime:
    """Return the VALID UNTIL that was read back. Raises TargetError when it is not secured."""
    require_name(user.name)
    statements = prepare(user.recipe.renewal, RENEWAL_NAMES)

    async def once() -> datetime:
        async with access.pool.link() as link:
            return await _renew(access, link, user, statements)

    try:
        return await persist(once)
    except RefusedError as error:
        raise refusal(error) from None
    except SilentError as error:
        raise silence(error) from None


async def _renew(access: Access, link: Link, user: RenewUser, statements: list[str]) -> datetime:
    until = timestamp(user.valid_until)
    opening = begin(access.reach, own_path=not statements) + fence(user.fence_key)
    forward = do_block(_FORWARD, name=user.name, until=until)
    if statements:
        await link.run(opening)
        if not await _is_secured(link, user):  # under the lock: a late, older renewal stops here
            await link.run(fill(statements, {"name": user.name, "username": user.name, "expiration": until}))
        await link.run("SET LOCAL search_path = pg_catalog, pg_temp;\n" + forward + "COMMIT")
    else:
        await link.run(opening + forward + "COMMIT")
    rows = await link.rows(_STATE, user.name, user.valid_until)
    if not rows:
        raise TargetError("the account is gone from the target, or may not log in")
    if not rows[0]["is_secured"]:
        raise TargetError("the target did not prolong the account")
    found = rows[0]["until"]
    return found if isinstance(found, datetime) else user.valid_until


async def _is_secured(link: Link, user: RenewUser) -> bool:
    rows = await link.rows(_STATE, user.name, user.valid_until)
    if not rows:
        raise TargetError("the account is gone from the target, or may not log in")
    return bool(rows[0]["is_secured"])
