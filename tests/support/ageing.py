"""Time moves by ageing rows: nothing in a test waits for a clock, and no time is passed into the product."""

from __future__ import annotations

from typing import Any

_TIMES = """SELECT column_name FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = $1 AND data_type = 'timestamp with time zone'"""


async def age(
    connection: Any, *, seconds: float, tables: tuple[str, ...] = ("leases", "tokens", "timers")
) -> None:
    """Make every row of these tables older: all their times and deadlines move into the past together."""
    for table in tables:
        names = [row[0] for row in await connection.fetch(_TIMES, table)]
        moved = ", ".join(f"{name} = {name} - make_interval(secs => $1::float8)" for name in names)
        await connection.execute(f"UPDATE {table} SET {moved}", float(seconds))


async def let_claims_end(connection: Any) -> None:
    """The claims of a daemon that died are over; back-offs too. The deadlines of births stay where they are."""
    await connection.execute("UPDATE leases SET due_time = clock_timestamp() WHERE state = 'revoking'")
