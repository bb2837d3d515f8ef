"""A daemon that dies anywhere within a rotation, on a real PostgreSQL through the plugin in its own process.

Each point is a call of the plugin or a write of storage, cut just before or just after it. After the cut nothing
runs that could mend; then another daemon's schedule does.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from secretd.engines.database import static_roles
from secretd.engines.database.account import rotate
from secretd.engines.database.due import rotate_due
from secretd.engines.database.root import RootAccount
from secretd.engines.database.schemas import Connection, config_key
from secretd.engines.database.static_account import StaticAccount
from secretd.sdk.errors import TargetError
from secretd.sdk.plugin import ChangePassword
from secretd.sdk.request import DELETE, READ, UPDATE
from secretd.sdk.storage import find
from support.scene import PLUGIN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from secretd.engines.database.account import Account
    from support.scene import Scene


class Cut(BaseException):
    """The daemon is dead: no handler of an error may run."""


class Points:
    """Counts what is passed, and dies at one of them (``None``: never)."""

    def __init__(self, last: int | None) -> None:
        self.last = last
        self.passed: list[str] = []

    def reach(self, name: str) -> None:
        if self.last is not None and len(self.passed) == self.last:
            raise Cut(name)
        self.passed.append(name)


class CutPlugin:
    """A plugin whose calls are points."""

    def __init__(self, inner: Any, points: Points) -> None:
        self._inner = inner
        self._points = points

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any) -> Any:
            self._points.reach(f"before {name}")
            answer = await getattr(self._inner, name)(*arguments)
            self._points.reach(f"after {name}")
            return answer

        return call


class CutView:
    """Storage whose writes and commits are points."""

    def __init__(self, inner: Any, points: Points) -> None:
        self._inner = inner
        self._points = points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def put(self, key: str, value: bytes, *, version: int = -1) -> int:
        self._points.reach(f"before put {key.partition('/')[0]}")
        return int(await self._inner.put(key, value, version=version))

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[CutView]:
        async with self._inner.transaction() as inside:
            yield CutView(inside, self._points)
            self._points.reach("before commit")
        self._points.reach("after commit")


@contextlib.asynccontextmanager
async def dying(scene: Scene, account: Account, last: int | None) -> AsyncIterator[Points]:
    """Within, the account's daemon dies at the point of that number."""
    points = Points(last)
    plugins, view = scene.database.system.plugins, account.view
    inner = plugins[PLUGIN]
    plugins[PLUGIN] = CutPlugin(inner, points)
    account.view = CutView(view, points)
    try:
        yield points
    except Cut:
        points.passed.append("cut")
    finally:
        plugins[PLUGIN], account.view = inner, view


async def age(account: Account, *, late: float = 60.0) -> None:
    """The dead daemon's claim is over, what it left to do is due, its last change's time is past."""

    def older(rotation: Any) -> None:
        rotation.busy_until = None
        if rotation.due_time is not None:
            rotation.due_time = account.system.clock.now() - timedelta(seconds=2)
        if rotation.late_until is not None:
            rotation.late_until -= timedelta(seconds=late)

    await account.change(older)


