"""Static roles on a double of a target: the API, due moments, refusals, silence."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from secretd.engines.database.due import rotate_due
from secretd.engines.database.schemas import StaticRole, static_key
from secretd.engines.database.static_account import StaticAccount
from secretd.sdk.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    TargetError,
    TargetUnavailableError,
)
from secretd.sdk.request import DELETE, LIST, READ, UPDATE
from secretd.sdk.storage import decode, find
from support.engines import START
from support.scene import PLUGIN

if TYPE_CHECKING:
    from support.mounted import Mounted

HOUR = 3600


@pytest.fixture
async def role(database: Mounted, target: Any) -> Mounted:
    """Static role ``s`` of account ``app``, rotated each hour; its first rotation is forgotten."""
    await database.ask(
        UPDATE, "config/c", plugin_name=PLUGIN, connection_url="u", username="admin", password="a-password",
        allowed_roles="s*",
    )  # fmt: skip
    await database.ask(UPDATE, "static-roles/s", db_name="c", username="app", rotation_period="1h")
    target.changes.clear()
    return database


async def run(mount: Mounted) -> None:
    """What the scheduler does every few seconds."""
    await rotate_due(mount.system, mount.view, mount.mount)


async def stored(mount: Mounted) -> StaticRole:
    found = await find(mount.view, static_key("s"), StaticRole)
    assert found is not None
    return found


async def test_it_answers_what_vault_answers(role: Mounted, target: Any) -> None:
    """Fields and values of credentials are Vault's to the letter, and the password is the account's."""
    assert await role.data(READ, "static-creds/s") == {
        "last_vault_rotation": "2026-11-23T10:00:00.000000Z",
        "password": target.accounts["app"],
        "rotation_period": HOUR,
        "ttl": HOUR,
        "username": "app",
    }
    assert await role.data(READ, "static-roles/s") == {
        "credential_type": "password",
        "db_name": "c",
        "last_vault_rotation": "2026-11-23T10:00:00.000000Z",
        "next_vault_rotation": "2026-11-23T11:00:00.000000Z",
        "rotation_period": HOUR,
        "rotation_statements": [],
        "username": "app",
    }
    assert await role.data(LIST, "static-roles") == {"keys": ["s"]}
    role.system.clock.advance(600)
    assert (await role.data(READ, "static-creds/s"))["ttl"] == HOUR - 600


async def test_rotate_role_rotates_now(role: Mounted, target: Any) -> None:
    """The password is another one, the period begins anew, and the older password is kept behind the barrier."""
    before = target.accounts["app"]
    role.system.clock.advance(600)
    await role.ask(UPDATE, "rotate-role/s")
    data = await role.data(READ, "static-creds/s")
    assert (data["password"], data["ttl"]) == (target.accounts["app"], HOUR)
    assert data["password"] != before
    previous = (await stored(role)).rotation.previous
    assert previous is not None
    assert previous.reveal() == before


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"username": "app", "rotation_period": 60}, "database name is a required field"),
        ({"db_name": "c", "rotation_period": 60}, "username is a required field"),
        ({"db_name": "c", "username": "app"}, "rotation_period is required"),
        ({"db_name": "c", "username": "app", "rotation_period": 4}, "5 seconds or more"),
        ({"db_name": "c", "username": "app", "rotation_period": 0}, "5 seconds or more"),
        ({"db_name": "no", "username": "app", "rotation_period": 60}, "failed to find entry"),
        ({"db_name": "c", "username": "a\0", "rotation_period": 60}, "username has characters"),
        ({"db_name": "c", "username": "admin", "rotation_period": 60}, "own account"),
        ({"rotation_schedule": "0 0 * * *"}, "rotation_schedule is not available"),
        ({"skip_import_rotation": True}, "skip_import_rotation is not available"),
        ({"self_managed_password": "x"}, "self_managed_password is not available"),
        ({"credential_type": "rsa_private_key"}, "invalid credential_type"),
    ],
)
async def test_what_cannot_work_is_refused(
    role: Mounted, target: Any, fields: dict[str, Any], reason: str
) -> None:
    """The reason names the field; nothing is stored and no account is touched."""
    with pytest.raises(InvalidRequestError, match=reason):
        await role.ask(UPDATE, "static-roles/s2", **fields)
    assert not await role.exists("static-roles/s2")
    assert target.changes == []


async def test_allowed_roles_count(role: Mounted) -> None:
    """A static role that its connection does not serve is refused, and so are its credentials afterwards."""
    with pytest.raises(InvalidRequestError, match='"x" is not an allowed role'):
        await role.ask(UPDATE, "static-roles/x", db_name="c", username="app", rotation_period=60)
    await role.ask(UPDATE, "config/c", allowed_roles="other")
    with pytest.raises(InvalidRequestError, match='"s" is not an allowed role'):
        await role.ask(READ, "static-creds/s")


async def test_names_are_unique_across_both_kinds(role: Mounted) -> None:
    """A role and a static role never share a name."""
    with pytest.raises(InvalidRequestError, match="must be unique"):
        await role.ask(UPDATE, "roles/s", db_name="c", group_role="g")
    await role.ask(UPDATE, "roles/s9", db_name="c", group_role="g")
    with pytest.raises(InvalidRequestError, match="must be unique"):
        await role.ask(UPDATE, "static-roles/s9", db_name="c", username="app", rotation_period=60)


async def test_the_account_of_a_role_stays(role: Mounted, target: Any) -> None:
    """User name and connection cannot change; a new period counts from the last rotation, and rotates nothing."""
    with pytest.raises(InvalidRequestError, match="cannot update static account username"):
        await role.ask(UPDATE, "static-roles/s", username="admin")
    with pytest.raises(InvalidRequestError, match="db_name"):
        await role.ask(UPDATE, "static-roles/s", db_name="other")
    await role.ask(UPDATE, "static-roles/s", username="app", rotation_period="2h")
    assert (await role.data(READ, "static-creds/s"))["ttl"] == 2 * HOUR
    assert target.changes == []
    role.system.clock.advance(HOUR + 1)
    await run(role)
    assert target.changes == []


async def test_what_is_not_there(role: Mounted) -> None:
    """Each path says so as Vault does."""
    with pytest.raises(NotFoundError):
        await role.ask(READ, "static-roles/none")
    with pytest.raises(InvalidRequestError, match="unknown role: none"):
        await role.ask(READ, "static-creds/none")
    with pytest.raises(InvalidRequestError, match="no static role found"):
        await role.ask(UPDATE, "rotate-role/none")
    await role.ask(DELETE, "static-roles/none")


async def test_a_deleted_role_leaves_the_account_alone(role: Mounted, target: Any) -> None:
    """Nothing is rotated afterwards, and nothing stays in the schedule."""
    await role.ask(DELETE, "static-roles/s")
    role.system.clock.advance(2 * HOUR)
    await run(role)
    assert target.changes == []
    assert await role.view.list("due/") == []


async def test_a_hundred_looks_across_a_due_moment_rotate_once(role: Mounted, target: Any) -> None:
    """Restarts are no events: half of the looks come before the moment, half after, a few at once."""
    role.system.clock.advance(HOUR - 50)
    for _ in range(25):
        await asyncio.gather(*(run(role) for _ in range(4)))
        role.system.clock.advance(4)
    assert len(target.changes) == 1
    assert (await role.data(READ, "static-creds/s"))["password"] == target.accounts["app"]


async def test_a_day_of_downtime_is_one_rotation(role: Mounted, target: Any) -> None:
    """What was missed is not made up for, and the next period counts from the rotation."""
    role.system.clock.advance(24 * HOUR + 7)
    for _ in range(3):
        await run(role)
    assert len(target.changes) == 1
    assert (await role.data(READ, "static-creds/s"))["ttl"] == HOUR


async def test_a_target_that_is_down_backs_off_and_is_never_forgotten(role: Mounted, target: Any) -> None:
    """The waits grow to a quarter of an hour; the first look after its return rotates, once."""
    role.system.clock.advance(HOUR)
    target.failure = TargetUnavailableError()
    tried, waits = 0, []
    for second in range(4 * HOUR // 5):
        await run(role)
        attempts = (await stored(role)).rotation.attempts
        if attempts != tried:
            tried = attempts
            waits.append(5 * second)
        role.system.clock.advance(5)
    assert 15 < tried < 40
    assert max(later - earlier for earlier, later in zip(waits, waits[1:], strict=False)) <= 905
    shown = await role.data(READ, "static-roles/s")
    assert (shown["rotation_attempts"], shown["rotation_error"]) == (tried, "target_unavailable")
    target.failure = None
    role.system.clock.advance(905)
    await run(role)
    await run(role)
    assert len(target.changes) == 1
    assert "rotation_attempts" not in await role.data(READ, "static-roles/s")


async def test_an_unanswered_change_is_found_out(role: Mounted, target: Any) -> None:
    """Every retry sets the same password; what is answered meanwhile is what the account has."""
    target.loses_answers = True
    with pytest.raises(TargetUnavailableError):
        await role.ask(UPDATE, "rotate-role/s")
    assert (await role.data(READ, "static-creds/s"))["password"] == target.accounts["app"]
    assert (await stored(role)).rotation.candidate is not None
    role.system.clock.advance(10)
    await run(role)
    assert len(target.changes) == 1  # it was there already: only the login was missing
    assert (await stored(role)).rotation.is_settled
    assert (await role.data(READ, "static-creds/s"))["password"] == target.accounts["app"]


async def test_retries_keep_the_candidate(role: Mounted, target: Any) -> None:
    """A change that never arrived is sent again with the same password and lock."""
    target.rejection = TargetUnavailableError()
    for _ in range(3):
        with pytest.raises(TargetUnavailableError):
            await role.ask(UPDATE, "rotate-role/s")
    assert len({change.password.reveal() for change in target.changes}) == 1
    assert len({change.fence_key for change in target.changes}) == 1


async def test_no_new_candidate_while_an_older_change_may_arrive(role: Mounted, target: Any) -> None:
    """After a silence that was found out, the next rotation waits for the target's clock."""
    target.loses_answers = True
    with pytest.raises(TargetUnavailableError):
        await role.ask(UPDATE, "rotate-role/s")
    target.loses_answers = False
    await role.ask(UPDATE, "rotate-role/s")
    with pytest.raises(TargetError, match="may still arrive"):
        await role.ask(UPDATE, "rotate-role/s")
    assert len(target.changes) == 1
    role.system.clock.advance(11)
    await role.ask(UPDATE, "rotate-role/s")
    assert len(target.changes) == 2


