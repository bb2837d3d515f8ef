"""CPU time of whole process trees, as Linux accounts it."""

from __future__ import annotations

import os
from pathlib import Path

_TICK = 1000 / os.sysconf("SC_CLK_TCK")  # milliseconds


def tree_ms(*roots: int) -> float:
    """Milliseconds of CPU that these processes and all their descendants have used, dead children included.

    A child that has been waited for counts in its parent's "children" times, a living one in its own.
    """
    parents, used = _snapshot()
    wanted = {pid for pid in roots if pid in parents}
    found = True
    while found:
        fresh = {pid for pid, parent in parents.items() if parent in wanted} - wanted
        wanted |= fresh
        found = bool(fresh)
    return sum(used[pid] for pid in wanted)


def _snapshot() -> tuple[dict[int, int], dict[int, float]]:
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # gone since the listing
            continue
        pid = int(path.parent.name)
        parents[pid] = int(fields[1])
        used[pid] = sum(int(field) for field in fields[11:15]) * _TICK
    return parents, used


def resident_mib(root: int) -> float:
    """Memory of one process in MiB, without its children; 0 when it is gone."""
    try:
        pages = int(Path(f"/proc/{root}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
