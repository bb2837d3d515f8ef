"""Checking audit files: nothing edited, dropped, added, swapped or cut, from the first line to the stored head.

One pass, constant memory. After a line that does not fit, checking goes on from what that line claims, so that
one edit is one finding and not the rest of the file. What only the stored heads can tell is a tail that is cut:
without them a report says so in its notes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from secretd.core.audit.line import START, AuditHead, Line, Link, computed_chain, parse
from secretd.crypto.digest import equal

MAX_FINDINGS: Final = 100
_MAX_LINE = 1 << 26  # bytes; a longer line is none of ours, and is read in pieces
_ORDERLY = frozenset({"rotated", "new_file"})


@dataclass(slots=True, frozen=True)
class Finding:
    """What does not fit: ``kind`` is edited, missing, inserted, unreadable, cut_start, cut_tail or head."""

    kind: str
    file: str
    line: int  # in that file, from 1; 0 = the file as a whole
    seq: int
    message: str


@dataclass(slots=True)
class Report:
    """The outcome. ``findings`` holds the first hundred, ``found`` counts all; ``notes`` are no faults."""

    entries: int = 0
    first_seq: int = 0
    head: AuditHead | None = None
    found: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_intact(self) -> bool:
        """Whether nothing was found."""
        return self.found == 0


def verify(lines: Iterable[bytes], key: bytes, heads: Iterable[AuditHead] | None = None) -> Report:
    """Check lines (with their ends) of one device, oldest first, under the 32-byte chain key."""
    checker = Checker(key, heads)
    checker.begin_file("")
    for line in lines:
        checker.feed(line)
    return checker.finish()


def verify_files(paths: Iterable[Path], key: bytes, heads: Iterable[AuditHead] | None = None) -> Report:
    """Check the files of one device, oldest first. OSError if one cannot be read."""
    checker = Checker(key, heads)
    for path in paths:
        checker.begin_file(path.name)
        for line in _read_lines(path):
            checker.feed(line)
    return checker.finish()


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Files of one device, oldest first, by the number of their first line of ours; those without come last."""
    return sorted(paths, key=_first_seq)


def _first_seq(path: Path) -> float:
    return next((line.seq for raw in _read_lines(path) if (line := parse(raw.removesuffix(b"\n")))), math.inf)


def _read_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while line := file.readline(_MAX_LINE):
            yield line


