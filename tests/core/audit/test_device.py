"""A file device keeps its chain through everything that happens to its file."""

from __future__ import annotations

import json
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from secretd.core.audit.verify import verify_files
from secretd.sdk.errors import AuditError


@contextmanager
def full_disk(bytes_left: int, file) -> Iterator[None]:
    """Writes past so many bytes fail, after a short write, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + bytes_left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_lines_carry_node_device_number_and_chain(bench, numbered, decoded):
    """Every line names its node, device and number, and ends in the chain."""
    device = bench.device()
    device.append(numbered(1, 2))
    device.append(numbered(3))
    lines = decoded(bench.file)
    assert [(line["node"], line["device"], line["seq"]) for line in lines] == [
        ("n1", "file/", n) for n in (1, 2, 3)
    ]
    assert [list(line)[-1] for line in lines] == ["chain"] * 3
    assert (device.head.seq, device.head.chain) == (3, lines[-1]["chain"])


def test_file_and_folder_are_private_under_any_umask(bench, numbered):
    """A file is made 0600 and its folder 0700, whatever the umask is."""
    old = os.umask(0)
    try:
        file = bench.folder / "new" / "audit.jsonl"
        bench.device(spec=bench.spec(file=file)).append(numbered(1))
    finally:
        os.umask(old)
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)


def test_a_restart_goes_on_where_the_file_ends(bench, numbered, decoded):
    """A device opened again chains on the last line, with and without a stored head, and adds no marker."""
    first = bench.device()
    first.append(numbered(1))
    stored = first.head
    first.append(numbered(2))
    first.close()
    second = bench.device(known=stored)
    second.append(numbered(3))
    second.close()
    bench.device().append(numbered(4))
    assert [line["seq"] for line in decoded(bench.file)] == [1, 2, 3, 4]
    assert verify_files([bench.file], bench.key).is_intact


def test_two_writers_of_one_file_are_refused(bench, numbered):
    """A second device on the same file fails by name and leaves the first in order."""
    first = bench.device()
    with pytest.raises(AuditError, match="audit device file/ cannot record: another writer has it"):
        bench.device()
    first.append(numbered(1))
    assert verify_files([bench.file], bench.key).is_intact


def test_symlinks_folders_and_pipes_are_no_audit_files(bench, tmp_path):
    """What is no regular file of its own name is refused and not written to."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "link").symlink_to(victim)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "folder", "pipe"):
        with pytest.raises(AuditError):
            bench.device(spec=bench.spec(file=tmp_path / name))
    assert victim.read_text() == "precious"


def test_a_removed_file_is_begun_anew_with_the_same_group(bench, numbered, recorded, decoded):
    """The group that was written into a removed file stands in the new one, after a `recovered` entry."""
    device = bench.device()
    device.append(numbered(1))
    head = device.head
    bench.file.unlink()
    device.append(numbered(2, 3))
    marker = decoded(bench.file)[0]
    assert (marker["type"], marker["reason"]) == ("recovered", "removed")
    assert marker["previous"] == {"seq": head.seq, "chain": head.chain}
    assert recorded(bench.file) == ["r2", "r3"]
    assert [found.kind for found in verify_files([bench.file], bench.key).findings] == ["cut_start"]


def test_a_renamed_file_is_noticed_within_a_second(bench, clock, numbered, recorded, decoded):
    """After logrotate's rename, entries go to the old file for a second at most; the chain spans both."""
    device, old = bench.device(), bench.folder / "audit.jsonl.1"
    device.append(numbered(1))
    bench.file.rename(old)
    device.append(numbered(2))
    clock.move(1.0)
    device.append(numbered(3))
    assert (recorded(old), recorded(bench.file)) == (["r1", "r2"], ["r3"])
    assert decoded(bench.file)[0]["type"] == "rotated"
    assert verify_files([old, bench.file], bench.key, [device.head]).is_intact
    assert [head.seq for head in device.take_ended()] == [2]


def test_reopen_begins_the_new_file_at_once(bench, numbered, recorded):
    """SIGHUP after a rename needs no second of waiting, and none if nothing was renamed."""
    device, old = bench.device(), bench.folder / "old"
    device.reopen()
    device.append(numbered(1))
    bench.file.rename(old)
    device.reopen()
    device.append(numbered(2))
    assert (recorded(old), recorded(bench.file)) == (["r1"], ["r2"])


