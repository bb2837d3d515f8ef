"""What every transaction on a target begins with, and what its refusals mean to secretd.

A message is several statements in one round trip. It resets the session first: a user's statement of the
call before may have changed it, and a reset that fails does so before anything begins.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, TypeVar

from secretd.sdk.errors import TargetError, TargetUnavailableError
from secretd.sdk.plugin import Reach
from secretd_postgresql.config import Settings
from secretd_postgresql.dialing import Dialer
from secretd_postgresql.driver import RefusedError, SilentError
from secretd_postgresql.pool import Pool
from secretd_postgresql.statements import fill, literal, timestamp

_T = TypeVar("_T")
_AGAIN: Final = frozenset({"40001", "40P01", "XX000"})  # definite, and about others' work at the same time
_ATTEMPTS: Final = 8
_FIRST_PAUSE: Final = 0.01  # seconds
_TOO_LATE: Final = "22012"  # division by zero: the clock check of a fenced transaction

_BEGIN = """RESET SESSION AUTHORIZATION;
RESET ALL;
BEGIN;
SET LOCAL lock_timeout = {{lock}};
SET LOCAL statement_timeout = {{statement}};
SET LOCAL idle_in_transaction_session_timeout = {{idle}};
SET LOCAL synchronous_commit = on"""
_OWN_PATH = "SET LOCAL search_path = pg_catalog, pg_temp"
_LOCK = "SELECT pg_catalog.pg_advisory_xact_lock({{key}}::pg_catalog.int8)"
# A statement of its own, after the lock: a clock read before it proves nothing.
_CLOCK = "SELECT 1 / (pg_catalog.clock_timestamp() < {{deadline}}::pg_catalog.timestamptz)::pg_catalog.int4"
OWN_PATH_OFF = "SET LOCAL search_path TO DEFAULT"


class Access:
    """One target as one configuration sees it: its settings, its sessions, the way to more of them."""

    def __init__(self, settings: Settings, reach: Reach) -> None:
        self.settings = settings
        self.reach = reach
        self.dialer = Dialer(settings, reach)
        size = min(settings.max_open, max(reach.concurrency, 1))
        idle = size if settings.max_idle == 0 else max(settings.max_idle, 0)
        self.pool = Pool(self.dialer.open, size=size, max_idle=idle, lifetime=settings.lifetime)


def begin(reach: Reach, *, own_path: bool = True) -> str:
    """Return the beginning of a message. ``own_path``: look names up in the catalogue only."""
    milliseconds = max(int(reach.deadline * 1000), 1)
    times = {
        "lock": literal(str(max(milliseconds // 4, 1))),
        "statement": literal(str(milliseconds)),
        "idle": literal(str(milliseconds)),
    }
    return fill([_BEGIN, _OWN_PATH] if own_path else [_BEGIN], times)


def fence(fence_key: int) -> str:
    """Return the statement that takes the lease's lock."""
    return fill([_LOCK], {"key": literal(str(fence_key))})


def clock_check(deadline: datetime) -> str:
    """Return the statement that fails once the target's clock has reached the deadline."""
    return fill([_CLOCK], {"deadline": literal(timestamp(deadline))})


async def persist(work: Callable[[], Awaitable[_T]]) -> _T:
    """Do the work; again, with jitter, after a definite refusal that is about concurrency. Nothing else."""
    pause = _FIRST_PAUSE
    for attempt in range(_ATTEMPTS):
        try:
            return await work()
        except RefusedError as error:
            if error.code not in _AGAIN or attempt == _ATTEMPTS - 1:
                raise
        await asyncio.sleep(pause * (0.5 + secrets.randbelow(1000) / 1000))
        pause *= 2
    raise AssertionError("unreachable")


def refusal(error: RefusedError) -> TargetError:
    """A definite no, in words of ours and the name of the target's condition."""
    if error.code == _TOO_LATE:
        return TargetError("the deadline passed before the target began")
    if error.code == "25001":
        return TargetError(
            "a statement refuses to run in a transaction", hint="secretd runs all statements of a role in one"
        )
    if error.code == "55P03":
        return TargetError("somebody else holds a lock on the target: lock_not_available", retry_after=1.0)
    if error.code == "42501":
        return TargetError(
            "the target refused: insufficient_privilege", hint="see the admin's rights on the target"
        )
    return TargetError(f"the target refused: {error.name}")


def silence(_: SilentError) -> TargetUnavailableError:
    """Nothing is known."""
    return TargetUnavailableError("the target did not answer; what was asked may happen yet")
