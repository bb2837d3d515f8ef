"""The engine on a real PostgreSQL, through the plugin in its own process."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from secretd.core.plugins.catalog import PluginCatalog
from secretd.core.plugins.supervisor import PluginSupervisor
from secretd.engines.database.creds import CREDS
from secretd.sdk.clock import SystemClock
from secretd.sdk.errors import InvalidRequestError, TargetError
from secretd.sdk.request import DELETE, READ, UPDATE
from secretd.sdk.secret_type import Birth, Doomed, Plan, Renewal
from secretd.sdk.storage import encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from support.mounted import Mounted

PLUGIN = "postgresql-database-plugin"


class Scene:
    """A database with an admin who may only create roles, a group role, and the mount that serves both."""

    def __init__(self, database: Mounted, dsn: str) -> None:
        self.database = database
        self.dsn = dsn
        self.token = secrets.token_hex(4)
        place = urlsplit(dsn)
        self.place = f"{place.hostname}:{place.port}{place.path}"

    async def run(self, *statements: str) -> None:
        """As the superuser."""
        connection = await asyncpg.connect(self.dsn)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def set_up(self, password: str = "right") -> None:
        """Admin, group, connection and role ``r``."""
        admin, group = f"admin-{self.token}", f"group-{self.token}"
        await self.run(
            f"""CREATE ROLE "{group}" NOLOGIN""",
            f"""CREATE ROLE "{admin}" LOGIN CREATEROLE PASSWORD 'right'""",
            f"""GRANT "{group}" TO "{admin}" WITH ADMIN OPTION""",
        )
        url = f"postgresql://{{{{username}}}}:{{{{password}}}}@{self.place}"
        await self.database.ask(
            UPDATE, "config/app", plugin_name=PLUGIN, connection_url=url, username=admin, password=password,
            allowed_roles="*", username_template=f"v-{self.token}-{{{{ random 20 }}}}",
        )  # fmt: skip
        await self.database.ask(UPDATE, "roles/r", db_name="app", group_role=group, default_ttl=60)

    async def tear_down(self) -> None:
        """Roles are cluster-wide."""
        for kind in ("admin", "group"):
            await self.run(f'DROP ROLE IF EXISTS "{kind}-{self.token}"')

    async def plan(self) -> Plan:
        call = self.database.call(READ, "creds/r")
        return await CREDS.prepare(call, self.database.fields(call))

    def birth(self, plan: Plan) -> Birth:
        """A pending lease, as core would have it now."""
        deadline = self.now + timedelta(seconds=10 + plan.target_offset)
        return Birth("here/creds/r/1", plan, secrets.randbits(62), deadline, 60)

    @property
    def now(self) -> datetime:
        return self.database.system.clock.now()

    async def issue(self, birth: Birth) -> dict[str, Any]:
        return await CREDS.issue(self.database.system, self.database.view, birth)

    async def can_log_in(self, data: dict[str, Any]) -> bool:
        try:
            connection = await asyncpg.connect(
                f"postgresql://{data['username']}:{data['password']}@{self.place}"
            )
        except asyncpg.InvalidAuthorizationSpecificationError:
            return False
        await connection.close()
        return True


@pytest.fixture
async def scene(database: Mounted, target_dsn: str) -> AsyncIterator[Scene]:
    """Nothing set up yet; the plugin runs in its own process, on this machine's clock."""
    async with PluginSupervisor(PluginCatalog(allow=["secretd-postgresql"])) as supervisor:
        database.system.plugins[PLUGIN] = supervisor.database(PLUGIN)
        database.system.clock = SystemClock()  # type: ignore[assignment]
        scene = Scene(database, target_dsn)
        yield scene
        await scene.tear_down()


async def test_a_login_is_issued_renewed_and_revoked(scene: Scene) -> None:
    """It logs in; after its connection and role were deleted it is revoked, and refused."""
    await scene.set_up()
    plan = await scene.plan()
    birth = scene.birth(plan)
    data = await scene.issue(birth)
    assert await scene.can_log_in(data)
    until = scene.now + timedelta(seconds=3600)
    renewal = Renewal("l", plan.account_name, encode(plan.recipe), birth.fence_key, until)
    secured = await CREDS.renew(scene.database.system, scene.database.view, renewal)
    assert abs((secured - until).total_seconds()) < 0.01
    await scene.database.ask(DELETE, "roles/r")
    await scene.database.ask(DELETE, "config/app")
    doomed = Doomed("l", plan.account_name, encode(plan.recipe), birth.fence_key, birth.target_deadline, True)
    for _ in range(2):
        (end,) = await CREDS.revoke(scene.database.system, scene.database.view, (doomed,))
        assert (end.outcome, end.error) == ("absent", "")
    assert not await scene.can_log_in(data)


async def test_a_birth_that_comes_late_is_refused_by_the_target(scene: Scene) -> None:
    """The target's own clock decides, and the revocation of the row that never was active is proved."""
    await scene.set_up()
    plan = await scene.plan()
    birth = Birth("l", plan, secrets.randbits(62), scene.now - timedelta(seconds=1), 60)
    with pytest.raises(TargetError, match="deadline"):
        await scene.issue(birth)
    doomed = Doomed(
        "l", plan.account_name, encode(plan.recipe), birth.fence_key, birth.target_deadline, False
    )
    (end,) = await CREDS.revoke(scene.database.system, scene.database.view, (doomed,))
    assert (end.outcome, end.past) == ("absent", True)


async def test_a_wrong_admin_password_is_refused_with_nothing_stored(scene: Scene) -> None:
    """The error is the login's, and neither it nor storage has the password."""
    with pytest.raises(InvalidRequestError) as caught:
        await scene.set_up(password="wr0ng-canary")
    assert "wr0ng-canary" not in repr(caught.value) + str(caught.value.hint)
    assert not await scene.database.exists("config/app")


async def test_a_new_admin_password_reaches_old_leases(scene: Scene) -> None:
    """The admin's password changes after a login was leased; its revocation uses the new one."""
    await scene.set_up()
    plan = await scene.plan()
    birth = scene.birth(plan)
    data = await scene.issue(birth)
    await scene.run(f"""ALTER ROLE "admin-{scene.token}" PASSWORD 'newer'""")
    await scene.database.ask(UPDATE, "config/app", password="newer")
    doomed = Doomed("l", plan.account_name, encode(plan.recipe), birth.fence_key, birth.target_deadline, True)
    (end,) = await CREDS.revoke(scene.database.system, scene.database.view, (doomed,))
    assert end.outcome == "absent"
    assert not await scene.can_log_in(data)


async def test_a_read_of_a_real_connection_shows_no_secret(scene: Scene) -> None:
    """Neither a password of its own nor one inside the URL."""
    await scene.set_up()
    url = f"postgresql://someone:in-url-canary@{scene.place}"
    await scene.database.ask(
        UPDATE, "config/other", plugin_name=PLUGIN, connection_url=url, verify_connection=False
    )
    shown = repr([await scene.database.data(READ, f"config/{name}") for name in ("app", "other")])
    assert "right" not in shown
    assert "in-url-canary" not in shown