async def end_sessions(scene: Scene) -> None:
    """The dead daemon's plugin is gone, too: whoever comes next must log in."""
    admin = f"admin-{scene.token}"
    await scene.run(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{admin}'")


async def look(scene: Scene) -> None:
    """Another daemon's schedule."""
    mount = scene.database
    await rotate_due(mount.system, mount.view, mount.mount)


async def static_account(scene: Scene) -> StaticAccount:
    """Static role ``s`` of an account that the admin may alter."""
    await scene.set_up()
    name = f"static-{scene.token}"
    await scene.run(
        f"""CREATE ROLE "{name}" LOGIN PASSWORD 'by-hand'""",
        f"""GRANT "{name}" TO "admin-{scene.token}" WITH ADMIN OPTION""",
    )
    await scene.database.ask(UPDATE, "static-roles/s", db_name="app", username=name, rotation_period="1h")
    return StaticAccount(scene.database.system, scene.database.view, "s")


@pytest.fixture
async def played(scene: Scene) -> AsyncIterator[Scene]:
    """A scene whose static account goes, too."""
    yield scene
    await scene.run(f'DROP ROLE IF EXISTS "static-{scene.token}"')


async def test_a_static_role_logs_in_wherever_its_rotation_was_cut(played: Scene) -> None:
    """At once after the cut, and after the recovery; the recovered rotation is settled, and the schedule empty."""
    account = await static_account(played)
    seen: list[str] = []
    for point in range(200):
        async with dying(played, account, point) as points:
            await rotate(account)
        seen.append(points.passed[-1])
        assert await played.can_log_in(await played.database.data(READ, "static-creds/s")), points.passed
        await age(account)
        await look(played)
        held = await account.read(account.view)
        assert held is not None
        assert (held.rotation.is_settled, held.rotation.attempts) == (True, 0), points.passed
        assert await played.can_log_in(await played.database.data(READ, "static-creds/s")), points.passed
        assert len(await account.view.list("due/")) == 1
        if points.passed[-1] != "cut":
            break
    assert seen[-1] == "after commit"
    assert len(seen) > 15
    assert {"before change_password", "after change_password", "before probe"} <= set(points.passed)


async def test_a_first_rotation_that_was_cut_is_finished_or_was_never_begun(played: Scene) -> None:
    """The role is not there and the account as it was, or the schedule finishes it and its password logs in."""
    account = await static_account(played)
    mount, name = played.database, f"static-{played.token}"
    for point in range(200):
        await mount.ask(DELETE, "static-roles/s")
        await played.run(f"""ALTER ROLE "{name}" PASSWORD 'by-hand'""")
        points = Points(point)
        inner = mount.system.plugins[PLUGIN]
        mount.system.plugins[PLUGIN] = CutPlugin(inner, points)  # type: ignore[assignment]
        call = mount.call(UPDATE, "static-roles/s", db_name="app", username=name, rotation_period="1h")
        call.view = CutView(mount.view, points)  # type: ignore[assignment]
        with contextlib.suppress(Cut):
            await static_roles.write(call, mount.fields(call))
            points.passed.append("whole")
        mount.system.plugins[PLUGIN] = inner
        if await mount.exists("static-roles/s"):
            await age(account)
            await look(played)
            login = await mount.data(READ, "static-creds/s")
        else:
            login = {"username": name, "password": "by-hand"}
        assert await played.can_log_in(login), points.passed
        if points.passed[-1:] == ["whole"]:
            break
    assert point > 15


async def test_the_admin_logs_in_wherever_root_rotation_was_cut(played: Scene) -> None:
    """After the recovery the connection's own password is the one that the target accepts."""
    await played.set_up()
    mount = played.database
    first = await find(mount.view, config_key("app"), Connection)
    assert first is not None
    account = RootAccount(mount.system, mount.view, first.target_id)
    for point in range(200):
        async with dying(played, account, point) as points:
            await rotate(account)
        await end_sessions(played)
        await age(account)
        await look(played)
        found = await find(mount.view, config_key("app"), Connection)
        assert found is not None
        login = {"username": found.details["username"], "password": found.details["password"]}
        assert await played.can_log_in(login), points.passed
        await mount.ask(UPDATE, "reset/app")
        assert await account.view.list("due/") == []
        if points.passed[-1] != "cut":
            break
    assert point > 20
    birth = played.birth(await played.plan())
    assert await played.can_log_in(await played.issue(birth))
    await played.run(f'DROP ROLE "{birth.plan.account_name}"')


async def test_a_daemon_that_was_stopped_and_resumes_harms_nothing(played: Scene) -> None:
    """It sets what was proved, nobody draws another before its deadline, and later the target refuses it."""
    account = await static_account(played)
    stopped: list[tuple[Any, ChangePassword]] = []
    inner = played.database.system.plugins[PLUGIN]

    class Stopping:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        async def change_password(self, config: Any, change: ChangePassword) -> None:
            stopped.append((config, change))
            raise Cut

    played.database.system.plugins[PLUGIN] = Stopping()  # type: ignore[assignment]
    with pytest.raises(Cut):
        await rotate(account)
    played.database.system.plugins[PLUGIN] = inner
    await age(account, late=0)
    await rotate(account)
    with pytest.raises(TargetError, match="may still arrive"):
        await rotate(account)
    ((config, change),) = stopped
    await inner.change_password(config, change)
    assert await played.can_log_in(await played.database.data(READ, "static-creds/s"))
    await age(account)
    await rotate(account)
    late = msgspec.structs.replace(change, target_deadline=played.now - timedelta(seconds=1))
    with pytest.raises(TargetError, match="deadline"):
        await inner.change_password(config, late)
    data = await played.database.data(READ, "static-creds/s")
    assert data["password"] != change.password.reveal()
    assert await played.can_log_in(data)


async def test_two_daemons_rotate_once_at_a_due_moment(played: Scene) -> None:
    """Both look at once, on one database and one target: one password, and it logs in."""
    account = await static_account(played)
    changes: list[ChangePassword] = []
    inner = played.database.system.plugins[PLUGIN]

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        async def change_password(self, config: Any, change: ChangePassword) -> None:
            changes.append(change)
            await inner.change_password(config, change)

    played.database.system.plugins[PLUGIN] = Counting()  # type: ignore[assignment]

    def due(rotation: Any) -> None:
        rotation.due_time = rotation.next_time = account.system.clock.now() - timedelta(seconds=2)

    await account.change(due)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(look(played))
    assert len(changes) == 1
    data = await played.database.data(READ, "static-creds/s")
    assert data["password"] == changes[0].password.reveal()
    assert await played.can_log_in(data)
