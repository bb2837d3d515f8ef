"""What a doomed account leaves behind: who inherits its tables, and how its grants are taken away.

A table that a leased login made is somebody's data: it goes to the group role. Who that is: the recipe's
group role; else the first NOLOGIN role that the account is a member of; else the admin. When the admin may
not act for the group role, the admin inherits: an account's death must not wait for a grant.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from secretd_postgresql.driver import Link
from secretd_postgresql.issue import do_block
from secretd_postgresql.transaction import Access, begin

OWNED_ERROR: Final = "dependent_objects_still_exist"

# 1260 is pg_authid. An entry of database 0 is about a shared object, such as a right on a database.
_LOOK = """SELECT r.rolname::text AS name, r.oid::pg_catalog.int8 AS oid,
  pg_catalog.pg_has_role(r.oid, 'USAGE') AS is_ours,
  EXISTS (SELECT FROM pg_catalog.pg_shdepend d
    WHERE d.refclassid = 1260::pg_catalog.oid AND d.refobjid = r.oid) AS owns,
  EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.usesysid = r.oid) AS has_sessions
FROM pg_catalog.pg_roles r WHERE r.rolname = ANY ($1::pg_catalog.name[])"""
_DATABASES = """SELECT DISTINCT b.datname::text AS name
FROM pg_catalog.pg_shdepend d JOIN pg_catalog.pg_database b ON b.oid = d.dbid
WHERE d.refclassid = 1260::pg_catalog.oid AND d.refobjid = $1::pg_catalog.oid
  AND b.datname <> pg_catalog.current_database()"""
_GRANT = """BEGIN EXECUTE format('GRANT %I TO %I', {{name}}, current_user); END"""
# Steps: 1. the heir; 2. act for it, if need be for this transaction only; 3. hand over; 4. drop the rest.
_HAND_OVER = """DECLARE
  doomed constant name := {{name}};
  heir name;
  was_granted boolean := false;
  is_new constant boolean := current_setting('server_version_num')::int4 >= 160000;
BEGIN
  SELECT r.rolname INTO heir FROM pg_roles r WHERE r.rolname = {{group}}::name AND r.rolname <> doomed;
  IF heir IS NULL THEN
    SELECT g.rolname INTO heir FROM pg_auth_members m
      JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles u ON u.oid = m.member
      WHERE u.rolname = doomed AND NOT g.rolcanlogin ORDER BY m.roleid LIMIT 1;
  END IF;
  IF heir IS NOT NULL THEN
    IF NOT (pg_has_role(heir, 'USAGE') AND CASE WHEN is_new THEN pg_has_role(heir, {{set}}) ELSE true END) THEN
      BEGIN
        EXECUTE format('GRANT %I TO %I', heir, current_user);
        was_granted := true;
      EXCEPTION WHEN insufficient_privilege OR invalid_grant_operation THEN
        heir := NULL;
      END;
    END IF;
  END IF;
  EXECUTE format('REASSIGN OWNED BY %I TO %I', doomed, coalesce(heir, current_user::name));
  EXECUTE format('DROP OWNED BY %I', doomed);
  IF was_granted THEN
    EXECUTE format('REVOKE %I FROM %I', heir, current_user);
  END IF;
END"""


class Found(msgspec.Struct, frozen=True):
    """An account as it is on the target. ``is_ours``: the admin has its rights."""

    name: str
    oid: int
    is_ours: bool
    owns: bool
    has_sessions: bool


async def look(link: Link, names: Iterable[str]) -> dict[str, Found]:
    """Return those of the accounts that exist, by name."""
    rows = await link.rows(_LOOK, list(names))
    return {
        row["name"]: Found(row["name"], row["oid"], row["is_ours"], row["owns"], row["has_sessions"])
        for row in rows
    }


async def act_for(access: Access, link: Link, found: Found) -> None:
    """Give the admin the account's rights, committed: other databases' sessions must see it."""
    if not found.is_ours:
        await link.run(begin(access.reach) + do_block(_GRANT, name=found.name) + "COMMIT")


async def drop_owned(access: Access, link: Link, found: Found, *, group: str) -> None:
    """Hand over and drop in every database that has something of the account's, this one last.

    Raises RefusedError, SilentError or a target's error when another database cannot be reached.
    """
    message = begin(access.reach) + do_block(_HAND_OVER, name=found.name, group=group, set="SET") + "COMMIT"
    for row in await link.rows(_DATABASES, found.oid):
        other = await access.dialer.open(database=row["name"])
        try:
            await other.run(message)
        finally:
            other.terminate()
    await link.run(message)
