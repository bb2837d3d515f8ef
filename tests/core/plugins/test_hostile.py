"""Hostile plugins: what they do is an error for that call, and nothing of theirs is left behind (P21)."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvloop

from secretd.core.plugins.catalog import PluginCatalog
from secretd.core.plugins.supervisor import PluginSupervisor
from secretd.sdk.clock import SystemClock
from secretd.sdk.errors import InvalidRequestError, PluginError, TargetError, TargetUnavailableError
from secretd.sdk.fields import Sensitive
from secretd.sdk.plugin import NewUser, Recipe

DEEDS = ["segfault", "exit", "print", "loop", "alloc", "huge", "wrong", "garbage", "orphan"]
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def user() -> NewUser:
    return NewUser(
        name="n", password=Sensitive("canary-secret"), recipe=Recipe(), fence_key=-(2**63),
        target_deadline=NOW, valid_until=NOW,
    )  # fmt: skip


def fenced_children() -> list[int]:
    """Children of ours that run, zombies aside, and have a plugin's session or come from one."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        for pid in map(int, (task / "children").read_text().split()):
            status = Path(f"/proc/{pid}/status").read_text()
            if "NoNewPrivs:\t1" in status and "State:\tZ" not in status:
                found.append(pid)
    return found


@pytest.mark.parametrize("deed", DEEDS)
async def test_deed_is_an_error_for_one_call(supervisor: PluginSupervisor, deed: str) -> None:
    """The call fails within its deadline without telling a secret, and the next call works."""
    hostile = supervisor.database("hostile")
    with pytest.raises(TargetError) as caught:
        async with asyncio.timeout(5):
            await hostile.describe({"deed": deed})
    assert "canary" not in str(caught.value)
    if deed == "loop":
        supervisor.kill("hostile")  # a frozen child answers nobody; test_frozen_child_is_replaced waits
    async with asyncio.timeout(10):
        assert (await hostile.describe({"deed": "echo", "text": "fine"})).name == "fine"


async def test_frozen_child_is_replaced(supervisor: PluginSupervisor) -> None:
    """A child whose loop is frozen is given up, so that calls of other targets work again."""
    hostile = supervisor.database("hostile")
    with pytest.raises(TargetUnavailableError):
        await hostile.describe({"deed": "loop"})
    async with asyncio.timeout(10):
        while True:
            try:
                await hostile.describe({"deed": "echo"})
            except TargetError:
                continue
            break


async def test_orphans_are_ended(supervisor: PluginSupervisor) -> None:
    """A process that hid in a session of its own ends with the child that started it."""
    hostile = supervisor.database("hostile")
    with pytest.raises(TargetError):
        await hostile.describe({"deed": "orphan"})
    async with asyncio.timeout(5):
        while fenced_children():
            await asyncio.sleep(0)


async def test_refusal_keeps_its_words(supervisor: PluginSupervisor) -> None:
    """An error of the contract arrives as its class, with message and hint."""
    with pytest.raises(InvalidRequestError, match="no") as caught:
        await supervisor.database("hostile").describe({"deed": "refuse"})
    assert caught.value.hint == "never"


@pytest.mark.parametrize("deed", ["exit", "bug"])
async def test_create_without_an_answer_is_unknown(supervisor: PluginSupervisor, deed: str) -> None:
    """A CREATE that ends in anything but an answer or a refusal may have happened."""
    with pytest.raises(TargetUnavailableError) as caught:
        await supervisor.database("hostile").create_user({"deed": deed}, user())
    assert "canary" not in str(caught.value)


async def test_create_refused_is_definite(supervisor: PluginSupervisor) -> None:
    """A refusal stays a refusal."""
    with pytest.raises(TargetError) as caught:
        await supervisor.database("hostile").create_user({"deed": "refuse"}, user())
    assert not isinstance(caught.value, TargetUnavailableError)


async def test_verdicts_must_match(supervisor: PluginSupervisor) -> None:
    """Verdicts that are not one a member prove nothing."""
    from secretd.sdk.testing import doomed

    with pytest.raises(TargetUnavailableError, match="one a member"):
        await supervisor.database("hostile").delete_users({}, doomed([user()], was_issued=True))


