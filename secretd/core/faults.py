"""Places where a test kills the daemon. In production each is an empty call.

The names number a credential's life; ``tests/crash`` has a row for each.
"""

from __future__ import annotations

from typing import Protocol

STEPS = (
    "1.prepared",
    "2.inserted",
    "3.created",
    "4.activated",
    "5.answered",
    "6.renew.secured",
    "7.renew.extended",
    "8.revoke.claimed",
    "9.revoke.removed",
    "10.revoke.finished",
)


class Faults(Protocol):
    """What a step calls when it is done."""

    async def reach(self, step: str) -> None:
        """Return, or do not."""


class NoFaults:
    """Production's."""

    async def reach(self, step: str) -> None:
        """Return."""
