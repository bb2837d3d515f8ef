"""A login's life between core and plugin: what is chosen, sent, converted and reported."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from secretd.engines.database.creds import CREDS
from secretd.engines.database.schemas import Connection
from secretd.sdk.errors import InvalidRequestError, TargetError, TargetUnavailableError
from secretd.sdk.request import DELETE, READ, UPDATE
from secretd.sdk.secret_type import VALID_UNTIL_GRACE, Birth, Doomed, Plan, Renewal
from secretd.sdk.storage import encode, find

if TYPE_CHECKING:
    from support.mounted import Mounted

PLUGIN = "postgresql-database-plugin"
DEADLINE = datetime(2026, 11, 23, 12, tzinfo=UTC)


async def _set_up(database: Mounted, *, role: dict[str, Any] | None = None, **fields: Any) -> None:
    given = {
        "plugin_name": PLUGIN,
        "connection_url": "u",
        "password": "hunter2",
        "allowed_roles": "r",
    } | fields
    await database.ask(UPDATE, "config/app", **given)
    await database.ask(UPDATE, "roles/r", db_name="app", group_role="readers", default_ttl=60, **role or {})


async def _plan(database: Mounted, name: str = "r") -> Plan:
    call = database.call(READ, f"creds/{name}")
    return await CREDS.prepare(call, database.fields(call))


def _birth(plan: Plan) -> Birth:
    return Birth("here/creds/r/1", plan, 42, DEADLINE, 60)


def _doomed(plan: Plan, *, number: int = 1, was_issued: bool = True) -> Doomed:
    return Doomed(f"lease-{number}", plan.account_name, encode(plan.recipe), 42, DEADLINE, was_issued)


async def test_prepare_chooses_and_touches_nothing(database: Mounted, target: Any) -> None:
    """Name, spans, role and target are in the plan; the target saw only the connection's verification."""
    await _set_up(database)
    plan = await _plan(database)
    stored = await find(database.view, "config/app", Connection)
    assert stored is not None
    assert plan.account_name.startswith("v-token-al-r-")
    assert (plan.ttl, plan.max_ttl, plan.role, plan.role_key) == (60, 0, "r", "role/r")
    assert plan.target == f"app/{stored.target_id}"
    assert target.created == []
    assert "hunter2" not in repr(plan)
    assert (await _plan(database)).account_name != plan.account_name


async def test_issue_creates_once_with_the_nets_time(database: Mounted, target: Any) -> None:
    """VALID UNTIL = the target's deadline + TTL + grace; the answer has username and password."""
    await _set_up(database, password_policy="p")
    database.system.policies["p"] = ("from-the-policy", 120.0)
    plan = await _plan(database)
    data = await CREDS.issue(database.system, database.view, _birth(plan))
    assert data == {"username": plan.account_name, "password": "from-the-policy"}
    ((config, user),) = target.created
    assert config["password"] == "hunter2"
    assert user.valid_until == DEADLINE + timedelta(seconds=60 + VALID_UNTIL_GRACE)
    assert (user.target_deadline, user.fence_key, user.password_bits) == (DEADLINE, 42, 120.0)
    assert user.recipe.group_role == "readers"


async def test_a_connections_template_names_the_account(database: Mounted) -> None:
    """The connection's username_template is used."""
    await _set_up(database, username_template="v-{{ .RoleName | truncate 8 }}-{{ random 20 }}")
    assert (await _plan(database)).account_name.startswith("v-r-")


async def test_creds_say_what_is_missing(database: Mounted) -> None:
    """An unknown role, a connection that is not there and a role that is not allowed are three errors."""
    with pytest.raises(InvalidRequestError, match="unknown role: r"):
        await _plan(database)
    await database.ask(UPDATE, "roles/r", db_name="app", group_role="g")
    with pytest.raises(InvalidRequestError, match='connection with name: "app"'):
        await _plan(database)
    await _set_up(database, allowed_roles="other")
    with pytest.raises(InvalidRequestError, match='"r" is not an allowed role'):
        await _plan(database)
    await _set_up(database, allowed_roles="")
    with pytest.raises(InvalidRequestError, match="not an allowed role"):
        await _plan(database)


