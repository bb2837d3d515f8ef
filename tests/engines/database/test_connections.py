"""Connections: what is kept, what is shown, what outlives its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from secretd.engines.database.schemas import Connection, Target
from secretd.engines.database.tidy import tidy_targets
from secretd.sdk.errors import InvalidRequestError, NotFoundError, TargetAuthError
from secretd.sdk.request import DELETE, LIST, READ, UPDATE
from secretd.sdk.storage import find

if TYPE_CHECKING:
    from support.mounted import Mounted

PLUGIN = "postgresql-database-plugin"
URL = "postgresql://{{username}}:{{password}}@db/app"


async def _write(database: Mounted, **fields: Any) -> Any:
    given = {
        "plugin_name": PLUGIN,
        "connection_url": URL,
        "username": "admin",
        "password": "hunter2",
    } | fields
    return await database.ask(UPDATE, "config/app", **given)


async def _target_ids(database: Mounted) -> list[str]:
    return await database.view.list("target/")


async def test_a_read_answers_as_vault_and_never_with_the_password(database: Mounted) -> None:
    """Roles come back as a list, whatever they were written as; no field holds the password."""
    await _write(database, allowed_roles="a, b", password_policy="", username_template="v-{{random 20}}")
    data = await database.data(READ, "config/app")
    assert data["allowed_roles"] == ["a", "b"]
    assert data["plugin_name"] == PLUGIN
    assert data["root_credentials_rotate_statements"] == []
    assert data["connection_details"]["username_template"] == "v-{{random 20}}"
    assert "hunter2" not in repr(data)


async def test_what_is_stored_shows_no_password_in_its_repr(database: Mounted) -> None:
    """A repr in a log or traceback is harmless."""
    await _write(database)
    stored = await find(database.view, "config/app", Connection)
    assert stored is not None
    assert "hunter2" in str(stored.details)
    assert "hunter2" not in repr(stored) + repr(stored.target)


async def test_a_write_changes_only_what_it_names(database: Mounted, target: Any) -> None:
    """The second write keeps URL and password of the first."""
    await _write(database, allowed_roles=["a"])
    await database.ask(UPDATE, "config/app", username="other")
    data = await database.data(READ, "config/app")
    assert data["allowed_roles"] == ["a"]
    assert data["connection_details"] == {"connection_url": URL, "username": "other"}
    assert target.verifications[-1]["password"] == "hunter2"


async def test_a_connection_that_cannot_log_in_is_not_stored(database: Mounted, target: Any) -> None:
    """The error is the plugin's, and nothing is there afterwards."""
    target.failure = TargetAuthError()
    with pytest.raises(InvalidRequestError):
        await _write(database)
    assert not await database.exists("config/app")
    assert await _target_ids(database) == []


async def test_verify_connection_false_reaches_nothing(database: Mounted, target: Any) -> None:
    """A target that is down can be configured."""
    target.failure = TargetAuthError()
    await _write(database, verify_connection=False)
    assert await database.exists("config/app")


async def test_the_clocks_distance_is_measured_against_storage(database: Mounted, target: Any) -> None:
    """Offset = target minus storage, though only our own clock sees both; reset measures it again."""
    target.ahead, database.system.offset = 300.0, 100.0
    await _write(database)
    stored = await find(database.view, "config/app", Connection)
    assert stored is not None
    assert stored.target.offset == pytest.approx(200)
    target.ahead = 0.0
    await database.ask(UPDATE, "reset/app")
    stored = await find(database.view, "config/app", Connection)
    assert stored is not None
    assert stored.target.offset == pytest.approx(-100)
    kept = await find(database.view, f"target/{stored.target_id}", Target)
    assert kept is not None
    assert kept.offset == stored.target.offset


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"plugin_name": ""}, "empty plugin name"),
        ({"plugin_name": "nope"}, "plugin not found"),
        ({"username_template": "{{.RoleName}}"}, "random bits"),
        ({"verify_roles": True}, "verify_roles"),
        ({"plugin_version": "v9"}, "plugin_version"),
    ],
)
async def test_bad_fields_are_refused_with_nothing_stored(
    database: Mounted, fields: dict[str, Any], reason: str
) -> None:
    """The error names the field."""
    with pytest.raises(InvalidRequestError, match=reason):
        await _write(database, **fields)
    assert (await database.ask(LIST, "config")).data == {"keys": []}


async def test_the_plugins_warnings_reach_the_writer(database: Mounted) -> None:
    """So does a password policy that is not there yet."""
    response = await _write(database, password_policy="long")
    assert response.warnings == ["password_policy: there is no such password policy", "be careful"]


async def test_a_name_that_is_not_there(database: Mounted) -> None:
    """Reading is 404, deleting is fine, resetting names the connection."""
    with pytest.raises(NotFoundError):
        await database.ask(READ, "config/none")
    assert (await database.ask(DELETE, "config/none")).is_empty
    with pytest.raises(InvalidRequestError, match='"none"'):
        await database.ask(UPDATE, "reset/none")


async def test_another_database_is_another_target_and_the_old_one_stays(database: Mounted) -> None:
    """Leases of the first are revoked where they were made; a connection that comes back finds its target."""
    await _write(database)
    first = await _target_ids(database)
    await _write(database, connection_url="postgresql://elsewhere/app")
    assert len(await _target_ids(database)) == 2
    await database.ask(DELETE, "config/app")
    await _write(database, password="newer")
    stored = await find(database.view, f"target/{first[0]}", Target)
    assert stored is not None
    assert stored.config["password"] == "newer"


async def test_tidy_removes_a_target_that_neither_connection_nor_lease_needs(database: Mounted) -> None:
    """Marked first, removed an hour later; a lease or a connection that comes back keeps it."""
    await _write(database)
    (target_id,) = await _target_ids(database)
    await database.ask(DELETE, "config/app")
    database.system.leases = [(f"app/{target_id}", "reader")]
    for _ in range(3):
        await tidy_targets(database.system, database.view, database.mount)
    assert await _target_ids(database) == [target_id]
    database.system.leases = []
    await _write(database)
    await database.ask(DELETE, "config/app")
    await tidy_targets(database.system, database.view, database.mount)
    assert await _target_ids(database) == [target_id]
    await tidy_targets(database.system, database.view, database.mount)
    assert await _target_ids(database) == []