@pytest.mark.parametrize("name", ["other", "exits", "dies"])
async def test_plugin_that_does_not_load(supervisor: PluginSupervisor, name: str) -> None:
    """Code that is no plugin, or that exits when it is imported, is a PluginError."""
    with pytest.raises(PluginError):
        await supervisor.database(name).describe({"deed": "echo"})


async def test_child_is_fenced(supervisor: PluginSupervisor) -> None:
    """The child has an empty environment, its own session, limits, no way to more rights, and no core."""
    facts: dict[str, Any] = (await supervisor.database("hostile").describe({"deed": "look"})).shown
    assert set(facts["environment"]) <= {"LC_ALL", "LC_CTYPE"}
    assert facts["umask"] == 0o077
    assert facts["loop"] == "uvloop"
    assert facts["no_new_privs"] == "1"
    assert facts["core"] == 0
    assert 0 < facts["memory"] <= 2**30
    assert 0 < facts["files"] <= 1024
    assert facts["processes"] > 0
    assert facts["session"]
    assert all(name.startswith("secretd.sdk") for name in facts["modules"]), facts["modules"]


async def test_frames_and_descriptors_do_not_leak(supervisor: PluginSupervisor) -> None:
    """No descriptor of the daemon's reaches the child: not one is a file or socket that we opened."""
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        facts = (await supervisor.database("hostile").describe({"deed": "look"})).shown
    finally:
        os.close(read)
        os.close(write)
    assert write not in facts["fds"] or write < 16  # noqa: PLR2004 - numbers are reused by the child's own
    assert len(facts["fds"]) < 16  # noqa: PLR2004


async def test_calls_run_at_once_but_not_too_many(supervisor: PluginSupervisor) -> None:
    """Two calls of a target run at the same time, a third one waits; another target's does not."""
    hostile = supervisor.database("hostile")
    clock = SystemClock()
    began = clock.monotonic()
    slow = [hostile.list_users({"seconds": 0.2, "identity": "a"}, "") for _ in range(3)]
    other = hostile.list_users({"seconds": 0.2, "identity": "b"}, "")
    *_, third, fourth = await asyncio.gather(*slow, other)
    assert clock.monotonic() - began >= 0.4
    assert int(fourth[0].name) >= 2
    assert third


async def test_waiting_counts_against_the_deadline(supervisor: PluginSupervisor) -> None:
    """A call that finds no place within its deadline ends, unavailable."""
    hostile = supervisor.database("hostile")
    hung = [asyncio.create_task(hostile.verify({"identity": "dead"})) for _ in range(5)]
    done = await asyncio.gather(*hung, return_exceptions=True)
    assert all(isinstance(error, TargetUnavailableError) for error in done), done


async def test_cancelled_call_is_cancelled_in_the_child(supervisor: PluginSupervisor) -> None:
    """A caller that leaves frees its place on the target and in the child."""
    hostile = supervisor.database("hostile")
    tasks = [asyncio.create_task(hostile.list_users({"seconds": 60, "identity": "a"}, "")) for _ in range(2)]
    await hostile.describe({"deed": "echo"})
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    (found,) = await hostile.list_users({"seconds": 0, "identity": "a"}, "")
    assert found.name == "1"


async def test_close_is_quick(supervisor: PluginSupervisor) -> None:
    """Closing ends calls under way and the child, within two seconds, and nothing starts again."""
    hostile = supervisor.database("hostile")
    await hostile.describe({"deed": "echo"})
    task = asyncio.create_task(hostile.verify({}))
    await asyncio.sleep(0)
    async with asyncio.timeout(2):
        await supervisor.close()
    with pytest.raises(TargetError):
        await task
    with pytest.raises(PluginError, match="stopping"):
        await hostile.describe({"deed": "echo"})
    assert fenced_children() == []


def test_on_the_daemons_own_loop(plugin_folder: Path) -> None:
    """The same under uvloop, which starts processes by other means: a crash, a replacement, a quick close."""

    async def story() -> None:
        async with PluginSupervisor(PluginCatalog(allow=["hostile-plugin"])) as supervisor:
            hostile = supervisor.database("hostile")
            for deed in ("exit", "orphan", "garbage"):
                assert (await hostile.describe({"deed": "echo", "text": deed})).name == deed
                with pytest.raises(TargetError):
                    await hostile.describe({"deed": deed})
            assert (await hostile.describe({"deed": "echo"})).shown == {}

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())
    assert fenced_children() == []