async def test_a_policy_that_became_weak_is_refused(database: Mounted) -> None:
    """Few SCRAM iterations and a weak policy meet at the latest when a login is asked for."""
    database.system.policies["p"] = ("x", 120.0)
    await _set_up(database, scram_iterations=1, password_policy="p")
    database.system.policies["p"] = ("x", 50.0)
    with pytest.raises(InvalidRequestError, match="scram_iterations"):
        await _plan(database)


async def test_a_refused_create_measures_the_clock_again(database: Mounted, target: Any) -> None:
    """A target whose clock has jumped heals: the next plan has the new offset."""
    await _set_up(database)
    plan = await _plan(database)
    assert plan.target_offset == pytest.approx(0)
    target.ahead = 500.0

    async def refuse(*_: Any) -> None:
        raise TargetError("the deadline passed before the target began")

    target.create_user = refuse
    with pytest.raises(TargetError):
        await CREDS.issue(database.system, database.view, _birth(plan))
    assert (await _plan(database)).target_offset == pytest.approx(500)


async def test_silence_measures_nothing(database: Mounted, target: Any) -> None:
    """A target that does not answer is not asked twice."""
    await _set_up(database)
    plan = await _plan(database)
    target.verifications.clear()
    target.failure = TargetUnavailableError()
    with pytest.raises(TargetUnavailableError):
        await CREDS.issue(database.system, database.view, _birth(plan))
    target.failure = None
    assert target.verifications == []


async def test_renewal_converts_between_the_clocks(database: Mounted, target: Any) -> None:
    """The target gets its own time with grace; core gets storage's without."""
    target.ahead = 1000.0
    await _set_up(database)
    plan = await _plan(database)
    until = DEADLINE + timedelta(hours=1)
    renewal = Renewal("lease-1", plan.account_name, encode(plan.recipe), 42, until)
    secured = await CREDS.renew(database.system, database.view, renewal)
    assert secured == until
    (user,) = target.renewed
    assert (user.valid_until - until).total_seconds() == pytest.approx(1000 + VALID_UNTIL_GRACE)
    assert user.fence_key == 42


async def test_revocation_outlives_role_and_connection(database: Mounted, target: Any) -> None:
    """Both deleted: the frozen recipe and the target's record still end the login."""
    await _set_up(database)
    plan = await _plan(database)
    await database.ask(DELETE, "roles/r")
    await database.ask(DELETE, "config/app")
    (end,) = await CREDS.revoke(database.system, database.view, (_doomed(plan, was_issued=False),))
    assert (end.lease_id, end.outcome, end.past) == ("lease-1", "absent", True)
    ((_, (user,)),) = target.deleted
    assert (user.name, user.was_issued, user.target_deadline) == (plan.account_name, False, DEADLINE)
    assert user.recipe.group_role == "readers"


async def test_revocation_uses_the_newest_password(database: Mounted, target: Any) -> None:
    """A lease made before the admin's password changed is revoked with the new one."""
    await _set_up(database)
    plan = await _plan(database)
    await database.ask(UPDATE, "config/app", password="newer")
    await CREDS.revoke(database.system, database.view, (_doomed(plan),))
    assert target.deleted[0][0]["password"] == "newer"


async def test_a_failed_call_is_every_members_error(database: Mounted, target: Any) -> None:
    """The class of the error, never its text, is kept for each lease of the batch."""
    await _set_up(database)
    plans = [await _plan(database) for _ in range(3)]
    assert len({CREDS.batch_key(encode(plan.recipe)) for plan in plans}) == 1
    target.failure = TargetUnavailableError("connection refused by 10.1.2.3")
    doomed = tuple(_doomed(plan, number=number) for number, plan in enumerate(plans))
    ends = await CREDS.revoke(database.system, database.view, doomed)
    assert {(end.outcome, end.error) for end in ends} == {("error", "target_unavailable")}
    assert [end.lease_id for end in ends] == ["lease-0", "lease-1", "lease-2"]
