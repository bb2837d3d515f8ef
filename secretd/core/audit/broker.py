"""The broker: who must record what, and when a caller may go on.

The rule, checked for every group:

1. Entries that arrive while the loop is busy make one group, one write for each device.
2. With required devices, all of them must record. Without, at least one device must (Vault's rule).
3. Else every caller of the group gets AuditError (503) that names the device; an answer is then withheld.
4. Without devices nothing is recorded and nothing fails.
5. A caller that is cancelled leaves its entry in the group: what was asked is recorded.
6. A device that has not answered after the deadline counts as failed until it does; nobody waits for it again.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Self

import structlog

from secretd.core.audit.device import FileDevice
from secretd.core.audit.writer import Slot
from secretd.sdk.errors import AuditError, InvalidRequestError

_log = structlog.get_logger(__name__)

if TYPE_CHECKING:
    from types import TracebackType

    from secretd.core.audit.line import AuditHead
    from secretd.core.audit.place import DeviceSpec
    from secretd.core.audit.redact import Redactor
    from secretd.sdk.clock import Clock

_Waiter = asyncio.Future[None]


class AuditBroker:
    """All audit devices of this daemon. An async context manager; leaving it writes what is pending.

    ``node`` is this daemon's stable name; ``deadline`` is how many seconds a group waits for a device.
    """

    def __init__(
        self, redactor: Redactor, *, node: str, chain_key: bytes, clock: Clock, deadline: float = 5.0
    ) -> None:
        self._redactor = redactor
        self._node = node
        self._chain_key = chain_key
        self._clock = clock
        self._deadline = deadline
        self._slots: dict[str, Slot] = {}
        self._opening: list[DeviceSpec] = []
        self._entries: list[bytes] = []
        self._waiters: list[_Waiter] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def is_enabled(self) -> bool:
        """Whether there is a device at all; without one no entry need be built."""
        return bool(self._slots)

    async def record(self, *entries: bytes) -> None:
        """Return when the entries are recorded by the rule above; AuditError if they are not."""
        if not self._slots or not entries:
            return
        loop = asyncio.get_running_loop()
        if not self._entries:  # the first of a group; those that come before the loop turns go with it
            loop.call_soon(self._flush)
        waiter: _Waiter = loop.create_future()
        self._entries += entries
        self._waiters.append(waiter)
        await waiter

    async def add(self, spec: DeviceSpec, *, known: AuditHead | None = None, must_open: bool = True) -> None:
        """Enable a device; ``known`` is the head that storage has for it on this node.

        InvalidRequestError if its path or file is taken. AuditError if it cannot be opened, unless not
        ``must_open``: then it is enabled, fails its groups, and is opened as soon as it can be.
        """
        self._require_free(spec)
        device = FileDevice(spec, node=self._node, chain_key=self._chain_key, clock=self._clock, known=known)
        slot = Slot(device, self._clock)
        self._opening.append(spec)
        try:
            await slot.open()
        except AuditError as error:
            slot.error = error
            if must_open:
                await slot.close(self._deadline)
                raise
            _log.error("audit.device_failed", device=spec.path, reason=error.message)
        finally:
            self._opening.remove(spec)
        self._slots[spec.path] = slot

    async def remove(self, path: str) -> bool:
        """Disable a device; whether there was one. What waits for it is written; its file stays."""
        slot = self._slots.pop(path.strip("/") + "/", None)
        if slot is None:
            return False
        await slot.close(self._deadline)
        return True

    def devices(self) -> list[DeviceSpec]:
        """The devices that are enabled."""
        return [slot.spec for slot in self._slots.values()]

    def failing(self) -> list[str]:
        """Paths of devices that stall or did not record their last group, for metrics and `doctor`."""
        return [slot.spec.path for slot in self._slots.values() if slot.error or slot.is_stalled]

    def heads(self) -> list[AuditHead]:
        """Last line of each file rotated since the last call and of each device; for storage, each second."""
        return [head for slot in self._slots.values() for head in slot.take_heads()]

    def hash_text(self, device_path: str, value: str) -> str:
        """What an entry of that device shows instead of a value. InvalidRequestError if there is none."""
        if device_path.strip("/") + "/" not in self._slots:
            raise InvalidRequestError("unknown audit backend")
        return self._redactor.hash_text(value)

    def reopen(self) -> None:
        """SIGHUP: look for every file by its name. A failure is told at the next group."""
        for slot in self._slots.values():
            slot.reopen()

    async def close(self) -> list[AuditHead]:
        """Write what is pending and close the devices; their last heads, as :meth:`heads`."""
        self._flush()
        slots, self._slots = list(self._slots.values()), {}
        for slot in slots:
            await slot.close(self._deadline)
        return [head for slot in slots for head in slot.take_heads()]

    def _require_free(self, spec: DeviceSpec) -> None:
        for taken in (*self.devices(), *self._opening):
            if spec.path.startswith(taken.path) or taken.path.startswith(spec.path):
                raise InvalidRequestError(f"path already in use: {taken.path}")
            if taken.file_path == spec.file_path:
                raise InvalidRequestError(f"the file is already in use by {taken.path}")

    def _flush(self) -> None:
        """Hand one group to every device."""
        entries, self._entries = self._entries, []
        waiters, self._waiters = self._waiters, []
        if entries:
            _Group(list(self._slots.values()), waiters).start(entries, self._deadline)


class _Group:
    """Entries on their way, and who waits for them. Decided as soon as the rule can be."""

    __slots__ = ("_is_decided", "_needed", "_pending", "_slots", "_timer", "_waiters")

    def __init__(self, slots: list[Slot], waiters: list[_Waiter]) -> None:
        self._slots = slots
        self._waiters = waiters
        self._needed = {slot.spec.path for slot in slots if slot.spec.required}
        self._pending = {slot.spec.path for slot in slots}
        self._is_decided = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self, entries: list[bytes], deadline: float) -> None:
        for slot in self._slots:
            stalled = slot.is_stalled  # the entries are for it all the same, should it come back
            slot.write(entries, partial(self._tell, slot))
            if stalled:
                self._tell(slot, _stalled(slot))
        if not self._slots:
            self._decide(None)
        elif not self._is_decided:
            self._timer = asyncio.get_running_loop().call_later(deadline, self._expire)

    def _tell(self, slot: Slot, error: AuditError | None) -> None:
        path = slot.spec.path
        self._pending.discard(path)
        if self._is_decided:
            return
        if error is not None:
            if path in self._needed or not self._pending:
                self._decide(error)
            return
        self._needed.discard(path)
        if not self._needed:  # all required ones have it, or one does where none is required
            self._decide(None)

    def _expire(self) -> None:
        for slot in self._slots:
            if slot.spec.path in self._pending and not self._is_decided:
                slot.is_stalled = True
                self._tell(slot, _stalled(slot))

    def _decide(self, error: AuditError | None) -> None:
        self._is_decided = True
        if self._timer is not None:
            self._timer.cancel()
        for waiter in self._waiters:
            if waiter.done():  # its caller was cancelled
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(AuditError(error.message, hint=error.hint))


def _stalled(slot: Slot) -> AuditError:
    return AuditError(
        f"audit device {slot.spec.path} cannot record: it is stalled", hint="look at the file system it is on"
    )
