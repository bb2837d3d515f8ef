"""``sys/metrics``: what Prometheus scrapes."""

from __future__ import annotations

import msgspec

from secretd.core.parts import Parts
from secretd.sdk.errors import SealedError, StorageUnavailableError
from secretd.sdk.path import Path
from secretd.sdk.request import READ, Call
from secretd.sdk.response import Response


class FormatFields(msgspec.Struct):
    """Only Prometheus' text is spoken, whatever is asked for."""

    format: str = "prometheus"


def paths(parts: Parts) -> tuple[Path, ...]:
    """The table."""
    scrape = Scrape(parts)
    return (Path(READ, "metrics", FormatFields, scrape.read),)


class Scrape:
    """Brings gauges up to date and renders."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._metrics = parts.metrics

    async def read(self, call: Call, fields: FormatFields) -> Response:
        """Read the metrics of this daemon, and of the leases of all."""
        return Response(raw=await self.render())

    async def render(self) -> tuple[bytes, str]:
        """The text and its Content-Type, also for listeners that serve it without a token; never fails."""
        parts, metrics = self._parts, self._metrics
        try:
            failing = len(parts.audit.tools()[0].failing())
        except SealedError:
            failing = 0
        metrics.set_health(is_open=parts.lifecycle.is_open, audit_failing=failing)
        try:
            rows = await parts.leases.count_by_state()
        except StorageUnavailableError:
            return metrics.render()  # the counters of this daemon are the more interesting now
        metrics.set_leases([(row["state"], row["leases"], row["lateness"]) for row in rows])
        metrics.set_oldest_unrevoked(max((row["unrevoked_age"] for row in rows), default=0.0))
        return metrics.render()
