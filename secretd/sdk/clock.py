"""The one place that reads this machine's clocks. What decides about leases is Postgres' clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What callers may ask for."""

    def now(self) -> datetime:
        """Aware wall-clock time, for people's eyes."""

    def monotonic(self) -> float:
        """Seconds that never go back, for spans."""


class SystemClock:
    """This machine's."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def rfc3339(moment: datetime | None) -> str | None:
    """Vault's text of a time: ``2026-11-23T10:00:00.123456Z``; None stays None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
