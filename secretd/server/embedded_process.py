"""One PostgreSQL server process as seen from outside: who owns it, is it ready, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from secretd.sdk.errors import SecretdError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

START_DEADLINE = 60.0  # seconds; recovery of a large folder on a slow disk takes its time
STOP_DEADLINE = 10.0
ORPHAN_PATIENCE = 2.0  # seconds for an orphan's clean shutdown, before it is ended at once
POLL = 0.02


class EmbeddedPostgresError(SecretdError):
    """the embedded PostgreSQL cannot run"""

    code = "embedded_postgres"


class EndedError(Exception):
    """the server process ended before it was ready"""


class Status:
    """postmaster.pid, parsed: pid, data, start time, port, socket folder, address, shared memory, state."""

    def __init__(self, lines: list[str]) -> None:
        self.pid = int(lines[0])
        self.port = int(lines[3]) if lines[3:] and lines[3].strip() else 0
        self.socket_folder = Path(lines[4]) if lines[4:] else Path()
        self.is_ready = len(lines) > 7 and lines[7].strip() == "ready"


def read_status(data: Path) -> Status | None:
    """The live server of this folder, or None; a file left by another boot or container is removed."""
    path = data / "postmaster.pid"
    try:
        status = Status(path.read_text().splitlines())
    except (OSError, ValueError, IndexError):
        return None
    if is_postgres(status.pid):
        return status
    # A stranger has its number now, and postgres would refuse to start for that.
    if _lives(status.pid):
        path.unlink(missing_ok=True)
    return None


async def wait_until_ready(data: Path, *, process: asyncio.subprocess.Process | None = None) -> Status:
    """Wait for the folder's server, or for this very process; raises EndedError if that one ends."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_DEADLINE):
            while process is None or process.returncode is None:
                status = read_status(data)
                if status and status.is_ready and (process is None or status.pid == process.pid):
                    return status
                await asyncio.sleep(POLL)
            raise EndedError
    raise EmbeddedPostgresError("PostgreSQL did not become ready in time")


async def stop(process: asyncio.subprocess.Process) -> None:
    """Fast shutdown; at once when it takes too long (the next start recovers from the log)."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_DEADLINE)
            return


async def end_orphan(pid: int) -> None:
    """End a server whose owner is dead: cleanly if it can be quick, at once if not."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ORPHAN_PATIENCE):
                while is_postgres(pid):
                    await asyncio.sleep(POLL)
            return


@contextlib.asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """One opener at a time, in any process; the kernel lets go if it dies."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(POLL)
        yield
    finally:
        os.close(handle)


def owner_lives(folder: Path) -> bool:
    """Is the process that wrote ``owner`` still that process?"""
    try:
        text = (folder / "owner").read_text()
        return identify(int(text.split()[0])) == text
    except (OSError, ValueError, IndexError):
        return False


def identify(pid: int) -> str:
    """``pid start``: the second part tells a process from a later one with its number."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return f"{pid} dead" if fields[0] in "ZX" else f"{pid} {fields[19]}"
    return f"{pid} unknown" if _lives(pid) else f"{pid} dead"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_postgres(pid: int) -> bool:
    """Does a PostgreSQL run under this number? Zombies do not count."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.parent.parent.joinpath("self").exists():  # no /proc on this system
        return _lives(pid)
    with contextlib.suppress(OSError):
        name, _, rest = stat.read_text().rpartition(")")
        return name.partition("(")[2].startswith("postgres") and rest.split()[0] not in "ZX"
    return False
