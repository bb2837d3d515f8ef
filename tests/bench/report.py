"""Figures of all rounds put together: a table for people, JSON for machines."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Sample:
    """One measured stretch. CPU in milliseconds over the stretch: daemon, its storage, its target."""

    load: str
    server: str
    connections: int
    seconds: float
    requests: int
    daemon_ms: float
    storage_ms: float
    target_ms: float
    latencies: list[float] = field(repr=False)


@dataclass
class Figure:
    """All stretches of one load on one daemon. CPU in milliseconds per request, latencies in milliseconds."""

    load: str
    server: str
    connections: int
    rate: float
    daemon: float
    storage: float
    target: float
    p50: float
    p99: float
    rates: list[float]

    @property
    def per_cpu_second(self) -> float:
        """Requests for each second of CPU of daemon and storage together."""
        return 1000 / max(self.daemon + self.storage, 1e-9)


def summarise(samples: list[Sample]) -> list[Figure]:
    """One figure for each load, daemon and number of connections, in the order they were first measured."""
    groups: dict[tuple[str, str, int], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.load, sample.server, sample.connections), []).append(sample)
    return [_figure(group) for group in groups.values()]


def _figure(group: list[Sample]) -> Figure:
    requests = sum(sample.requests for sample in group)
    latencies = sorted(latency for sample in group for latency in sample.latencies)
    return Figure(
        load=group[0].load,
        server=group[0].server,
        connections=group[0].connections,
        rate=requests / sum(sample.seconds for sample in group),
        daemon=sum(sample.daemon_ms for sample in group) / requests,
        storage=sum(sample.storage_ms for sample in group) / requests,
        target=sum(sample.target_ms for sample in group) / requests,
        p50=statistics.median(latencies),
        p99=latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))],
        rates=[round(sample.requests / sample.seconds, 2) for sample in group],
    )


def ratios(figures: list[Figure], beside: dict[str, str]) -> list[dict[str, Any]]:
    """secretd over OpenBao: rate, requests per CPU second; ``beside`` maps a load to the one it is held against."""
    by_key = {(figure.load, figure.server, figure.connections): figure for figure in figures}
    found = []
    for figure in figures:
        other = by_key.get((beside.get(figure.load, figure.load), "openbao", figure.connections))
        if figure.server == "secretd" and other is not None:
            found.append(
                {
                    "load": figure.load,
                    "connections": figure.connections,
                    "rate": round(figure.rate / other.rate, 2),
                    "per_cpu_second": round(figure.per_cpu_second / other.per_cpu_second, 2),
                    "p99": round(figure.p99 / other.p99, 2),
                }
            )
    return found


_HEAD = (
    f"{'load':<15}{'conns':>6}  {'server':<9}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}"
    f"{'daemon':>9}{'storage':>9}{'target':>9}   rounds"
)


def print_table(figures: list[Figure], compared: list[dict[str, Any]], ceiling: dict[int, float]) -> None:
    """The figures, then the ratios, then what the target allows at all."""
    print(f"\n{_HEAD}\n{'':<57}{'CPU ms per request':^27}")
    for figure in sorted(figures, key=lambda item: (item.load, item.connections, item.server)):
        print(
            f"{figure.load:<15}{figure.connections:>6}  {figure.server:<9}{figure.rate:>9.1f}{figure.p50:>9.2f}"
            f"{figure.p99:>9.2f}{figure.daemon:>9.2f}{figure.storage:>9.2f}{figure.target:>9.2f}   "
            + " ".join(f"{rate:g}" for rate in figure.rates)
        )
    if compared:
        print(f"\nsecretd : openbao{'':<8}{'rate':>9}{'per CPU s':>12}{'p99':>9}")
    for line in compared:
        print(
            f"{line['load']:<15}{line['connections']:>6}{'':<4}{line['rate']:>9.2f}"
            f"{line['per_cpu_second']:>12.2f}{line['p99']:>9.2f}"
        )
    for connections, rate in ceiling.items():
        print(f"bare CREATE ROLE on the target, {connections} connections: {rate:.1f}/s")


def write_json(path: Path, figures: list[Figure], compared: list[dict[str, Any]], **facts: Any) -> None:
    """Everything that was printed, and ``facts`` about the run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {**facts, "figures": [asdict(figure) for figure in figures], "ratios": compared}
    path.write_text(json.dumps(content, indent=2) + "\n")