async def test_a_rejected_candidate_is_replaced(role: Mounted, target: Any) -> None:
    """Another password is drawn, the rejected one is kept until the proof, no operator is needed."""
    role.system.clock.advance(HOUR)
    target.rejection = TargetError("the target refused: invalid_password")
    await run(role)
    rotation = (await stored(role)).rotation
    assert (rotation.candidate, len(rotation.rejected), rotation.attempts) == (None, 1, 1)
    role.system.clock.advance(10)
    target.rejection = None
    await run(role)
    assert len({change.password.reveal() for change in target.changes}) == 2
    assert (await stored(role)).rotation.is_settled
    assert (await role.data(READ, "static-creds/s"))["password"] == target.accounts["app"]


async def test_a_role_whose_account_is_not_there_is_not_stored(role: Mounted) -> None:
    """A definite refusal of the first rotation leaves nothing, so that it can be written again."""
    with pytest.raises(TargetError, match="undefined_object"):
        await role.ask(UPDATE, "static-roles/s2", db_name="c", username="ghost", rotation_period=60)
    assert not await role.exists("static-roles/s2")
    assert len(await role.view.list("due/")) == 1


async def test_a_role_whose_target_is_down_is_not_stored(role: Mounted, target: Any) -> None:
    """Nothing was asked of the account, so nothing has to be remembered."""
    target.failure = TargetUnavailableError()
    with pytest.raises(TargetUnavailableError):
        await role.ask(UPDATE, "static-roles/s2", db_name="c", username="ghost", rotation_period=60)
    assert not await role.exists("static-roles/s2")


