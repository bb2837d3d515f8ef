"""A caller goes on only when the devices that must record have recorded."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from secretd.core.audit.broker import AuditBroker
from secretd.core.audit.line import parse
from secretd.core.audit.redact import Redactor
from secretd.core.audit.verify import verify_files
from secretd.sdk.clock import SystemClock
from secretd.sdk.errors import AuditError, InvalidRequestError

REDACTOR = Redactor(bytes(32))


@pytest.fixture
def opened(bench):
    """``opened(spec, …)``: a broker with these devices, on a real clock."""

    @asynccontextmanager
    async def make(*specs, deadline: float = 5.0):
        async with AuditBroker(
            REDACTOR, node="n1", chain_key=bench.key, clock=SystemClock(), deadline=deadline
        ) as broker:
            for spec in specs:
                await broker.add(spec, must_open=False)
            yield broker

    return make


@pytest.fixture
def written(monkeypatch):
    """Counts `os.write` calls by file name."""
    calls: Counter[str] = Counter()
    write = os.write

    def counted(descriptor: int, data: Any) -> int:
        calls[os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))] += 1
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", counted)
    return calls


class HungDisk:
    """`fdatasync` as on a disk that hangs until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = threading.Event()
        self.is_reached = threading.Event()
        monkeypatch.setattr(os, "fdatasync", self._wait)

    def _wait(self, descriptor: int) -> None:
        self.is_reached.set()
        self.gate.wait(30)


@pytest.fixture
def hung(monkeypatch):
    """A disk that hangs in `fsync = "group"`; it is let go after the test."""
    disk = HungDisk(monkeypatch)
    yield disk
    disk.gate.set()


async def outcomes(broker: AuditBroker, entries: list[bytes]) -> list[BaseException | None]:
    return await asyncio.gather(*(broker.record(entry) for entry in entries), return_exceptions=True)


async def test_concurrent_entries_are_one_write(bench, opened, written, numbered, recorded):
    """What arrives in one turn of the loop is one write for each device, in order, before any caller goes on."""
    other = bench.folder / "b.jsonl"
    async with opened(bench.spec(), bench.spec("b", file=other)) as broker:
        assert await outcomes(broker, numbered(*range(50))) == [None] * 50
        assert (written["audit.jsonl"], written["b.jsonl"]) == (1, 1)
        assert recorded(bench.file) == recorded(other) == [f"r{n}" for n in range(50)]


async def test_without_devices_nothing_is_recorded_and_nothing_fails(opened, numbered):
    """An installation without audit devices works."""
    async with opened() as broker:
        await broker.record(*numbered(1))
        assert not broker.is_enabled


async def test_a_cancelled_callers_entry_is_written(bench, opened, numbered, recorded):
    """Who goes away after asking is still recorded."""
    async with opened(bench.spec()) as broker:
        task = asyncio.create_task(broker.record(*numbered(1)))
        other = asyncio.create_task(broker.record(*numbered(2)))
        await asyncio.sleep(0)
        task.cancel()
        await other
        with pytest.raises(asyncio.CancelledError):
            await task
        assert recorded(bench.file) == ["r1", "r2"]


async def test_leaving_writes_what_is_pending(bench, opened, numbered, recorded):
    """A daemon that stops loses no entry that was handed over."""
    async with opened(bench.spec(), bench.spec("b", file=bench.folder / "b", fsync="group")) as broker:
        tasks = [asyncio.create_task(broker.record(entry)) for entry in numbered(1, 2)]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert recorded(bench.file) == recorded(bench.folder / "b") == ["r1", "r2"]


@pytest.mark.parametrize(
    ("good", "bad", "is_recorded"),
    [("required", "required", False), ("", "required", False), ("required", "", True), ("", "", True)],
)
async def test_the_rule_of_devices(bench, opened, numbered, recorded, good, bad, is_recorded):
    """Required devices must all record; without any, one that records is enough."""
    (bench.folder / "file").write_text("in the way of a folder")
    broken = bench.spec("broken", required=bool(bad), file=bench.folder / "file" / "audit.jsonl")
    async with opened(bench.spec("good", required=bool(good)), broken) as broker:
        found = await outcomes(broker, numbered(1, 2))
        if is_recorded:
            assert found == [None, None]
        else:
            assert all(isinstance(error, AuditError) and "broken/" in error.message for error in found)
        assert recorded(bench.file) == ["r1", "r2"]
        assert broker.failing() == ["broken/"]


