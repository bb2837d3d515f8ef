"""Two transactions at once: knowing that one waits for the other, without guessing by time."""

from __future__ import annotations

import asyncio
import time
from typing import Any

_WAITING = """SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'"""
_PATIENCE = 20.0  # seconds; a machine under load, not a measure of anything


async def until_blocked(connection: Any, *, sessions: int = 1) -> None:
    """Return once that many sessions of this database wait for a lock."""
    limit = time.monotonic() + _PATIENCE
    while await connection.fetchval(_WAITING) < sessions:
        assert time.monotonic() < limit, "nobody waits for a lock"
        await asyncio.sleep(0.01)


async def until_true(connection: Any, question: str, *values: Any, patience: float = _PATIENCE) -> None:
    """Return once a query answers true."""
    limit = time.monotonic() + patience
    while not await connection.fetchval(question, *values):
        assert time.monotonic() < limit, f"it never came true: {question}"
        await asyncio.sleep(0.02)
