"""``static-roles/{name}``, ``static-creds/{name}``, ``rotate-role/{name}``: an account that exists already.

Its password is ours from the moment the role is written. What is answered is what the target accepts: while a
change is in doubt, the passwords in question are tried. Deleting a role leaves account and password as they are.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from secretd.engines.database.account import Held, rotate
from secretd.engines.database.connections import measure, warn_of_policy
from secretd.engines.database.rotation import Rotation, begin
from secretd.engines.database.schedule import move, storage_now
from secretd.engines.database.schemas import (
    Connection,
    CredentialConfig,
    Named,
    StaticFields,
    StaticRole,
    require_name,
    role_key,
    statements,
    static_key,
)
from secretd.engines.database.static_account import StaticAccount, find_connection, schedule_next, what
from secretd.sdk.clock import rfc3339
from secretd.sdk.errors import InvalidRequestError, NotFoundError, TargetError
from secretd.sdk.fields import Sensitive
from secretd.sdk.path import Nothing
from secretd.sdk.request import Call
from secretd.sdk.response import Response, names
from secretd.sdk.storage import NEW, decode, find

MIN_PERIOD = 5  # seconds, as Vault's
_MAX_USERNAME = 255


async def list_names(call: Call, _: Nothing) -> Response:
    """Names of the static roles."""
    after, limit = call.list_pages
    return names(await call.view.list("static-role/", after=after, limit=limit))


async def exists(call: Call, fields: StaticFields) -> bool:
    """Whether the static role is there."""
    return await call.view.get(static_key(fields.name)) is not None


async def read(call: Call, fields: Named) -> Response:
    """A static role, when it is rotated next and, while that fails, how often and why."""
    role = await find(call.view, static_key(fields.name), StaticRole)
    if role is None:
        raise NotFoundError
    rotation = role.rotation
    data: dict[str, Any] = {
        "credential_type": "password",
        "db_name": role.db_name,
        "last_vault_rotation": rfc3339(rotation.last_time),
        "next_vault_rotation": rfc3339(rotation.next_time),
        "rotation_period": role.period,
        "rotation_statements": list(role.rotation_statements),
        "username": role.username,
    }
    if role.password_policy:
        data["credential_config"] = {"password_policy": role.password_policy}
    if rotation.attempts:
        data["rotation_attempts"] = rotation.attempts
        data["rotation_error"] = rotation.last_error
    return Response(data=data)


async def write(call: Call, fields: StaticFields) -> None:
    """Make a static role, which rotates its password at once, or change one."""
    require_name(fields.name)
    _refuse(fields)
    entry = await call.view.get(static_key(fields.name))
    if entry is None:
        await _create(call, fields)
        return
    role = decode(entry.value, StaticRole)
    due_before = role.rotation.due_time
    _require_same(role, fields)
    _apply(role, fields)
    await warn_of_policy(call, role.password_policy)
    schedule_next(role)
    held = Held(role.rotation, role, (entry.version,), due_before)
    await StaticAccount(call.system, call.view, fields.name).keep(held)


async def delete(call: Call, fields: Named) -> None:
    """Forget a static role; the account keeps its password."""
    async with call.view.transaction() as inside:
        role = await find(inside, static_key(fields.name), StaticRole)
        if role is not None:
            await inside.delete(static_key(fields.name))
            await move(inside, what(fields.name), before=role.rotation.due_time, after=None)


async def read_creds(call: Call, fields: Named) -> Response:
    """The password that the account has now, and the seconds until it is rotated."""
    role = await find(call.view, static_key(fields.name), StaticRole)
    if role is None:
        raise InvalidRequestError(f"unknown role: {fields.name}")
    await find_connection(call.view, fields.name, role.db_name)
    password = role.rotation.current
    if not role.rotation.is_settled:
        password = await _working(call, fields.name, role.rotation)
    if password is None:
        raise TargetError(
            "the account's password has not been set yet", hint="see rotation_error of the static role"
        )
    now = await storage_now(call.system)
    return Response(
        data={
            "last_vault_rotation": rfc3339(role.rotation.last_time),
            "password": password.reveal(),
            "rotation_period": role.period,
            "ttl": _seconds_until(role.rotation.next_time, now),
            "username": role.username,
        }
    )


async def rotate_role(call: Call, fields: Named) -> None:
    """Rotate now; finishes a rotation that was begun."""
    if await call.view.get(static_key(fields.name)) is None:
        raise InvalidRequestError("no static role found for role name")
    await rotate(StaticAccount(call.system, call.view, fields.name))


async def _working(call: Call, name: str, rotation: Rotation) -> Sensitive | None:
    """Of the passwords in question the one that logs in; the current one if the target does not say.

    A candidate that logs in may be answered: no other is set before it is promoted.
    """
    account = StaticAccount(call.system, call.view, name)
    try:
        means = await account.means()
        for password in (rotation.candidate, rotation.current, *rotation.rejected):
            if password is not None and await account.can_log_in(means, password):
                return password
    except (TargetError, InvalidRequestError):
        call.warn("a rotation is not finished, and the target could not be asked whether this password works")
    return rotation.current


async def _create(call: Call, fields: StaticFields) -> None:
    """Store the role, then rotate. Nothing is stored if the target is out of reach or certainly refused."""
    if await call.view.get(role_key(fields.name)) is not None:
        raise InvalidRequestError("Role and Static Role names must be unique")
    role = _new(fields)
    connection = await find_connection(call.view, fields.name, role.db_name)
    _require_not_admin(connection, role.username)
    await warn_of_policy(call, role.password_policy)
    await measure(call.system, connection.target)
    now = await storage_now(call.system)
    role.rotation.next_time = role.rotation.due_time = now
    account = StaticAccount(call.system, call.view, fields.name)
    await account.keep(Held(role.rotation, role, (NEW,), None))
    try:
        await rotate(account)
    except (TargetError, InvalidRequestError) as error:
        if await _forget_unborn(account):
            raise
        error.hint = "the role is stored, and its first rotation is tried again until it is proved"
        raise


async def _forget_unborn(account: StaticAccount) -> bool:
    """Remove a role whose account we certainly never changed."""
    async with account.view.transaction() as inside:
        held = await account.read(inside)
        if held is None:
            return True
        rotation = held.rotation
        if rotation.current or rotation.candidate or rotation.late_until:
            return False
        await account.write(inside, held)  # check and set: it is still as we read it
        await inside.delete(static_key(account.name))
        await move(inside, account.what, before=held.due_before, after=None)
    return True


def _new(fields: StaticFields) -> StaticRole:
    if not fields.username:
        raise InvalidRequestError("username is a required field to create a static account")
    if len(fields.username) > _MAX_USERNAME or not fields.username.isprintable():
        raise InvalidRequestError("username has characters that no account's name has, or is too long")
    if not fields.db_name:
        raise InvalidRequestError("database name is a required field")
    if fields.rotation_period is None:
        raise InvalidRequestError("rotation_period is required to create static accounts")
    role = StaticRole(db_name=fields.db_name, username=fields.username, period=0, rotation=begin())
    _apply(role, fields)
    return role


def _apply(role: StaticRole, fields: StaticFields) -> None:
    if fields.rotation_period is not None:
        if fields.rotation_period < MIN_PERIOD:
            raise InvalidRequestError(f"rotation_period must be {MIN_PERIOD} seconds or more")
        role.period = int(fields.rotation_period)
    role.rotation_statements = statements(fields.rotation_statements, role.rotation_statements)
    config = fields.credential_config or CredentialConfig(password_policy=role.password_policy)
    role.password_policy = config.password_policy


def _refuse(fields: StaticFields) -> None:
    if fields.rotation_schedule or fields.rotation_window:
        raise InvalidRequestError(
            "rotation_schedule is not available yet", hint="rotation_period is, in seconds or as 24h"
        )
    if fields.skip_import_rotation:
        raise InvalidRequestError(
            "skip_import_rotation is not available", hint="a static role rotates when it is written"
        )
    if fields.self_managed_password:
        raise InvalidRequestError(
            "self_managed_password is not available", hint="the connection's admin sets the password"
        )
    if (fields.credential_type or "password") != "password":
        raise InvalidRequestError("invalid credential_type", hint="only password is served")


def _require_same(role: StaticRole, fields: StaticFields) -> None:
    """What the stored password belongs to stays."""
    if fields.username is not None and fields.username != role.username:
        raise InvalidRequestError("cannot update static account username")
    if fields.db_name is not None and fields.db_name != role.db_name:
        raise InvalidRequestError(
            "cannot update static account db_name", hint="delete the static role and write another"
        )


def _require_not_admin(connection: Connection, username: str) -> None:
    """One writer for a password: the admin's is the connection's."""
    if username in {connection.details.get("username"), connection.target.config.get("user")}:
        raise InvalidRequestError(
            "username is the connection's own account", hint="rotate it by rotate-root/{connection}"
        )


def _seconds_until(moment: datetime | None, now: datetime) -> int:
    return 0 if moment is None else max(round((moment - now).total_seconds()), 0)