class Checker:
    """The pass itself, for callers that read the lines their own way: begin_file, feed …, finish."""

    def __init__(self, key: bytes, heads: Iterable[AuditHead] | None = None) -> None:
        self.report = Report()
        self._key = key
        self._heads = {(head.node, head.device, head.seq): head for head in heads or ()}
        self._owners = {(node, device) for node, device, _ in self._heads}
        self._at: Link | None = None  # the line before, None before the first
        self._file = ""
        self._number = 0
        self._odd_bytes = 0  # of lines that are none of ours, since the last that was
        self._odd_hash = hashlib.sha256()
        self._odd_line = 0
        self._odd_file = ""
        self._is_open = False  # the last line has no end
        self._is_odd_end = False  # a file ended within those bytes

    def begin_file(self, name: str) -> None:
        """What follows is another file. Its first line may vouch for what a full disk left of the one before."""
        self._end_file()
        self._file, self._number = name, 0

    def feed(self, raw: bytes) -> None:
        """The next line."""
        self._number += 1
        body = raw.removesuffix(b"\n")
        self._is_open = len(body) == len(raw)
        line = parse(body)
        if line is None:
            if self._is_odd_end:
                self._settle_odd(None)
            if not self._odd_bytes:
                self._odd_file, self._odd_line = self._file, self._number
            self._odd_bytes += len(raw)
            self._odd_hash.update(raw)
            return
        self._settle_odd(line)
        self._check(body, line)
        self._at = line.link
        self.report.entries += 1
        self.report.head = AuditHead(line.node, line.device, line.seq, line.chain, line.time)

    def finish(self) -> Report:
        """The report, after the last line."""
        self._end_file()
        self._settle_odd(None)
        self._check_tails()
        return self.report

    def _check(self, body: bytes, line: Line) -> None:
        before = self._at
        if before is None:
            before = self._begin(line)
        if line.is_marker:
            self._note(
                line, f"{line.type}: {line.reason}" + (f", {line.missed} not recorded" if line.missed else "")
            )
        if line.seq != before.seq + 1:
            self._find_gap(line, before)
        elif not self._is_chained(body, line, before):
            self._find("edited", line, "the line does not follow from the line before it, or was edited")
        stored = self._heads.pop((line.node, line.device, line.seq), None)
        if stored is not None and not equal(stored.chain, line.chain):
            self._find("head", line, "the line is not the one that was stored as head")

    def _begin(self, line: Line) -> Link:
        """What the first line given chains on."""
        self.report.first_seq = line.seq
        if line.seq <= 1:
            return START
        stored = self._heads.get((line.node, line.device, line.seq - 1))
        if line.is_marker and line.previous is not None and line.previous.seq == line.seq - 1:
            if line.reason not in _ORDERLY:
                self._find("cut_start", line, f"the lines before it are not here ({line.reason})")
            else:
                self._note(line, "earlier files are not given")
            return stored.link if stored else line.previous
        self._find("cut_start", line, f"lines 1 to {line.seq - 1} are not here")
        return stored.link if stored else Link(line.seq - 1, "")

    def _is_chained(self, body: bytes, line: Line, before: Link) -> bool:
        if not before.chain:
            return True  # its predecessor is not known, and that has been found already
        return equal(computed_chain(body, before, key=self._key), line.chain)

    def _find_gap(self, line: Line, before: Link) -> None:
        if line.seq > before.seq:
            missing = f"{before.seq + 1} to {line.seq - 1}"
            self._find("missing", line, f"lines {missing} are missing or stand elsewhere")
        else:
            self._find("inserted", line, f"line {line.seq} stands after line {before.seq}")

    def _end_file(self) -> None:
        if self._odd_bytes and self._is_open:
            self._is_odd_end = True
            self._odd_bytes += 1  # the line's end that a marker counts, there or not
            self._odd_hash.update(b"\n")
            self._is_open = False

    def _settle_odd(self, line: Line | None) -> None:
        """Bytes that are no line are fine if the line after them, a marker, vouches for them."""
        torn = line.torn if line is not None and line.is_marker else None
        if not self._odd_bytes:
            if torn is not None and self._at is not None:
                self._find("missing", line, "the torn bytes that it vouches for are not here")
            return
        if torn is not None and (torn.bytes, torn.sha256) == (self._odd_bytes, self._odd_hash.hexdigest()):
            self.report.notes.append(f"{self._odd_file}:{self._odd_line}: {torn.bytes} bytes of a torn line")
        elif self._is_odd_end:
            self.report.notes.append(f"{self._odd_file}:{self._odd_line}: the file ends within a line")
        else:
            self._find(
                "unreadable", None, "bytes that are no audit line", at=(self._odd_file, self._odd_line)
            )
        self._odd_bytes, self._odd_line, self._odd_hash = 0, 0, hashlib.sha256()
        self._is_odd_end = False

    def _check_tails(self) -> None:
        """Heads that no line has matched: behind the end they show a cut tail."""
        last = self.report.head
        if not self._owners or (last is not None and (last.node, last.device) not in self._owners):
            self.report.notes.append("no stored head of this device was given: a cut tail cannot be seen")
        for stored in self._heads.values():
            if last is None or (stored.node, stored.device) == (last.node, last.device):
                reached = last.seq if last else 0
                if stored.seq > reached:
                    message = f"lines {reached + 1} to {stored.seq} were written and are not here"
                    self._find("cut_tail", None, message, at=(self._file, 0))

    def _note(self, line: Line, message: str) -> None:
        if len(self.report.notes) < MAX_FINDINGS:
            self.report.notes.append(f"{self._file}:{self._number}: line {line.seq}: {message}")

    def _find(self, kind: str, line: Line | None, message: str, *, at: tuple[str, int] | None = None) -> None:
        self.report.found += 1
        if len(self.report.findings) < MAX_FINDINGS:
            file, number = at or (self._file, self._number)
            self.report.findings.append(Finding(kind, file, number, line.seq if line else 0, message))
