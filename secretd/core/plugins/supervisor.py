"""Children by plugin: started on first need, replaced when they die, never waited for by others' targets.

A target's calls share ``concurrency`` places; waiting for one counts against the call's own deadline, and
nothing is locked while somebody dials. A child that died is replaced by the next call, after a back-off
with jitter when it keeps dying.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final, Self, cast

import msgspec
import structlog

from secretd.core.plugins.catalog import PluginCatalog, PluginInfo
from secretd.core.plugins.orphans import Orphans
from secretd.core.plugins.process import LOOP, PluginProcess
from secretd.sdk.clock import Clock, SystemClock
from secretd.sdk.errors import PluginError, TargetUnavailableError
from secretd.sdk.fields import Sensitive, encode_sealed
from secretd.sdk.plugin import (
    SDK_VERSION,
    ChangePassword,
    DatabasePlugin,
    DoomedUser,
    FoundUser,
    NewUser,
    Reach,
    Recipe,
    RenewUser,
    Target,
    TargetState,
    Verdict,
)
from secretd.sdk.plugin_wire import Hello, Limits

log = structlog.get_logger()
_FIRST_DELAY, _LAST_DELAY = 0.1, 30.0  # seconds between attempts to start a plugin that keeps dying
_LATE: Final = 0.1  # seconds: the call's own end comes first
_GRACE: Final = 0.6  # seconds for connections to be given back, and again for the kill
_SETTLE: Final = 0.5  # seconds for killed children to be reaped
_STABLE: Final = 60.0  # seconds of life after which a death is the first one again


class PluginSupervisor:
    """An async context manager; leaving it ends every child within two seconds."""

    def __init__(
        self,
        catalog: PluginCatalog,
        *,
        reach: Reach | None = None,
        limits: Limits | None = None,
        user: str = "",
        clock: Clock | None = None,
    ) -> None:
        self._catalog = catalog
        self._reach = reach or Reach()
        self._limits = limits or Limits()
        self._user = user
        self._clock = clock or SystemClock()
        self._orphans = Orphans()
        self._plugins: dict[str, _Plugin] = {}
        self._databases: dict[str, RemoteDatabase] = {}

    def database(self, name: str) -> DatabasePlugin:
        """Return the plugin of that name, by entry point or distribution. Starts nothing.

        Raises InvalidRequestError when it is not installed or not allowed.
        """
        known = self._databases.get(name)  # looking through all installed metadata takes milliseconds
        if known is None:
            known = self._databases[name] = RemoteDatabase(self._plugin(self._catalog.get_plugin(name)))
        return known

    def _plugin(self, info: PluginInfo) -> _Plugin:
        known = self._plugins.get(info.entry)
        if known is None:
            hello = Hello(
                entry=info.entry,
                folder=info.folder,
                loop=LOOP,
                user=self._user,
                limits=self._limits,
                reach=self._reach,
            )
            known = self._plugins[info.entry] = _Plugin(info, hello, self._orphans, clock=self._clock)
        return known

    def kill(self, name: str) -> None:
        """End that plugin's child now, as a crash would; the next call starts another."""
        self._plugin(self._catalog.get_plugin(name)).kill()

    async def close(self) -> None:
        """End every child, within two seconds; calls under way end as unknown."""
        async with asyncio.TaskGroup() as tasks:
            for plugin in self._plugins.values():
                tasks.create_task(plugin.close())
        await self._orphans.settle(_SETTLE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Plugin:
    """One plugin, whichever child serves it now."""

    def __init__(self, info: PluginInfo, hello: Hello, orphans: Orphans, *, clock: Clock) -> None:
        self.info = info
        self.reach = hello.reach
        self._hello = hello
        self._orphans = orphans
        self._clock = clock
        self._process: PluginProcess | None = None
        self._starting = asyncio.Lock()
        self._deaths = 0
        self._start_time = 0.0
        self._places: dict[str, _Places] = {}
        self._is_closed = False

    async def call(self, method: str, *args: Any, target: str | None) -> Any:
        """Call within the deadline; ``target`` groups calls that share places, None = no I/O."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.reach.deadline
        try:
            async with asyncio.timeout_at(end + _LATE):
                process = await self._ready()
                if target is None:
                    return await process.call(method, *args, timeout=end - loop.time())
                async with self._place(target):
                    left = end - loop.time()
                    if left <= 0:
                        raise TimeoutError
                    return await process.call(method, *args, timeout=left)
        except TimeoutError:  # nothing was sent
            raise TargetUnavailableError("the target has no place free") from None

    async def _ready(self) -> PluginProcess:
        try:
            async with asyncio.timeout(self.reach.deadline):
                return await self._running()
        except TimeoutError:  # nothing was sent: a refusal that is definite
            raise PluginError("the plugin keeps failing and is not started again yet") from None

    @asynccontextmanager
    async def _place(self, target: str) -> AsyncIterator[None]:
        places = self._places.get(target)
        if places is None:
            places = self._places[target] = _Places(asyncio.Semaphore(self.reach.concurrency))
        places.users += 1
        try:
            async with places.semaphore:
                yield
        finally:
            places.users -= 1
            if not places.users and self._places.get(target) is places:
                del self._places[target]

    async def _running(self) -> PluginProcess:
        """Return a living child. The lock is held while a child starts, never while a target is dialled."""
        if self._process is not None and self._process.is_alive:
            return self._process
        async with self._starting:
            if self._is_closed:
                raise PluginError("secretd is stopping")
            if self._process is None or not self._process.is_alive:
                await self._back_off()
                self._start_time = self._clock.monotonic()
                self._process = await self._start()
            return self._process

    async def _back_off(self) -> None:
        """Refuse, rather than wait, while the last death is too recent."""
        if self._process is not None:
            log.warning(
                "plugin.ended", plugin=self.info.distribution, pid=self._process.pid,
                printed_bytes=self._process.stderr_bytes,
            )  # fmt: skip
        if self._start_time and self._clock.monotonic() - self._start_time > _STABLE:
            self._deaths = 0
        elif self._start_time:
            self._deaths += 1
        if self._deaths < 2:
            return
        delay = min(_FIRST_DELAY * 2 ** min(self._deaths, 20), _LAST_DELAY)
        delay *= 0.5 + secrets.randbelow(1000) / 1000
        await asyncio.sleep(delay)

    async def _start(self) -> PluginProcess:
        process = await PluginProcess.start(self._hello, self._orphans)
        log.info("plugin.started", plugin=self.info.distribution, version=self.info.version, pid=process.pid)
        ready = process.ready
        if ready.sdk != SDK_VERSION or ready.contract != self.info.contract:
            await process.close(grace=0)
            raise PluginError("the plugin was made for another version of secretd")
        return process

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    async def close(self) -> None:
        self._is_closed = True
        if self._process is not None:
            await self._process.close(grace=_GRACE)


class _Places(msgspec.Struct):
    semaphore: Any
    users: int = 0


class RemoteDatabase:
    """A :class:`DatabasePlugin` whose deeds happen in the plugin's child."""

    def __init__(self, plugin: _Plugin) -> None:
        self._plugin = plugin

    async def describe(self, config: dict[str, Any]) -> Target:
        """Understand a connection's fields."""
        return cast("Target", await self._plugin.call("describe", config, target=None))

    async def lint(self, config: dict[str, Any], recipe: Recipe) -> tuple[str, ...]:
        """Judge a role's statements."""
        return cast("tuple[str, ...]", await self._plugin.call("lint", config, recipe, target=None))

    async def verify(self, config: dict[str, Any]) -> TargetState:
        """Log in as the admin and look."""
        return cast("TargetState", await self._call("verify", config))

    async def create_user(self, config: dict[str, Any], user: NewUser) -> None:
        """Create once."""
        await self._call("create_user", config, user)

    async def renew_user(self, config: dict[str, Any], user: RenewUser) -> datetime:
        """Move VALID UNTIL forward; return what was read back."""
        return cast("datetime", await self._call("renew_user", config, user))

    async def change_password(self, config: dict[str, Any], change: ChangePassword) -> None:
        """Set another password."""
        await self._call("change_password", config, change)

    async def delete_users(
        self, config: dict[str, Any], users: tuple[DoomedUser, ...]
    ) -> tuple[Verdict, ...]:
        """End, remove, prove; one verdict a member, in order."""
        verdicts = cast("tuple[Verdict, ...]", await self._call("delete_users", config, users))
        if [verdict.name for verdict in verdicts] != [user.name for user in users]:
            raise TargetUnavailableError("the plugin's verdicts are not one a member")
        return verdicts

    async def list_users(self, config: dict[str, Any], prefix: str) -> tuple[FoundUser, ...]:
        """Accounts whose name begins with the prefix."""
        return cast("tuple[FoundUser, ...]", await self._call("list_users", config, prefix))

    async def probe(self, config: dict[str, Any], username: str, password: Sensitive) -> bool:
        """Whether this login is accepted now."""
        return cast("bool", await self._call("probe", config, username, password))

    async def close(self) -> None:
        """Nothing: children belong to the supervisor."""

    async def _call(self, method: str, config: dict[str, Any], *args: Any) -> Any:
        return await self._plugin.call(method, config, *args, target=_target_of(config))


def _target_of(config: dict[str, Any]) -> str:
    """What calls share places by: the target's identity, else a digest of all of its configuration."""
    identity = config.get("identity")
    if isinstance(identity, str) and identity:
        return identity
    return hashlib.sha256(msgspec.msgpack.encode(config, enc_hook=encode_sealed)).hexdigest()
