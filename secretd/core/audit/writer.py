"""Who waits for the disk: a slot runs its device on the loop or on a thread of its own.

A write to the page cache takes about 10 µs; the way to a thread and back costs several times that, and under
load the thread waits for the interpreter's lock as well. So a device on a local file system is written on the
loop. A thread does it where a write may take long or for ever: `fsync = "group"`, a network file system, an
unknown one, and any device once it has been slow. Then a hang costs its own callers, not health checks.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from secretd.core.audit.device import FileDevice
from secretd.core.audit.line import AuditHead
from secretd.core.audit.place import LOCAL_TYPES, file_system
from secretd.sdk.clock import Clock
from secretd.sdk.errors import AuditError

Done = Callable[[AuditError | None], None]
Job = Callable[[], None]
BACKLOG = 16384  # entries that may wait for a thread; about 32 MiB
_SLOW = 0.25  # seconds of a write on the loop, after which the loop is spared
_log = structlog.get_logger(__name__)


class Slot:
    """A device and its way to the disk. All methods are for the loop's thread.

    ``error`` is the last group's, None if it was recorded; ``head`` the last line written. ``is_stalled``:
    a group has waited in vain for the thread, so nobody waits until the thread is back.
    """

    def __init__(self, device: FileDevice, clock: Clock) -> None:
        self.device = device
        self.spec = device.spec
        self.error: AuditError | None = None
        self.head: AuditHead | None = device.head
        self.is_stalled = False
        self._clock = clock
        self._ended: list[AuditHead] = []
        self._work: queue.SimpleQueue[Job | None] | None = None
        self._is_busy = False
        self._waiting: list[tuple[list[bytes], Done]] = []
        self._waiting_entries = 0
        self._lost = 0  # entries turned away since the last write began

    async def open(self) -> None:
        """Open the device, off the loop, and choose its way. AuditError if it cannot be opened."""
        try:
            await asyncio.to_thread(self.device.open)
        finally:
            folder = str(Path(self.spec.file_path).parent)
            kind = await asyncio.to_thread(file_system, folder)
            if self.spec.fsync == "group" or kind not in LOCAL_TYPES:
                self._start_thread()
            self.head = self.device.head

    def write(self, entries: list[bytes], done: Done) -> None:
        """Append a group, then call ``done`` on the loop: at once without a thread, else later.

        Groups that come while the thread is away are written together when it is back.
        """
        if self._work is None:
            self._write_here(entries, done)
        elif self._waiting_entries + len(entries) > BACKLOG:
            self._lost += len(entries)
            done(AuditError(f"audit device {self.spec.path} cannot record: it is stalled"))
        else:
            self._waiting.append((entries, done))
            self._waiting_entries += len(entries)
            self._send()

    def take_heads(self) -> list[AuditHead]:
        """Last lines of files rotated since the last call, then the device's own."""
        taken, self._ended = self._ended, []
        return [*taken, self.head] if self.head else taken

    def reopen(self) -> None:
        """Look for the file by its name. A failure is told at the next group."""
        if self._work is None:
            self._reopen()
        else:
            self._work.put(self._reopen)

    async def close(self, deadline: float) -> None:
        """Write what waits, close the device. A thread that hangs in the kernel is left there (daemon thread)."""
        if self._work is None:
            self.device.close()
            return
        written = asyncio.Event()
        self._waiting.append(([], lambda _: written.set()))
        self._send()
        try:
            async with asyncio.timeout(deadline):
                await written.wait()
            self.device.close()
        except TimeoutError:
            _log.error("audit.device_abandoned", device=self.spec.path)
        self._work.put(None)

    def _write_here(self, entries: list[bytes], done: Done) -> None:
        begin = self._clock.monotonic()
        error = self._append(entries, 0)
        self._note(error, self.device.head, self.device.take_ended())
        done(error)
        if self._clock.monotonic() - begin > _SLOW:
            _log.warning("audit.device_slow", device=self.spec.path)
            self._start_thread()

    def _send(self) -> None:
        """Give the thread all that waits, unless it is away."""
        if self._is_busy or not self._waiting or self._work is None:
            return
        self._is_busy = True
        waiting, self._waiting, self._waiting_entries = self._waiting, [], 0
        lost, self._lost = self._lost, 0
        loop = asyncio.get_running_loop()
        entries = [entry for group, _ in waiting for entry in group]

        def job() -> None:
            error = self._append(entries, lost)
            head, ended = self.device.head, self.device.take_ended()
            loop.call_soon_threadsafe(self._return, waiting, error, head, ended)

        self._work.put(job)

    def _return(
        self,
        waiting: list[tuple[list[bytes], Done]],
        error: AuditError | None,
        head: AuditHead | None,
        ended: list[AuditHead],
    ) -> None:
        self._is_busy = self.is_stalled = False
        self._note(error, head, ended)
        for _, done in waiting:
            done(error)
        self._send()

    def _append(self, entries: list[bytes], lost: int) -> AuditError | None:
        try:
            self.device.append(entries, missed=lost)
        except AuditError as error:
            return error
        except Exception as error:  # a defect must fail its callers, not leave them waiting
            _log.exception("audit.device_defect", device=self.spec.path)
            return AuditError(f"audit device {self.spec.path} cannot record: {type(error).__name__}")
        return None

    def _note(self, error: AuditError | None, head: AuditHead | None, ended: list[AuditHead]) -> None:
        if error is not None and self.error is None:
            _log.error("audit.device_failed", device=self.spec.path, reason=error.message)
        elif error is None and self.error is not None:
            _log.info("audit.device_recovered", device=self.spec.path)
        self.error, self.head = error, head
        self._ended += ended

    def _reopen(self) -> None:
        try:
            self.device.reopen()
        except AuditError as error:
            _log.error("audit.device_failed", device=self.spec.path, reason=error.message)

    def _start_thread(self) -> None:
        if self._work is None:
            self._work = queue.SimpleQueue()
            name = f"audit {self.spec.path}"
            threading.Thread(target=_serve, args=(self._work,), name=name, daemon=True).start()


def _serve(work: queue.SimpleQueue[Job | None]) -> None:
    while (job := work.get()) is not None:
        job()