def test_a_truncated_file_is_told(bench, numbered, decoded):
    """After copytruncate the next line is a marker, and copy and rest make one chain."""
    device, copy = bench.device(), bench.folder / "copy"
    device.append(numbered(1, 2))
    copy.write_bytes(bench.file.read_bytes())
    os.truncate(bench.file, 0)
    device.append(numbered(3))
    assert decoded(bench.file)[0]["reason"] == "truncated"
    assert verify_files([copy, bench.file], bench.key, [device.head]).is_intact


@pytest.mark.parametrize("junk", [b"junk", b"junk\n", b'{"type":"request"}\n'])
def test_bytes_of_others_are_found_and_not_vouched_for(bench, numbered, decoded, junk):
    """What somebody else appends while the daemon runs stays a finding for ever, and harms no line of ours."""
    device = bench.device()
    device.append(numbered(1))
    with bench.file.open("ab") as other:
        other.write(junk)
    device.append(numbered(2))
    report = verify_files([bench.file], bench.key, [device.head])
    assert [found.kind for found in report.findings] == ["unreadable"]
    assert report.entries == 3


@pytest.mark.parametrize("cut", [1, 40, 100])
def test_a_torn_last_line_is_marked_and_kept(bench, numbered, recorded, cut):
    """What a crash left of a line stays in place; a `recovered` entry vouches for it and the chain goes on."""
    device = bench.device()
    device.append(numbered(1, 2))
    known = device.head
    device.append(numbered(3))
    device.close()
    os.truncate(bench.file, bench.file.stat().st_size - cut)
    torn = bench.file.read_bytes().splitlines()[-1]
    again = bench.device(known=known)
    again.append(numbered(4))
    report = verify_files([bench.file], bench.key, [again.head])
    assert report.is_intact
    assert torn in bench.file.read_bytes()
    assert any("torn" in note for note in report.notes) == (cut > 1)


def test_a_zero_filled_tail_is_a_torn_line(bench, numbered):
    """What a power loss makes of a tail, a run of NULs, is vouched for like any torn line."""
    device = bench.device()
    device.append(numbered(1))
    device.close()
    with bench.file.open("ab") as file:
        file.write(bytes(200_000))
    again = bench.device()
    again.append(numbered(2))
    assert verify_files([bench.file], bench.key, [again.head]).is_intact


def test_a_tail_cut_while_the_daemon_was_down_is_told(bench, numbered, decoded):
    """The chain goes on from the stored head, so the lines that are gone leave a gap."""
    device = bench.device()
    device.append(numbered(1, 2, 3))
    head = device.head
    device.close()
    bench.file.write_bytes(b"".join(bench.file.read_bytes().splitlines(keepends=True)[:1]))
    again = bench.device(known=head)
    again.append(numbered(4))
    assert [(line["seq"], line.get("reason")) for line in decoded(bench.file)[1:]] == [
        (4, "tail_missing"),
        (5, None),
    ]
    assert [found.kind for found in verify_files([bench.file], bench.key).findings] == ["missing"]


@pytest.mark.parametrize("bytes_left", [0, 10, 150, 300])
def test_a_full_disk_fails_by_name_and_recovers(bench, numbered, recorded, decoded, bytes_left):
    """A full disk is an AuditError with a hint; afterwards the chain is whole and says how many were missed."""
    device = bench.device()
    device.append(numbered(1))
    for _ in range(2):
        with (
            full_disk(bytes_left, bench.file),
            pytest.raises(AuditError, match="file/ cannot record: EFBIG") as caught,
        ):
            device.append(numbered(2, 3, 4))
        assert caught.value.hint
    device.append(numbered(5))
    report = verify_files([bench.file], bench.key, [device.head])
    assert report.is_intact, report
    markers = [line for line in _whole(bench.file) if line["type"] == "recovered"]
    assert markers[-1]["missed"] in (3, 6)
    assert list(_whole(bench.file))[-1]["request"]["id"] == "r5"


def _whole(file):
    for line in file.read_bytes().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def test_a_short_chain_key_is_refused(bench):
    """A chain key has 32 bytes."""
    bench.key = b"short"
    with pytest.raises(ValueError, match="32 bytes"):
        bench.device()


def test_group_fsync_reaches_the_disk_before_append_returns(bench, numbered, monkeypatch):
    """With fsync = "group" each group is synced once, after its write."""
    synced = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    device = bench.device(spec=bench.spec(fsync="group"))
    device.append(numbered(1, 2))
    assert synced == [bench.file.stat().st_size]
