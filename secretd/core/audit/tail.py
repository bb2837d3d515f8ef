"""The end of an audit file as a start or a repair finds it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from secretd.core.audit.line import Line, Torn, parse

_WINDOWS = (1 << 16, 1 << 20, 1 << 24, 1 << 28)  # bytes from the end; 64 KiB nearly always suffices
_BLOCK = 1 << 16


@dataclass(slots=True, frozen=True)
class Tail:
    """The last whole line of ours, and what stands after it. ``is_open``: the file ends within a line."""

    last: Line | None
    torn: Torn | None
    is_open: bool
    size: int


class UnreadableTailError(OSError):
    """the end of the file holds no audit entry"""


def read_tail(descriptor: int) -> Tail:
    """The tail of an open file. Reads backwards, in windows that grow; UnreadableTailError past 256 MiB."""
    size = os.fstat(descriptor).st_size
    for window in _WINDOWS:
        start = max(0, size - window)
        data = os.pread(descriptor, size - start, start)
        last, end = _last_line(data, is_whole=start == 0)
        if last is not None or start == 0:
            is_open = bool(data) and not data.endswith(b"\n")
            return Tail(last, _torn(descriptor, start + end, size, is_open=is_open), is_open, size)
    raise UnreadableTailError("the end of the file holds no audit entry")


def _last_line(data: bytes, *, is_whole: bool) -> tuple[Line | None, int]:
    """The last line of ours and the offset after its end; a window's first piece may be half a line."""
    end = len(data) - data.endswith(b"\n")  # a last line may lack nothing but its end
    while end > 0:
        start = data.rfind(b"\n", 0, end) + 1
        if (start or is_whole) and (line := parse(data[start:end])) is not None:
            return line, min(end + 1, len(data))
        end = start - 1
    return None, 0


def _torn(descriptor: int, start: int, size: int, *, is_open: bool) -> Torn | None:
    """What the `recovered` entry says of the bytes after the last line, with the line's end it adds."""
    if start == size:
        return None
    digest = hashlib.sha256()
    for offset in range(start, size, _BLOCK):
        digest.update(os.pread(descriptor, min(_BLOCK, size - offset), offset))
    if is_open:
        digest.update(b"\n")
    return Torn(size - start + is_open, digest.hexdigest())
