"""Processes that a plugin left behind, and what the daemon does to itself so that plugins learn nothing.

As a child subreaper the daemon adopts whatever a dead child started, also what hid in a session of its
own. Such a process is known by its address-space limit: inherited, and never raised without privilege.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
from pathlib import Path

_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36
_AGAIN = 0.05  # seconds


def harden_daemon() -> None:
    """Keep this process's memory from its own user's processes, and adopt what plugins leave behind.

    Call once, early in the daemon. Raises OSError.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    adopt_orphans()
    _prctl(_PR_SET_DUMPABLE, 0)


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parent has died."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


class Orphans:
    """The plugin children that are in use, and the end of every process that is a plugin's but not among them."""

    def __init__(self) -> None:
        self._live: set[int] = set()
        self._settled = asyncio.Event()
        self._settled.set()

    async def settle(self, seconds: float) -> None:
        """Wait until no watched child is left, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._settled.wait()

    def watch(self, pid: int) -> None:
        """A child is in use; its exit belongs to whoever started it."""
        self._live.add(pid)
        self._settled.clear()

    def end(self, pid: int, memory: int) -> None:
        """That child has exited: kill what it left behind, known by a limit of at most ``memory`` bytes."""
        self._live.discard(pid)
        if not self._live:
            self._settled.set()
        self._sweep(memory)

    def _sweep(self, memory: int) -> None:
        """Kill and reap; look again while there was something, for it may have had children in turn."""
        found = [pid for pid in _children() if pid not in self._live and _is_fenced(pid, memory)]
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if found:
            asyncio.get_running_loop().call_later(_AGAIN, self._sweep, memory)


def _children() -> list[int]:
    pids: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            pids += map(int, (task / "children").read_text().split())
    return pids


def _is_fenced(pid: int, memory: int) -> bool:
    try:
        hard = resource.prlimit(pid, resource.RLIMIT_AS)[1]
    except (ProcessLookupError, PermissionError):
        return False
    return (
        hard != resource.RLIM_INFINITY
        and hard <= memory
        and hard != resource.getrlimit(resource.RLIMIT_AS)[1]
    )
