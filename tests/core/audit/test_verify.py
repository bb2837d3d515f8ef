"""Checking finds whatever is done to a file by somebody without the key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from secretd.core.audit.line import AuditHead
from secretd.core.audit.verify import MAX_FINDINGS, in_order, verify, verify_files


def edited(lines):
    return [*lines[:3], lines[3].replace(b"r4", b"r9"), *lines[4:]]


def reclaimed(lines):
    """An edit by somebody who also puts another line's chain there."""
    return [*lines[:3], lines[3][:-70] + lines[4][-70:], *lines[4:]]


def renumbered(lines):
    return [*lines[:3], lines[3].replace(b'"seq":4', b'"seq":40'), *lines[4:]]


DEEDS = {
    "edited": (edited, {"edited"}),
    "chain swapped": (reclaimed, {"edited"}),
    "renumbered": (renumbered, {"missing", "inserted"}),
    "dropped": (lambda lines: lines[:3] + lines[4:], {"missing"}),
    "swapped": (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], {"missing", "inserted"}),
    "repeated": (lambda lines: [*lines[:4], lines[3], *lines[4:]], {"inserted"}),
    "text added": (lambda lines: [*lines[:3], b"hello\n", *lines[3:]], {"unreadable"}),
    "line emptied": (lambda lines: [*lines[:3], b"\n", *lines[4:]], {"unreadable", "missing"}),
    "start cut": (lambda lines: lines[2:], {"cut_start"}),
    "tail cut": (lambda lines: lines[:-2], {"cut_tail"}),
    "tail cut within a line": (lambda lines: [*lines[:-1], lines[-1][:-30]], {"cut_tail"}),
    "all cut": (lambda lines: [], {"cut_tail"}),
    "last line edited": (lambda lines: [*lines[:-1], lines[-1].replace(b"r8", b"r9")], {"edited"}),
}


@pytest.fixture
def written(bench, numbered):
    """Eight lines and their head."""
    device = bench.device()
    device.append(numbered(*range(1, 9)))
    return bench.file.read_bytes().splitlines(keepends=True), device.head


def test_an_untouched_file_is_intact(bench, written):
    """Nothing is found in what was written, with the head and without; without, a note says what is not seen."""
    lines, head = written
    assert verify(lines, bench.key, [head]) == verify(iter(lines), bench.key, [head])
    report = verify(lines, bench.key, [head])
    assert (report.is_intact, report.entries, report.first_seq, report.notes) == (True, 8, 1, [])
    assert report.head is not None
    assert report.head.link == head.link
    assert verify(lines, bench.key).is_intact
    assert "cut tail cannot be seen" in verify(lines, bench.key).notes[0]


@pytest.mark.parametrize("deed", DEEDS)
def test_every_deed_is_found(bench, written, deed):
    """Each way to tamper gives the findings it should, and no others."""
    lines, head = written
    change, kinds = DEEDS[deed]
    report = verify(change(lines), bench.key, [head])
    assert {found.kind for found in report.findings} == kinds
    assert not report.is_intact


def test_one_edit_is_one_finding_at_its_place(bench, written):
    """After a bad line checking goes on, so a report points at the very line."""
    lines, head = written
    (found,) = verify(edited(lines), bench.key, [head]).findings
    assert (found.line, found.seq) == (4, 4)


def test_a_file_chained_under_another_key_is_found(bench, written):
    """Whoever writes the whole file anew without the key is found at the first line."""
    lines, _ = written
    assert verify(lines, bytes(32)).findings[0].line == 1


def test_a_chain_rebuilt_from_an_older_state_misses_the_head(bench, written, numbered):
    """A line that is well chained but not the one stored as head is found."""
    lines, head = written
    stored = AuditHead(head.node, head.device, 5, head.chain, head.time)
    assert [found.kind for found in verify(lines, bench.key, [stored, head]).findings] == ["head"]


def test_rotated_files_make_one_chain(bench, clock, numbered):
    """Files in order are intact; alone, a later one notes what is missing; a middle one left out is found."""
    device = bench.device()
    files = []
    for number in range(1, 4):
        device.append(numbered(number))
        files.append(bench.file.rename(bench.folder / f"audit.{number}"))
        clock.move(2)
    device.append(numbered(4))
    files.append(bench.file)
    heads = [*device.take_ended(), device.head]
    assert verify_files(files, bench.key, heads).is_intact
    assert in_order(files[::-1]) == files
    later = verify_files(files[2:], bench.key, heads)
    assert later.is_intact
    assert "earlier files are not given" in " ".join(later.notes)
    assert {found.kind for found in verify_files([files[0], *files[2:]], bench.key, heads).findings} == {
        "missing"
    }
    assert verify_files([files[0]], bench.key, heads[:1]).is_intact


def test_a_torn_line_without_its_marker_is_found(bench, numbered):
    """Bytes that claim to be torn must be the very bytes that the marker vouches for."""
    device = bench.device()
    device.append(numbered(1, 2))
    device.close()
    os.truncate(bench.file, bench.file.stat().st_size - 20)
    again = bench.device()
    again.append(numbered(3))
    lines = bench.file.read_bytes().splitlines(keepends=True)
    assert verify(lines, bench.key).is_intact
    altered = verify([lines[0], lines[1][1:], *lines[2:]], bench.key)
    assert [found.kind for found in altered.findings] == ["unreadable"]
    assert [found.kind for found in verify([lines[0], *lines[2:]], bench.key).findings] == ["missing"]


def test_findings_are_counted_and_not_hoarded(bench):
    """A file of rubbish costs no memory: findings are capped, the count goes on."""
    report = verify((b"rubbish\n" if number % 2 else b"x" for number in range(10_000)), bench.key)
    assert len(report.findings) <= MAX_FINDINGS
    assert report.entries == 0


def test_the_first_torn_piece_of_a_running_daemon_is_a_note(bench, written, tmp_path: Path):
    """A last line that is still being written is no fault unless a stored head says otherwise."""
    lines, head = written
    report = verify([*lines, b'{"time":"20'], bench.key, [head])
    assert report.is_intact
    assert "ends within a line" in report.notes[0]
