"""The engine on a real PostgreSQL, through the plugin in its own process."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from secretd.engines.database.creds import CREDS
from secretd.sdk.errors import InvalidRequestError, TargetError
from secretd.sdk.request import DELETE, READ, UPDATE
from secretd.sdk.secret_type import Birth, Doomed, Renewal
from secretd.sdk.storage import encode
from support.scene import PLUGIN

if TYPE_CHECKING:
    from support.scene import Scene


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
