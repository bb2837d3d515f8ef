"""Looking at a target: may the admin do its work, and which accounts of ours are there."""

from __future__ import annotations

from secretd.sdk.errors import TargetError
from secretd.sdk.plugin import FoundUser, TargetState
from secretd_postgresql.driver import RefusedError, SilentError
from secretd_postgresql.transaction import Access, refusal, silence

_STATE = """SELECT pg_catalog.clock_timestamp() AS clock, pg_catalog.current_setting('server_version') AS version,
  r.rolsuper, r.rolcreaterole, r.rolinherit, pg_catalog.pg_is_in_recovery() AS is_standby,
  pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS number,
  pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') AS may_signal
FROM pg_catalog.pg_roles r WHERE r.rolname = CURRENT_USER"""
_LIST = """SELECT rolname::text AS name, NULLIF(rolvaliduntil, 'infinity'::pg_catalog.timestamptz) AS until, rolcanlogin
FROM pg_catalog.pg_roles WHERE pg_catalog.starts_with(rolname::text, $1::text) ORDER BY rolname"""
_OLDEST = 150000  # server_version_num


async def verify(access: Access) -> TargetState:
    """Log in and look. Raises TargetAuthError, TargetUnavailableError or TargetError."""
    try:
        async with access.pool.link() as link:
            (row,) = await link.rows(_STATE)
    except RefusedError as error:
        raise refusal(error) from None
    except SilentError as error:
        raise silence(error) from None
    if row["is_standby"]:
        raise TargetError("the target is a standby", hint="name the primary, or all hosts")
    warnings = []
    if row["number"] < _OLDEST:
        warnings.append("the target is older than PostgreSQL 15, which is the oldest that is tested")
    if not row["rolsuper"] and not row["rolcreaterole"]:
        warnings.append("the admin may not create roles: ALTER ROLE … CREATEROLE")
    if not row["rolsuper"] and not row["rolinherit"]:
        warnings.append(
            "the admin does not inherit rights, so that it cannot end sessions: ALTER ROLE … INHERIT"
        )
    return TargetState(
        clock=row["clock"], version=row["version"], is_superuser=row["rolsuper"], warnings=tuple(warnings)
    )


async def list_users(access: Access, prefix: str) -> tuple[FoundUser, ...]:
    """Return the accounts whose name begins with the prefix, by name."""
    try:
        async with access.pool.link() as link:
            rows = await link.rows(_LIST, prefix)
    except RefusedError as error:
        raise refusal(error) from None
    except SilentError as error:
        raise silence(error) from None
    return tuple(
        FoundUser(name=row["name"], valid_until=row["until"], can_login=row["rolcanlogin"]) for row in rows
    )