async def test_all_devices_failing_fails(bench, opened, numbered):
    """Without required devices, none recording is an AuditError."""
    (bench.folder / "file").write_text("in the way of a folder")
    specs = [bench.spec(name, file=bench.folder / "file" / name) for name in "ab"]
    async with opened(*specs) as broker:
        with pytest.raises(AuditError, match="audit device b/ cannot record"):
            await broker.record(*numbered(1))


async def test_a_required_device_works_again_by_itself(bench, opened, numbered, recorded):
    """When the cause is gone, the next group is recorded."""
    (bench.folder / "file").write_text("in the way of a folder")
    file = bench.folder / "file" / "audit.jsonl"
    async with opened(bench.spec(required=True, file=file)) as broker:
        with pytest.raises(AuditError):
            await broker.record(*numbered(1))
        (bench.folder / "file").unlink()
        await broker.record(*numbered(2))
        assert recorded(file) == ["r2"]
        assert broker.failing() == []


async def test_a_file_removed_under_load_loses_no_later_entry(bench, opened, numbered, recorded):
    """Whoever gets his answer after the removal is in the new file, and its chain holds."""
    async with opened(bench.spec(required=True)) as broker:
        before: list[int] = []
        answered: list[int] = []

        async def client(first: int) -> None:
            for number in range(first, first + 50):
                await broker.record(*numbered(number))
                (answered if len(before) == 500 else before).append(number)
                if number == 19_024:  # the last of the 25th group
                    bench.file.unlink()

        await asyncio.gather(*(client(1000 * number) for number in range(20)))
        assert {f"r{number}" for number in answered} <= set(recorded(bench.file))
        assert len(answered) == 500
        findings = verify_files([bench.file], bench.key, broker.heads()).findings
    assert [found.kind for found in findings] == ["cut_start"]


async def test_a_file_rotated_under_load_loses_nothing(bench, opened, numbered, recorded):
    """logrotate's rename and SIGHUP under load: all entries, one chain, both heads."""
    old = bench.folder / "old"
    async with opened(bench.spec(required=True)) as broker:

        async def client(first: int) -> None:
            for number in range(first, first + 50):
                await broker.record(*numbered(number))
                if number == 10_025:
                    bench.file.rename(old)
                if number == 10_035:
                    broker.reopen()

        await asyncio.gather(*(client(1000 * number) for number in range(20)))
        heads = broker.heads()
    assert len(recorded(old)) + len(recorded(bench.file)) == 1000
    assert verify_files([old, bench.file], bench.key, heads).is_intact
    assert len(heads) == 2


async def test_a_hung_device_that_is_not_required_holds_up_nobody(bench, opened, hung, numbered, recorded):
    """Callers go on when the other device has recorded; the hung one gets all entries when it is back."""
    slow = bench.spec("slow", file=bench.folder / "slow", fsync="group")
    async with opened(bench.spec(), slow) as broker:
        await broker.record(*numbered(1))
        await broker.record(*numbered(2))
        await broker.record(*numbered(3))
        assert recorded(bench.file) == ["r1", "r2", "r3"]
        hung.gate.set()
    assert recorded(bench.folder / "slow") == ["r1", "r2", "r3"]


async def test_a_hung_required_device_fails_by_name_and_then_at_once(bench, opened, hung, numbered, recorded):
    """After one deadline nobody waits for it; when it is back it has every entry and serves again."""
    async with opened(bench.spec(required=True, fsync="group"), deadline=0.05) as broker:
        with pytest.raises(AuditError, match="audit device file/ cannot record: it is stalled"):
            await broker.record(*numbered(1))
        assert broker.failing() == ["file/"]
        async with asyncio.timeout(0.04):
            with pytest.raises(AuditError, match="stalled"):
                await broker.record(*numbered(2))
        hung.gate.set()
        await _eventually(lambda: not broker.failing())
        await broker.record(*numbered(3))
    assert recorded(bench.file) == ["r1", "r2", "r3"]


async def _eventually(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0)


