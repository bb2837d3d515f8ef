"""Whatever happens to an audit file, short of tampering, its chain is whole and no answered entry is lost."""

from __future__ import annotations

import json
import resource
import tempfile
from itertools import count
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from secretd.core.audit.device import FileDevice
from secretd.core.audit.line import AuditHead
from secretd.core.audit.place import DeviceSpec
from secretd.core.audit.verify import verify_files
from secretd.sdk.clock import SystemClock
from secretd.sdk.errors import AuditError

KEY = bytes(range(32))


class Life:
    """A device, its files, and what it has promised."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "audit.jsonl"
        self.files: list[Path] = []
        self.numbers = count()
        self.promised: list[int] = []
        self.stored: AuditHead | None = None
        self.device = self.start()

    def start(self) -> FileDevice:
        spec = DeviceSpec("file/", str(self.file))
        device = FileDevice(spec, node="n", chain_key=KEY, clock=SystemClock(), known=self.stored)
        device.open()
        return device

    def append(self, size: int) -> None:
        numbers = [next(self.numbers) for _ in range(size)]
        self.device.append([json.dumps({"type": "request", "number": number}).encode() for number in numbers])
        self.promised += numbers

    def fill(self, room: int) -> None:
        """A group on a disk with so many bytes left; it may just fit."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        used = self.file.stat().st_size if self.file.exists() else 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (used + room, hard))
        try:
            self.append(3)
        except AuditError:
            pass
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def store(self, _: int) -> None:
        self.stored = self.device.head

    def crash(self, torn: int) -> None:
        """The daemon dies while it writes a line that nobody has been promised."""
        self.device.close()
        with self.file.open("ab") as file:
            file.write(b'{"time":"2026-01-01T00:00:00Z","type":"response","response":{"data":'[: torn % 70])
        self.device = self.start()

    def rotate(self, _: int) -> None:
        if self.file.exists() and self.file.stat().st_size:
            self.files.append(self.file.rename(self.file.with_suffix(f".{len(self.files)}")))
        self.device.reopen()
        self.stored = self.device.head  # the scheduler stores heads at rotation

    def rotate_while_down(self, _: int) -> None:
        self.device.close()
        if self.file.exists() and self.file.stat().st_size:
            self.files.append(self.file.rename(self.file.with_suffix(f".{len(self.files)}")))
            self.stored = self.device.head
        self.device = self.start()


DEEDS = ("append", "fill", "store", "crash", "rotate", "rotate_while_down")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, 700)), max_size=14))
def test_no_accident_breaks_the_chain_or_loses_a_promise(deeds):
    """Full disks, crashes within a line, rotations and restarts in any order leave files that verify."""
    with tempfile.TemporaryDirectory() as folder:
        life = Life(Path(folder))
        for deed, number in deeds:
            getattr(life, deed)(1 + number % 3 if deed == "append" else number)
        life.append(1)
        files = [*life.files, life.file]
        report = verify_files(files, KEY, [life.device.head, *life.device.take_ended()])
        life.device.close()
        assert report.is_intact, report
        found = []
        for file in files:
            for line in file.read_bytes().splitlines():
                try:
                    found.append(json.loads(line).get("number"))
                except ValueError:
                    continue
        assert [number for number in found if number in set(life.promised)] == life.promised
