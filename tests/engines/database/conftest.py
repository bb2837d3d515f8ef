"""The database engine on real storage. The target is a double: what it was asked and how it answers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from secretd.core.plugins.catalog import PluginCatalog
from secretd.core.plugins.supervisor import PluginSupervisor
from secretd.engines.database.engine import ENGINE
from secretd.sdk.clock import SystemClock
from secretd.sdk.errors import InvalidRequestError, SecretdError, TargetError, TargetUnavailableError
from secretd.sdk.plugin import (
    ChangePassword,
    DoomedUser,
    NewUser,
    Recipe,
    RenewUser,
    Target,
    TargetState,
    Verdict,
)
from support.engines import FakeClock
from support.mounted import Mounted, mounted
from support.scene import PLUGIN, Scene

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from secretd.sdk.clock import Clock
    from secretd.sdk.fields import Sensitive


class Double:
    """A DatabasePlugin that remembers. ``failure`` is raised by every call that would reach the target."""

    def __init__(self) -> None:
        self.clock: Clock = FakeClock()
        self.failure: SecretdError | None = None
        self.verifications: list[dict[str, Any]] = []
        self.created: list[tuple[dict[str, Any], NewUser]] = []
        self.renewed: list[RenewUser] = []
        self.deleted: list[tuple[dict[str, Any], tuple[DoomedUser, ...]]] = []
        self.ahead = 0.0
        self.accounts = {"admin": "a-password", "app": "by-hand"}
        self.changes: list[ChangePassword] = []
        self.rejection: SecretdError | None = None  # of changes of a password only
        self.loses_answers = False

    async def describe(self, config: dict[str, Any]) -> Target:
        if "connection_url" not in config:
            raise InvalidRequestError("connection_url is missing")
        url = config["connection_url"]
        shown = {"connection_url": url, "username": config.get("username", "")}
        known = {"connection_url", "password", "username"}
        kept = {name: value for name, value in config.items() if name in known}
        if "scram_iterations" in config:
            kept["scram_iterations"] = int(config["scram_iterations"])
        return Target(name=url, identity=url, config=kept, shown=shown, warnings=("be careful",))

    async def lint(self, config: dict[str, Any], recipe: Recipe) -> tuple[str, ...]:
        if any("syntax" in text for text in recipe.creation):
            raise InvalidRequestError("creation_statements: unterminated string")
        return ("grants on all tables grow without end",) if any("ALL" in t for t in recipe.creation) else ()

    async def verify(self, config: dict[str, Any]) -> TargetState:
        self._reach()
        self.verifications.append(config)
        now = self.clock.now()
        return TargetState(clock=now + timedelta(seconds=self.ahead), version="18.6", is_superuser=False)

    async def create_user(self, config: dict[str, Any], user: NewUser) -> None:
        self._reach()
        self.created.append((config, user))

    async def renew_user(self, config: dict[str, Any], user: RenewUser) -> datetime:
        self._reach()
        self.renewed.append(user)
        return user.valid_until

    async def delete_users(
        self, config: dict[str, Any], users: tuple[DoomedUser, ...]
    ) -> tuple[Verdict, ...]:
        self._reach()
        self.deleted.append((config, users))
        return tuple(Verdict(name=user.name, outcome="absent", past=True) for user in users)

    async def change_password(self, config: dict[str, Any], change: ChangePassword) -> None:
        self._reach()
        self.changes.append(change)
        if self.rejection is not None:
            raise self.rejection
        if change.name not in self.accounts:
            raise TargetError("the target refused: undefined_object")
        self.accounts[change.name] = change.password.reveal()
        if self.loses_answers:
            raise TargetUnavailableError

    async def probe(self, config: dict[str, Any], username: str, password: Sensitive) -> bool:
        self._reach()
        return self.accounts.get(username) == password.reveal()

    def _reach(self) -> None:
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def target() -> Double:
    """The double behind ``postgresql-database-plugin``."""
    return Double()


@pytest.fixture
async def database(storage_dsn: str, target: Double) -> AsyncIterator[Mounted]:
    """An empty database mount."""
    async with mounted(ENGINE, storage_dsn) as mount:
        mount.system.plugins[PLUGIN] = target
        target.clock = mount.system.clock
        yield mount


@pytest.fixture
async def scene(database: Mounted, target_dsn: str) -> AsyncIterator[Scene]:
    """Nothing set up yet; the plugin runs in its own process, on this machine's clock."""
    async with PluginSupervisor(PluginCatalog(allow=["secretd-postgresql"])) as supervisor:
        database.system.plugins[PLUGIN] = supervisor.database(PLUGIN)
        database.system.clock = SystemClock()  # type: ignore[assignment]
        scene = Scene(database, target_dsn)
        yield scene
        await scene.tear_down()
