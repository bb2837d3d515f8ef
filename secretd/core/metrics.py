"""What the daemon counts, for Prometheus. Labels are bounded: no path, role, name or id ever is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from secretd.core.caches import Caches
from secretd.sdk.errors import SecretdError

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_STATES = ("pending", "active", "revoking")
NO_MOUNT = "none"  # nothing is mounted there, or nobody knows while sealed


def mount_type_of(caches: Caches) -> Callable[[str], str]:
    """From a request's path to the type of its mount, a label with as many values as there are engines."""

    def find(path: str) -> str:
        try:
            return caches.router.find(path)[0].record.type
        except SecretdError:
            return NO_MOUNT

    return find


class Metrics:
    """Counters and gauges of one daemon, in a registry of their own. Is the http ring's ``Meter``."""

    def __init__(self, mount_type: Callable[[str], str] = lambda _path: NO_MOUNT) -> None:
        self.mount_type = mount_type
        self.registry = CollectorRegistry()
        ProcessCollector(namespace="secretd", registry=self.registry)
        at = self.registry
        self._requests = Counter(
            "secretd_requests", "Answered requests.", ["operation", "mount_type", "status_class"], registry=at
        )
        self._seconds = Histogram(
            "secretd_request_seconds",
            "From head to answer.",
            ["operation", "mount_type"],
            buckets=_BUCKETS,
            registry=at,
        )
        self._issued = Counter("secretd_leases_issued", "Leases given out by this daemon.", registry=at)
        self._revoked = Counter("secretd_leases_revoked", "Leases proved over by this daemon.", registry=at)
        self._failed = Counter(
            "secretd_lease_ends_failed", "Failed attempts to end a lease, all retried.", registry=at
        )
        self._leases = Gauge("secretd_leases", "Leases that are not over.", ["state"], registry=at)
        self._lateness = Gauge(
            "secretd_lease_lateness_seconds", "How late the latest due lease is.", ["state"], registry=at
        )
        self._oldest = Gauge(
            "secretd_lease_oldest_unrevoked_seconds",
            "How long ago the time of the oldest lease ended that is not over.",
            registry=at,
        )
        self._unsealed = Gauge("secretd_unsealed", "1 while this daemon has its keys.", registry=at)
        self._auditing = Gauge(
            "secretd_audit_devices_failing", "Audit devices that do not record.", registry=at
        )

    def observe(self, operation: str, path: str, status: int, seconds: float) -> None:
        """One answered request."""
        mount_type = self.mount_type(path)
        self._requests.labels(operation, mount_type, f"{status // 100}xx").inc()
        self._seconds.labels(operation, mount_type).observe(seconds)

    def lease_issued(self) -> None:
        """A lease was given out."""
        self._issued.inc()

    def leases_revoked(self, count: int) -> None:
        """Leases were proved over."""
        self._revoked.inc(count)

    def lease_ends_failed(self, count: int) -> None:
        """Ends of leases failed; they are tried again."""
        self._failed.inc(count)

    def set_leases(self, found: Sequence[tuple[str, int, float]]) -> None:
        """State, number and lateness in seconds; a state that is not named has none."""
        by_state = {state: (number, lateness) for state, number, lateness in found}
        for state in _STATES:
            number, lateness = by_state.get(state, (0, 0.0))
            self._leases.labels(state).set(number)
            self._lateness.labels(state).set(lateness)

    def set_oldest_unrevoked(self, seconds: float) -> None:
        """How long the time of some lease has been over while its end is not proved; 0 = of none."""
        self._oldest.set(seconds)

    def set_health(self, *, is_open: bool, audit_failing: int) -> None:
        """Whether the barrier is open, and how many audit devices do not record."""
        self._unsealed.set(1 if is_open else 0)
        self._auditing.set(audit_failing)

    def render(self) -> tuple[bytes, str]:
        """The text for a scrape and its Content-Type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
