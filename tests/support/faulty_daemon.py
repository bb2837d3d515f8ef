"""A daemon that dies, or stands still, at a step of a credential's life: ``faulty_daemon.py CONFIG PLAN``.

PLAN is JSON: ``{"step": "3.created", "nth": 2, "delay": 0.01, "signal": 9, "window": 2}``. The plan counts from
SIGUSR1 on, so that what sets a test up reaches nothing. ``window`` replaces the issue window (seconds).
Fault points exist only here: ``secretd server`` composes the same daemon with ``NoFaults``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import uvloop

from secretd.core.faults import STEPS
from secretd.core.leases import issuer
from secretd.server.config import load_config
from secretd.server.daemon import serve
from secretd.server.logging import configure_logging


class Plan(msgspec.Struct):
    """Where to fail."""

    step: str = ""
    nth: int = 1
    delay: float = 0.0
    signal: int = signal.SIGKILL
    window: float = 10.0


class OneFault:
    """Sends this process a signal when the step is reached for the n-th time after :meth:`arm`."""

    def __init__(self, plan: Plan) -> None:
        assert plan.step in {*STEPS, ""}, plan.step
        self._plan = plan
        self._left: int | None = None

    def arm(self) -> None:
        self._left = self._plan.nth

    async def reach(self, step: str) -> None:
        if self._left is None or step != self._plan.step:
            return
        self._left -= 1
        if self._left == 0:
            if self._plan.delay:
                await asyncio.sleep(self._plan.delay)  # everybody else goes on for so long
            os.write(2, f"fault {step}\n".encode())
            os.kill(os.getpid(), self._plan.signal)


async def run(config: Path, plan: Plan) -> None:
    """Serve until SIGTERM, or until the fault."""
    issuer.ISSUE_WINDOW = plan.window  # type: ignore[assignment]  # whole seconds in production
    fault, stop, loop = OneFault(plan), asyncio.Event(), asyncio.get_running_loop()
    async with serve(load_config(config), faults=fault):
        loop.add_signal_handler(signal.SIGUSR1, fault.arm)
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()


if __name__ == "__main__":
    os.umask(0o077)
    configure_logging(level="info", format="json")
    uvloop.run(run(Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Plan)))
