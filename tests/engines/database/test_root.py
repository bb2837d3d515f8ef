"""Root rotation on a double of a target: refusals, what is shown, two writers, recovery by the schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from secretd.engines.database.connections import read_target
from secretd.engines.database.due import rotate_due
from secretd.engines.database.root import RootAccount
from secretd.engines.database.schemas import Connection, config_key
from secretd.sdk.errors import ConflictError, InvalidRequestError, TargetError, TargetUnavailableError
from secretd.sdk.request import DELETE, READ, UPDATE
from secretd.sdk.storage import find
from support.scene import PLUGIN

if TYPE_CHECKING:
    from support.mounted import Mounted


@pytest.fixture
async def connected(database: Mounted) -> Mounted:
    """Connection ``c`` as ``admin``."""
    await write(database, username="admin", password="a-password")
    return database


async def write(mount: Mounted, **fields: Any) -> None:
    """Write ``config/c``."""
    await mount.ask(UPDATE, "config/c", plugin_name=PLUGIN, connection_url="u", allowed_roles="*", **fields)


async def stored(mount: Mounted) -> Connection:
    found = await find(mount.view, config_key("c"), Connection)
    assert found is not None
    return found


async def test_the_admin_gets_a_password_nobody_knows(connected: Mounted, target: Any) -> None:
    """Target, connection and leases' record have the one that logged in; no answer shows it."""
    assert (await connected.ask(UPDATE, "rotate-root/c")).data is None
    password = target.accounts["admin"]
    assert password != "a-password"
    found = await stored(connected)
    record, _ = await read_target(connected.view, found.target_id)
    assert record is not None
    assert (
        found.details["password"]
        == found.target.config["password"]
        == record.value.config["password"]
        == password
    )
    shown = repr(await connected.data(READ, "config/c"))
    assert password not in shown + repr(found)
    assert "a-password" not in shown
    await connected.ask(UPDATE, "reset/c")
    assert target.verifications[-1]["password"] == password


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"password": "p"}, "no username in configuration"),
        ({"username": "admin"}, "no password in configuration"),
    ],
)
async def test_without_user_name_or_password_it_is_refused(
    database: Mounted, fields: dict[str, Any], reason: str
) -> None:
    """400 with the reason, and the target is not asked."""
    await write(database, **fields)
    with pytest.raises(InvalidRequestError, match=reason):
        await database.ask(UPDATE, "rotate-root/c")
    with pytest.raises(InvalidRequestError, match="failed to find entry"):
        await database.ask(UPDATE, "rotate-root/none")


async def test_a_refusal_leaves_the_connection_as_it_was(connected: Mounted, target: Any) -> None:
    """The admin's password still works, and a read says how often it failed and why."""
    target.rejection = TargetError("the target refused: insufficient_privilege")
    with pytest.raises(TargetError):
        await connected.ask(UPDATE, "rotate-root/c")
    assert (await stored(connected)).details["password"] == target.accounts["admin"] == "a-password"
    shown = await connected.data(READ, "config/c")
    assert shown["root_rotation"] == {"attempts": 1, "last_error": "target_refused"}
    await connected.ask(UPDATE, "config/c", connection_url="elsewhere")  # the password is not in doubt
    await connected.ask(UPDATE, "config/c", connection_url="u")
    target.rejection = None
    await connected.ask(UPDATE, "rotate-root/c")
    assert "root_rotation" not in await connected.data(READ, "config/c")
    await connected.ask(DELETE, "config/c")


async def test_an_unanswered_change_is_found_out_by_the_schedule(connected: Mounted, target: Any) -> None:
    """The target has the new password and we did not hear of it: a few seconds later we know."""
    target.loses_answers = True
    with pytest.raises(TargetUnavailableError):
        await connected.ask(UPDATE, "rotate-root/c")
    assert (await stored(connected)).details["password"] == "a-password"
    connected.system.clock.advance(10)
    await rotate_due(connected.system, connected.view, connected.mount)
    assert (await stored(connected)).details["password"] == target.accounts["admin"] != "a-password"
    assert len(target.changes) == 1
    assert await connected.view.list("due/") == []


async def test_two_writers_are_a_conflict(connected: Mounted, target: Any) -> None:
    """While a rotation runs, writing the connection is refused; afterwards it is served."""
    account = RootAccount(connected.system, connected.view, (await stored(connected)).target_id)
    await account.change(lambda rotation: rotation.take(connected.system.clock.now(), only_due=False))
    with pytest.raises(ConflictError, match="rotation of this connection's password"):
        await write(connected, password="other")
    with pytest.raises(ConflictError):
        await connected.ask(UPDATE, "rotate-root/c")
    connected.system.clock.advance(61)
    await write(connected, password="other")
    assert (await stored(connected)).details["password"] == "other"


async def test_an_older_reading_is_a_conflict(connected: Mounted, target: Any) -> None:
    """A write that read the connection before a rotation never takes the rotated password back."""
    verify = target.verify

    async def rotate_meanwhile(config: dict[str, Any]) -> Any:
        target.verify = verify
        await connected.ask(UPDATE, "rotate-root/c")
        return await verify(config)

    target.verify = rotate_meanwhile
    with pytest.raises(ConflictError):
        await write(connected, max_open_connections=3)
    assert (await stored(connected)).details["password"] == target.accounts["admin"]


async def test_a_written_password_replaces_an_unproved_one(connected: Mounted, target: Any) -> None:
    """An operator who set a password by hand ends a rotation that could not; the schedule leaves it alone."""
    target.rejection = TargetUnavailableError()
    with pytest.raises(TargetUnavailableError):
        await connected.ask(UPDATE, "rotate-root/c")
    target.rejection = None
    target.accounts["admin"] = "by-hand"
    await write(connected, password="by-hand")
    connected.system.clock.advance(1000)
    await rotate_due(connected.system, connected.view, connected.mount)
    assert (await stored(connected)).details["password"] == target.accounts["admin"] == "by-hand"
    await connected.ask(UPDATE, "rotate-root/c")
    assert (await stored(connected)).details["password"] == target.accounts["admin"] != "by-hand"


async def test_another_edit_keeps_an_unproved_candidate(connected: Mounted, target: Any) -> None:
    """A write without a password does not forget what the target may have."""
    target.loses_answers = True
    with pytest.raises(TargetUnavailableError):
        await connected.ask(UPDATE, "rotate-root/c")
    await write(connected, max_open_connections=3)
    await connected.ask(UPDATE, "rotate-root/c")
    found = await stored(connected)
    assert found.details["password"] == target.accounts["admin"] != "a-password"
    assert found.details["max_open_connections"] == 3


async def test_a_name_does_not_leave_while_its_password_is_in_doubt(connected: Mounted, target: Any) -> None:
    """Deleted or re-pointed, it would strand its leases; a password that is written settles it."""
    target.loses_answers = True
    with pytest.raises(TargetUnavailableError):
        await connected.ask(UPDATE, "rotate-root/c")
    with pytest.raises(ConflictError, match="not proved"):
        await connected.ask(DELETE, "config/c")
    with pytest.raises(ConflictError, match="not proved"):
        await connected.ask(UPDATE, "config/c", connection_url="elsewhere")
    await write(connected, password="by-hand")
    await connected.ask(DELETE, "config/c")
    assert not await connected.exists("config/c")