async def test_a_backlog_is_bounded_and_what_was_turned_away_is_counted(
    bench, opened, hung, numbered, decoded, monkeypatch
):
    """A device that hangs for long takes no memory without end, and its file tells how many it missed."""
    monkeypatch.setattr("secretd.core.audit.writer.BACKLOG", 4)
    slow = bench.spec("slow", file=bench.folder / "slow", fsync="group")
    async with opened(bench.spec(), slow) as broker:
        for number in range(10):
            await broker.record(*numbered(number))
        hung.gate.set()
    lines = decoded(bench.folder / "slow")
    assert len([line for line in lines if line["type"] == "request"]) == 5
    assert [line["missed"] for line in lines if line["type"] == "recovered"] == [5]
    assert verify_files([bench.folder / "slow"], bench.key).is_intact


async def test_group_fsync_groups_what_comes_meanwhile(bench, opened, hung, numbered, written, recorded):
    """While one group is synced, all that comes is the next group: one write."""
    async with opened(bench.spec(required=True, fsync="group")) as broker:
        tasks = [asyncio.create_task(broker.record(*numbered(0)))]
        await asyncio.to_thread(hung.is_reached.wait)
        for number in range(1, 20):
            tasks.append(asyncio.create_task(broker.record(*numbered(number))))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        hung.gate.set()
        await asyncio.gather(*tasks)
    assert written["audit.jsonl"] == 2
    assert len(recorded(bench.file)) == 20


async def test_heads_are_what_the_file_ends_with(bench, opened, numbered):
    """The head that storage gets is the last line, for threaded devices too; a restart goes on from it."""
    threaded = bench.spec("t", file=bench.folder / "t", fsync="group", required=True)
    async with opened(bench.spec(required=True), threaded) as broker:
        assert broker.heads() == []
        await broker.record(*numbered(1, 2))
        heads = {head.device: head for head in broker.heads()}
    for device, file in (("file/", bench.file), ("t/", bench.folder / "t")):
        last = parse(file.read_bytes().splitlines()[-1])
        assert last is not None
        assert (heads[device].seq, heads[device].chain, heads[device].node) == (2, last.chain, "n1")


async def test_closing_tells_the_last_heads(bench, opened, numbered):
    """What is written while a daemon stops is in the heads that closing returns."""
    async with opened(bench.spec(required=True)) as broker:
        await broker.record(*numbered(1))
        task = asyncio.create_task(broker.record(*numbered(2)))
        await asyncio.sleep(0)
        assert [head.seq for head in await broker.close()] == [2]
        await task


async def test_devices_come_and_go(bench, opened, numbered, recorded):
    """Paths and files are taken once; a removed device records no more and can be added again."""
    async with opened(bench.spec()) as broker:
        with pytest.raises(InvalidRequestError, match="path already in use: file/"):
            await broker.add(bench.spec(file=bench.folder / "x"))
        with pytest.raises(InvalidRequestError, match="path already in use: file/"):
            await broker.add(bench.spec("file/below", file=bench.folder / "x"))
        with pytest.raises(InvalidRequestError, match="already in use by file/"):
            await broker.add(bench.spec("b"))
        assert [spec.path for spec in broker.devices()] == ["file/"]
        assert await broker.remove("file")
        assert not await broker.remove("file")
        await broker.record(*numbered(1))
        await broker.add(bench.spec("again"))
        await broker.record(*numbered(2))
        assert recorded(bench.file) == ["r2"]


async def test_a_device_that_cannot_be_opened_is_not_enabled(bench, opened):
    """By default adding a device that does not work is an error and changes nothing."""
    (bench.folder / "file").write_text("in the way of a folder")
    async with opened() as broker:
        with pytest.raises(AuditError, match="b/ cannot record"):
            await broker.add(bench.spec("b", file=bench.folder / "file" / "x"))
        assert not broker.is_enabled


async def test_audit_hash_is_what_entries_show(bench, opened):
    """`sys/audit-hash` finds a value again; an unknown device has Vault's words."""
    async with opened(bench.spec()) as broker:
        assert broker.hash_text("file", "v") == broker.hash_text("file/", "v") == REDACTOR.hash_text("v")
        with pytest.raises(InvalidRequestError, match="unknown audit backend"):
            broker.hash_text("other", "v")
