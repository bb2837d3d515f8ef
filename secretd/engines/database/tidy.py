"""Timed work: records of targets that nothing needs any more.

1. A target that no connection names gets a mark. A write of the connection takes it off.
2. One that still has it at the next run, an hour later, and that no lease refers to, goes. The hour covers
   requests that read the connection just before it was deleted and are about to lease from it.
"""

from __future__ import annotations

from secretd.engines.database.schemas import Connection, Target, config_key, target_key
from secretd.sdk.engine import Mount, System, Timer
from secretd.sdk.storage import View, decode, find, save


async def tidy_targets(system: System, view: View, mount: Mount) -> None:
    """Mark or remove each target that no connection names."""
    for target_id in await view.list("target/"):
        target = await find(view, target_key(target_id), Target)
        if target is None or await _is_named(view, target, target_id):
            continue
        has_leases = await system.count_leases(mount, target=f"{target.connection}/{target_id}") > 0
        await _step(view, target_id, was_marked=target.is_unnamed, has_leases=has_leases)


async def _step(view: View, target_id: str, *, was_marked: bool, has_leases: bool) -> None:
    """One target. Read again inside: a write of its connection may have come between."""
    async with view.transaction() as inside:
        entry = await inside.get(target_key(target_id))
        target = None if entry is None else decode(entry.value, Target)
        if entry is None or target is None or await _is_named(inside, target, target_id):
            return
        if not target.is_unnamed:
            target.is_unnamed = True
            await save(inside, target_key(target_id), target, version=entry.version)
        elif was_marked and not has_leases:
            await inside.delete(target_key(target_id))


async def _is_named(view: View, target: Target, target_id: str) -> bool:
    connection = await find(view, config_key(target.connection), Connection)
    return connection is not None and connection.target_id == target_id


TIDY_TARGETS = Timer("tidy-targets", 3600, tidy_targets)
