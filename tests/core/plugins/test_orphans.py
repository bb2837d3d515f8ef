"""What the daemon does to itself so that its plugins learn nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import asyncio, resource, sys
sys.path.append(sys.argv[1])
from secretd.core.plugins.catalog import PluginCatalog
from secretd.core.plugins.orphans import harden_daemon
from secretd.core.plugins.supervisor import PluginSupervisor

async def story():
    async with PluginSupervisor(PluginCatalog(allow=["hostile-plugin"])) as supervisor:
        print((await supervisor.database("hostile").describe({"deed": "read-parent"})).name)

harden_daemon()
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
asyncio.run(story())
"""


def test_child_cannot_read_the_daemons_memory(plugin_folder: Path) -> None:
    """A child of the same user, root included, may not open the daemon's memory, where the keys are."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(plugin_folder)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == "PermissionError", done.stdout + done.stderr


def test_child_dies_with_the_daemon(plugin_folder: Path) -> None:
    """A daemon that is killed takes its children with it."""
    script = _SCRIPT.replace("print((await", "import os; (await").replace(
        ".name)", "\n        plugin = supervisor._plugins['hostile_plugin:PLUGIN']\n"
        "        print(plugin._process.pid, flush=True)\n        os.kill(os.getpid(), 9)",
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script, str(plugin_folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -9, done.stderr
    pid = done.stdout.split()[-1]
    for _ in range(1_000_000):
        try:
            if "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return
        except (FileNotFoundError, ProcessLookupError):
            return
    pytest.fail("the child outlived the daemon")
