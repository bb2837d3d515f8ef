"""A file device: entries become lines of one hash chain, appended in one write per group.

What is promised, and how it is kept:

1. A group counts as recorded only if all its bytes went into a file that has a name. After each write the file
   is looked at: without a name (`rm`) the group is written again, into a new file.
2. A renamed file is noticed within a second (its lines are not lost) and a new one is begun.
3. After any failure nothing is assumed: the file is opened anew, its tail read, and the chain goes on from the
   last whole line on disk, or from the head that we know if the file has lost it.
4. Whatever broke the plain sequence is said by the next line, a `rotated` or `recovered` entry. Bytes that are
   no line stay in place, and that entry vouches for them: an audit file is never shortened.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec

from secretd.core.audit.line import RECOVERED, ROTATED, START, AuditHead, Link, Torn, label, seal
from secretd.core.audit.place import DeviceSpec, open_file
from secretd.core.audit.redact import KEY_BYTES
from secretd.core.audit.tail import Tail, read_tail
from secretd.sdk.clock import Clock, rfc3339
from secretd.sdk.errors import AuditError

_LOOK_INTERVAL = 1.0  # seconds between looks at the file's name
_ATTEMPTS = 3  # at a file that somebody removes again and again
_HINTS = {
    "ENOSPC": "free space on its file system",
    "EDQUOT": "free space on its file system",
    "EFBIG": "rotate the file: it has reached the limit on its size",
    "EACCES": "the daemon's user may not write there",
    "EROFS": "its file system is read-only",
    "ELOOP": "a symlink stands in the way, and none is followed",
}


class FileDevice:
    """One audit file. Not for two threads at once; every method blocks.

    ``known`` is the head that was stored outside the file, None for a device that is new.
    """

    def __init__(
        self, spec: DeviceSpec, *, node: str, chain_key: bytes, clock: Clock, known: AuditHead | None = None
    ) -> None:
        if len(chain_key) != KEY_BYTES:
            raise ValueError("an audit key has 32 bytes")
        self.spec = spec
        self._node = node
        self._key = chain_key
        self._clock = clock
        self._label = label(node, spec.path)
        self._link = known.link if known else START
        self._time = known.time if known else ""
        self._descriptor = -1
        self._inode = (0, 0)
        self._size = 0  # bytes that the file ought to have
        self._looked = 0.0
        self._missed = 0  # entries that could not be recorded since the last line
        self._cause = "restart"  # why the file is to be opened
        self._marker: dict[str, Any] | None = None  # to be the next line
        self._torn: Torn | None = None  # what a failed write left, until a line has vouched for it
        self._line_end = b""  # what the file lacks before the next line
        self._ended: list[AuditHead] = []

    @property
    def head(self) -> AuditHead | None:
        """The last line written, None before the first."""
        if self._link.seq == 0:
            return None
        return AuditHead(self._node, self.spec.path, self._link.seq, self._link.chain, self._time)

    def take_ended(self) -> list[AuditHead]:
        """The last lines of files that were rotated since the last call."""
        taken, self._ended = self._ended, []
        return taken

    def open(self) -> None:
        """Open the file. AuditError if that fails; :meth:`append` tries again by itself."""
        try:
            self._attach()
        except OSError as error:
            self._fail(error)

    def close(self) -> None:
        """Close the file; what was missed is told first if it can be. A closed device opens itself when used."""
        if self._missed:
            with contextlib.suppress(OSError):
                if self._descriptor < 0:
                    self._attach()
                self._write(())
        self._detach("restart")

    def reopen(self) -> None:
        """What SIGHUP asks for: look for the file by its name now. AuditError if it cannot be opened."""
        try:
            self._look(now=self._clock.monotonic())
            if self._descriptor < 0:
                self._attach()
            if self._marker is not None:  # a new file tells at once what it goes on from
                self._write(())
        except OSError as error:
            self._fail(error)

    def append(self, entries: Sequence[bytes], *, missed: int = 0) -> None:
        """Write the entries as one group, after a marker if there is something to tell.

        ``missed`` entries before them never came here. AuditError if the group is not all in the file; the
        chain then takes up what is on disk at the next call.
        """
        if missed:
            self._missed += missed
            self._marker = self._marker or self._marked(RECOVERED, "missed")
            self._marker["missed"] = self._missed
        if not entries:
            return
        try:
            now = self._clock.monotonic()
            if now - self._looked >= _LOOK_INTERVAL:
                self._look(now=now)
            for _ in range(_ATTEMPTS):
                if self._descriptor < 0:
                    self._attach()
                if self._write(entries):
                    return
            raise OSError("the file vanishes as soon as it is made")
        except OSError as error:
            self._missed += len(entries)
            self._fail(error)

    def _write(self, entries: Sequence[bytes]) -> bool:
        """Whether the group is in the file that has the name; if not, the file has been let go of."""
        size = os.fstat(self._descriptor).st_size
        if size != self._size:
            self._detach("truncated" if size < self._size else "foreign_bytes")
            return False
        lines, link = self._seal(entries)
        view = memoryview(lines)
        while view:  # a short write comes before ENOSPC; the next one tells
            view = view[os.write(self._descriptor, view) :]
        if self.spec.fsync == "group":
            os.fdatasync(self._descriptor)
        if os.fstat(self._descriptor).st_nlink == 0:
            self._detach("removed")
            return False
        self._link, self._line_end, self._missed = link, b"", 0
        self._marker = self._torn = None
        self._time = rfc3339(self._clock.now()) or ""
        self._size += len(lines)
        return True

    def _seal(self, entries: Sequence[bytes]) -> tuple[bytes, Link]:
        lines = [self._line_end]
        link = self._link
        if self._marker is not None:
            entries = (msgspec.json.encode(self._marker), *entries)
        for entry in entries:
            line, link = seal(entry, label=self._label, previous=link, key=self._key)
            lines.append(line)
        return b"".join(lines), link

    def _look(self, *, now: float) -> None:
        """Let go of the file if its name leads elsewhere now."""
        self._looked = now
        if self._descriptor < 0:
            return
        try:
            named = os.stat(self.spec.file_path, follow_symlinks=False)
        except FileNotFoundError:
            named = None
        if named is not None and (named.st_dev, named.st_ino) == self._inode:
            return
        is_gone = os.fstat(self._descriptor).st_nlink == 0
        self._detach("removed" if is_gone else ROTATED)

    def _attach(self) -> None:
        descriptor = open_file(self.spec)
        try:
            tail = read_tail(descriptor)
            found = os.fstat(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        inode = (found.st_dev, found.st_ino)
        if inode == self._inode or tail.torn is not None:
            self._torn = tail.torn
        self._inode = inode
        self._size = tail.size
        self._looked = self._clock.monotonic()
        self._take_up(tail)

    def _take_up(self, tail: Tail) -> None:
        """Decide where the chain goes on and what the next line must tell."""
        reason, torn = self._judge(tail), self._torn
        if reason == "foreign_bytes":
            torn = None  # not ours to vouch for, nor to chain on
        elif tail.last is not None and reason != "tail_missing":
            self._link, self._time = tail.last.link, tail.last.time
        self._line_end = b"\n" if tail.is_open else b""
        self._marker = self._marked(ROTATED if reason == ROTATED else RECOVERED, reason) if reason else None
        if self._marker is not None and torn is not None:
            self._marker["torn"] = torn

    def _judge(self, tail: Tail) -> str:
        """What broke the plain sequence, "" if nothing did."""
        last, known = tail.last, self._link
        if self._cause == "foreign_bytes":
            return self._cause
        if last is not None and (last.seq < known.seq or _differ(last.link, known)):
            return "tail_missing"
        if tail.torn is not None:
            return "torn_line"
        if last is None and known.seq:
            return "new_file" if self._cause == "restart" else self._cause
        return "write_failed" if self._missed else ""

    def _marked(self, kind: str, reason: str) -> dict[str, Any]:
        """The entry that tells what happened to the file."""
        marker: dict[str, Any] = {"time": rfc3339(self._clock.now()), "type": kind, "reason": reason}
        if self._missed:
            marker["missed"] = self._missed
        marker["previous"] = self._link
        return marker

    def _detach(self, cause: str) -> None:
        self._cause = cause
        if self._descriptor < 0:
            return
        if cause == ROTATED and (head := self.head) is not None:
            self._ended.append(head)
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    def _learn(self) -> None:
        """After a failed write: which lines did get into the file, and what of the next. It may be renamed soon."""
        try:
            tail = read_tail(self._descriptor)
        except OSError:
            return
        if tail.last is not None and tail.last.seq > self._link.seq:
            self._link, self._time = tail.last.link, tail.last.time
        self._torn = tail.torn

    def _fail(self, error: OSError) -> NoReturn:
        if self._descriptor >= 0:  # a cause that is not yet told in the file stands
            self._learn()
            self._detach(self._cause if self._marker else "write_failed")
        name = _error_name(error)
        raise AuditError(
            f"audit device {self.spec.path} cannot record: {name}", hint=_HINTS.get(name)
        ) from error


def _differ(left: Link, right: Link) -> bool:
    """Whether two links claim one place."""
    return left.seq == right.seq and left.chain != right.chain


def _error_name(error: OSError) -> str:
    """``ENOSPC`` and its like, or our own words; never a path."""
    return errno.errorcode.get(error.errno, "EIO") if error.errno else str(error)
