"""Sessions of accounts that end: found by the role's number, which outlives its name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from secretd_postgresql.driver import Link

_SIGNAL = """SELECT a.usesysid::pg_catalog.int8 AS oid, pg_catalog.pg_terminate_backend(a.pid) AS was_signalled
FROM pg_catalog.pg_stat_activity a WHERE a.usesysid = ANY ($1::pg_catalog.oid[])"""
_AWAIT = """SELECT a.usesysid::pg_catalog.int8 AS oid, pg_catalog.pg_terminate_backend(a.pid, 2000) AS has_ended
FROM pg_catalog.pg_stat_activity a WHERE a.usesysid = ANY ($1::pg_catalog.oid[])"""
_LEFT = """SELECT DISTINCT a.usesysid::pg_catalog.int8 AS oid
FROM pg_catalog.pg_stat_activity a WHERE a.usesysid = ANY ($1::pg_catalog.oid[])"""


async def end_sessions(link: Link, oids: Iterable[int]) -> Counter[int]:
    """End the sessions of these roles; return how many each had. Raises RefusedError without the right.

    All are told first, then waited for, two seconds each at most.
    """
    wanted = list(oids)
    signalled = await link.rows(_SIGNAL, wanted)
    if signalled:
        await link.rows(_AWAIT, wanted)
    return Counter(row["oid"] for row in signalled)


async def list_session_roles(link: Link, oids: Iterable[int]) -> set[int]:
    """Return those of the roles, dropped or not, that have a session now."""
    return {row["oid"] for row in await link.rows(_LEFT, list(oids))}
