"""Metrics: bounded labels, counters that move."""

from __future__ import annotations

from secretd.core.metrics import Metrics


def test_a_request_is_counted_by_class() -> None:
    """Operation, mount type and status class are the labels; the path is none."""
    metrics = Metrics(lambda path: path.partition("/")[0])
    metrics.observe("read", "kv/secret/name", 200, 0.004)
    metrics.observe("read", "kv/other", 204, 0.004)
    metrics.observe("read", "kv/other", 503, 0.004)
    text = metrics.render()[0].decode()
    assert 'secretd_requests_total{mount_type="kv",operation="read",status_class="2xx"} 2.0' in text
    assert 'status_class="5xx"} 1.0' in text
    assert 'secretd_request_seconds_count{mount_type="kv",operation="read"} 3.0' in text
    assert "secret/name" not in text


def test_a_state_without_leases_is_zero() -> None:
    """A state that is not found any more does not keep its last number."""
    metrics = Metrics()
    metrics.set_leases([("active", 3, 0.0), ("revoking", 2, 12.5)])
    assert 'secretd_lease_lateness_seconds{state="revoking"} 12.5' in metrics.render()[0].decode()
    metrics.set_leases([("active", 1, 0.0)])
    text = metrics.render()[0].decode()
    assert 'secretd_leases{state="revoking"} 0.0' in text
    assert 'secretd_leases{state="active"} 1.0' in text


def test_counters_and_health() -> None:
    """What core tells is what a scrape shows, and two daemons in a process do not mix."""
    metrics, other = Metrics(), Metrics()
    metrics.lease_issued()
    metrics.leases_revoked(3)
    metrics.lease_ends_failed(2)
    metrics.set_health(is_open=True, audit_failing=1)
    text = metrics.render()[0].decode()
    for line in (
        "secretd_leases_issued_total 1.0", "secretd_leases_revoked_total 3.0", "secretd_lease_ends_failed_total 2.0",
        "secretd_unsealed 1.0", "secretd_audit_devices_failing 1.0",
    ):  # fmt: skip
        assert line in text
    assert "secretd_leases_issued_total 0.0" in other.render()[0].decode()
