"""A plugin that does whatever a bad plugin may do, installed in a folder of its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from secretd.core.plugins.catalog import PluginCatalog
from secretd.core.plugins.orphans import adopt_orphans
from secretd.core.plugins.supervisor import PluginSupervisor
from secretd.sdk.plugin import Reach

CODE = """
import asyncio, ctypes, os, signal, subprocess, sys, time
from secretd.sdk.errors import InvalidRequestError, TargetError
from secretd.sdk.plugin import FoundUser, Plugin, SDK_VERSION, Target, TargetState, Verdict

def fork_and_hide():
    if os.fork() == 0:
        os.setsid()
        while True:
            time.sleep(3600)

class Hostile:
    def __init__(self, reach):
        self.reach = reach
        self.running = 0

    async def describe(self, config):
        deed = config["deed"]
        if deed == "echo":
            return Target(name=config.get("text", ""), identity="t", config=config, shown={})
        if deed == "segfault":
            ctypes.string_at(0)
        if deed == "exit":
            os._exit(3)
        if deed == "print":
            sys.stderr.write("canary-secret" * 10000)
            sys.stderr.flush()
            raise KeyError("canary-secret")
        if deed == "loop":
            while True:
                pass
        if deed == "alloc":
            len(bytearray(2 * 2**30))
        if deed == "huge":
            return Target(name="x" * 100_000_000, identity="t", config={}, shown={})
        if deed == "wrong":
            return {"no": "target"}
        if deed == "garbage":
            for fd in range(3, 20):
                try:
                    os.write(fd, b"\\\\xff" * 4096)
                except OSError:
                    pass
            await asyncio.sleep(3600)
        if deed == "orphan":
            fork_and_hide()
            os._exit(0)
        if deed == "refuse":
            raise InvalidRequestError("no", hint="never")
        if deed == "look":
            return Target(name="", identity="", config={}, shown=look())
        if deed == "read-parent":
            return Target(name=read_parent(), identity="", config={}, shown={})

    async def create_user(self, config, user):
        if config["deed"] == "exit":
            os._exit(3)
        if config["deed"] == "bug":
            raise KeyError(user.password.reveal())
        if config["deed"] == "refuse":
            raise TargetError("no")

    async def list_users(self, config, prefix):
        self.running += 1
        found = (FoundUser(name=str(self.running)),)
        try:
            await asyncio.sleep(config.get("seconds", 0))
            return found
        finally:
            self.running -= 1

    async def verify(self, config):
        await asyncio.sleep(3600)

    async def delete_users(self, config, users):
        return ()

    async def close(self):
        pass

def look():
    import resource
    with open("/proc/self/status") as status:
        facts = dict(line.split(":", 1) for line in status.read().splitlines())
    return {
        "environment": dict(os.environ), "argv": sys.argv[1:], "umask": os.umask(0o077),
        "loop": type(asyncio.get_running_loop()).__module__,
        "no_new_privs": facts["NoNewPrivs"].strip(), "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
        "memory": resource.getrlimit(resource.RLIMIT_AS)[1], "files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "processes": resource.getrlimit(resource.RLIMIT_NPROC)[1],
        "session": os.getsid(0) == os.getpid(), "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
        "modules": sorted(name for name in sys.modules if name.startswith("secretd.")),
    }

def read_parent():
    try:
        with open(f"/proc/{os.getppid()}/mem", "rb"):
            return "opened"
    except OSError as error:
        return type(error).__name__

PLUGIN = Plugin(type="hostile", sdk=SDK_VERSION, contract="database", config=Target, role=Target, factory=Hostile)
OTHER = 7

def __getattr__(name):
    if name == "EXITS":
        raise SystemExit(3)
    if name == "DIES":
        os._exit(3)
    raise AttributeError(name)
"""
ENTRIES = """[secretd.databases]
hostile = hostile_plugin:PLUGIN
other = hostile_plugin:OTHER
exits = hostile_plugin:EXITS
dies = hostile_plugin:DIES
"""


def install(
    folder: Path, name: str = "Hostile_Plugin", version: str = "1.2.3", entries: str = ENTRIES
) -> None:
    """Lay a distribution out as a wheel's installation would."""
    (folder / "hostile_plugin.py").write_text(CODE)
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(entries)
    digest = base64.urlsafe_b64encode(hashlib.sha256(CODE.encode()).digest()).rstrip(b"=").decode()
    (info / "RECORD").write_text(f"hostile_plugin.py,sha256={digest},{len(CODE)}\n{info.name}/RECORD,,\n")


@pytest.fixture
def plugin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path with the hostile plugin installed in it."""
    install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
async def supervisor(plugin_folder: Path) -> AsyncIterator[PluginSupervisor]:
    """A supervisor that allows the hostile plugin, with short deadlines."""
    adopt_orphans()
    catalog = PluginCatalog(allow=["hostile-plugin"])
    async with PluginSupervisor(catalog, reach=Reach(deadline=2.0, concurrency=2)) as running:
        yield running