async def test_a_first_rotation_in_doubt_is_stored_and_finished(role: Mounted, target: Any) -> None:
    """The account may have the password already: the role stays, and is proved by the schedule."""
    target.accounts["new"] = "x"
    target.loses_answers = True
    with pytest.raises(TargetUnavailableError) as caught:
        await role.ask(UPDATE, "static-roles/s2", db_name="c", username="new", rotation_period=60)
    assert "is stored" in str(caught.value.hint)
    target.loses_answers = False
    role.system.clock.advance(10)
    await run(role)
    assert (await role.data(READ, "static-creds/s2"))["password"] == target.accounts["new"]


async def test_an_account_that_may_not_log_in_is_not_proved(role: Mounted, target: Any) -> None:
    """A change that was answered is not enough; the candidate stays until a login proves it."""
    target.probe = _never
    with pytest.raises(TargetError, match="refuses a login"):
        await role.ask(UPDATE, "rotate-role/s")
    assert (await stored(role)).rotation.candidate is not None
    del target.probe
    role.system.clock.advance(10)
    await run(role)
    assert (await role.data(READ, "static-creds/s"))["password"] == target.accounts["app"]


async def _never(*_: Any) -> bool:
    return False


async def test_one_daemon_at_a_time(role: Mounted) -> None:
    """While one works on it, a second one's call is a conflict; a claim ends."""
    account = StaticAccount(role.system, role.view, "s")
    await account.change(lambda rotation: rotation.take(role.system.clock.now(), only_due=False))
    with pytest.raises(ConflictError, match="under way"):
        await role.ask(UPDATE, "rotate-role/s")
    role.system.clock.advance(61)
    await run(role)
    assert (await stored(role)).rotation.attempts == 0


async def test_a_worker_that_resumes_changes_nothing(role: Mounted, target: Any) -> None:
    """Stopped before it committed, overtaken, resumed: its turn is over. Stopped before the change: its deadline."""
    account = StaticAccount(role.system, role.view, "s")
    epoch = await account.change(lambda r: r.take(role.system.clock.now(), only_due=False))
    role.system.clock.advance(61)
    await role.ask(UPDATE, "rotate-role/s")
    password = target.changes[-1].password
    with pytest.raises(ConflictError):
        await account.change(lambda r: r.commit(epoch, password, START))
    (change,) = target.changes
    assert change.target_deadline == START + timedelta(seconds=71)


async def test_no_password_is_shown_or_stored_in_clear(role: Mounted) -> None:
    """Neither the role's answer nor a repr holds one, and storage has ciphertext."""
    role_now = await stored(role)
    password = (await role.data(READ, "static-creds/s"))["password"]
    assert password not in repr(role_now) + repr(role_now.rotation)
    assert password not in repr(await role.data(READ, "static-roles/s"))
    entry = await role.view.get(static_key("s"))
    assert entry is not None
    assert decode(entry.value, StaticRole).rotation.current == role_now.rotation.current
