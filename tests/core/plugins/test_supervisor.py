"""Children are replaced when they die, not endlessly when they keep dying."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from secretd.core.plugins.catalog import PluginCatalog
from secretd.core.plugins.supervisor import PluginSupervisor
from secretd.sdk.errors import InvalidRequestError, PluginError, TargetError, TargetUnavailableError
from secretd.sdk.plugin import Reach


async def test_nothing_starts_before_it_is_needed(plugin_folder: Path) -> None:
    """Naming a plugin starts no child, and one that may not run is refused at once."""
    async with PluginSupervisor(PluginCatalog(allow=["hostile-plugin"])) as supervisor:
        supervisor.database("hostile")
        with pytest.raises(InvalidRequestError, match="not allowed"):
            supervisor.database("secretd-postgresql")


async def test_plugin_that_keeps_dying_is_not_started_each_time(plugin_folder: Path) -> None:
    """After some deaths a call is refused, definitely, while the plugin rests."""
    catalog = PluginCatalog(allow=["hostile-plugin"])
    async with PluginSupervisor(catalog, reach=Reach(deadline=0.4)) as supervisor:
        hostile = supervisor.database("hostile")
        errors: list[Exception] = []
        for _ in range(8):
            with pytest.raises(TargetError) as caught:
                await hostile.describe({"deed": "exit"})
            errors.append(caught.value)
    assert isinstance(errors[0], TargetUnavailableError)  # it was under way
    assert isinstance(errors[-1], PluginError)
    assert "not started again yet" in str(errors[-1])


async def test_calls_share_one_child(plugin_folder: Path) -> None:
    """Calls that come at once, the first ever, start one child between them."""
    async with PluginSupervisor(PluginCatalog(allow=["hostile-plugin"])) as supervisor:
        hostile = supervisor.database("hostile")
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(hostile.describe({"deed": "look"})) for _ in range(10)]
        assert len({str(call.result().shown) for call in calls}) == 1


async def test_values_arrive_as_they_were(plugin_folder: Path) -> None:
    """A configuration comes back from the child byte for byte, whatever is in it."""
    config = {"deed": "echo", "text": "☃\0'\"", "number": -(2**63), "list": [None, True, 1.5, b"\xff"]}
    async with PluginSupervisor(PluginCatalog(allow=["hostile-plugin"])) as supervisor:
        assert (await supervisor.database("hostile").describe(config)).config == config


async def test_call_that_is_too_large(plugin_folder: Path) -> None:
    """A call beyond the largest frame is refused before it is sent; the child lives on."""
    async with PluginSupervisor(PluginCatalog(allow=["hostile-plugin"])) as supervisor:
        hostile = supervisor.database("hostile")
        with pytest.raises(PluginError, match="too large"):
            await hostile.describe({"deed": "echo", "text": "x" * 2**23})
        assert (await hostile.describe({"deed": "echo"})).shown == {}
