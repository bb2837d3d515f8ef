"""What is due when: ``due/{seconds}.{kind}.{name}``, in the order of time, so that a look costs one read.

A key is written in the transaction that writes what it speaks of. Nothing is kept in memory: a restart
changes nothing, and a daemon that was down for a day finds what is overdue once.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import msgspec

from secretd.sdk.engine import System
from secretd.sdk.storage import View, save

_FOLDER = "due/"


class Empty(msgspec.Struct):
    """The key says it all."""


async def storage_now(system: System) -> datetime:
    """Storage's clock, which decides."""
    return system.clock.now() + timedelta(seconds=await system.storage_clock_offset())


async def move(view: View, what: str, *, before: datetime | None, after: datetime | None) -> None:
    """Replace the key of ``what`` (``kind.name``)."""
    if before == after:
        return
    if before is not None:
        await view.delete(_key(before, what))
    if after is not None:
        await save(view, _key(after, what), Empty())


async def list_due(view: View, now: datetime, *, limit: int) -> list[tuple[datetime, str]]:
    """What is due, the longest overdue first: the moment of its key, and ``kind.name``."""
    found = []
    for name in await view.list(_FOLDER, limit=limit):
        seconds, _, what = name.partition(".")
        moment = datetime.fromtimestamp(int(seconds), UTC)
        if moment > now:
            break
        found.append((moment, what))
    return found


def is_key_of(due: datetime | None, moment: datetime) -> bool:
    """Whether a key's moment is that of this time."""
    return due is not None and math.ceil(due.timestamp()) == moment.timestamp()


def _key(moment: datetime, what: str) -> str:
    return f"{_FOLDER}{math.ceil(moment.timestamp()):012d}.{what}"
