"""``config/{name}``: how a target is reached, and which roles may use it.

A name stands for a target until it is written with another host or database, or deleted. The target's own
record stays as long as leases of it live: they are revoked with what it says then, so a new password
reaches them, and neither a deleted nor a re-pointed name strands them (pains P07).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from secretd.engines.database.schedule import move, storage_now
from secretd.engines.database.schemas import (
    OURS,
    Connection,
    ConnectionFields,
    Named,
    Target,
    config_key,
    require_name,
    statements,
    target_id,
    target_key,
)
from secretd.sdk import plugin as contract
from secretd.sdk.credential import check_username_template
from secretd.sdk.engine import System
from secretd.sdk.errors import ConflictError, InvalidRequestError, NotFoundError, SecretdError, TargetError
from secretd.sdk.path import Nothing
from secretd.sdk.request import Call
from secretd.sdk.response import Response, names
from secretd.sdk.storage import NEW, Entry, View, decode, find, save

T = TypeVar("T")
_SKEW = 1.0  # seconds; less is the measurement's own error
_TRIES = 5


async def list_names(call: Call, _: Nothing) -> Response:
    """Names of the connections."""
    after, limit = call.list_pages
    return names(await call.view.list("config/", after=after, limit=limit))


async def exists(call: Call, fields: ConnectionFields) -> bool:
    """Whether the connection is there."""
    return await call.view.get(config_key(fields.name)) is not None


async def read(call: Call, fields: Named) -> Response:
    """A connection, without its secrets."""
    found = await find(call.view, config_key(fields.name), Connection)
    if found is None:
        raise NotFoundError
    details = dict(found.shown)
    if found.username_template:
        details["username_template"] = found.username_template
    data = {
        "allowed_roles": list(found.allowed_roles),
        "connection_details": details,
        "password_policy": found.password_policy,
        "plugin_name": found.target.plugin,
        "plugin_version": "",
        "root_credentials_rotate_statements": list(found.root_rotation_statements),
    }
    root = found.target.root
    if root is not None and root.attempts:
        data["root_rotation"] = {"attempts": root.attempts, "last_error": root.last_error}
    return Response(data=data)


async def write(call: Call, fields: ConnectionFields) -> None:
    """Make or change a connection; unless ``verify_connection`` is false, it is logged in to first."""
    require_name(fields.name)
    entry = await call.view.get(config_key(fields.name))
    before = None if entry is None else decode(entry.value, Connection)
    await _require_no_rotation(call, before)
    after, described, known = await _change(call, fields, before)
    if before is not None and before.target_id != after.target_id:
        _require_settled(before)
    if fields.verify_connection:
        _warn(call, await _verify(call.system, after.target))
    _warn(call, described.warnings)
    was_due = _supersede(after.target) if fields.password is not None else None
    async with call.view.transaction() as view:
        await save(view, target_key(after.target_id), after.target, version=_version(known))
        await save(view, config_key(fields.name), after, version=_version(entry))
        await move(view, root_what(after.target_id), before=was_due, after=None)


async def delete(call: Call, fields: Named) -> None:
    """Forget a connection. Its leases live on, and end as they would have."""
    async with call.view.transaction() as view:
        entry = await view.get(config_key(fields.name))
        if entry is None:
            return
        before = decode(entry.value, Connection)
        await _require_no_rotation(call, before)
        _require_settled(before)
        await save(view, config_key(fields.name), before, version=entry.version)  # it is still as we read it
        await view.delete(config_key(fields.name))


async def reset(call: Call, fields: Named) -> None:
    """Log in anew, and measure the target's clock."""
    entry = await call.view.get(config_key(fields.name))
    if entry is None:
        raise missing(fields.name)
    found = decode(entry.value, Connection)
    offset, warnings = await measure(call.system, found.target)
    _warn(call, warnings)
    await store_offset(call.view, found.target_id, offset)


def missing(name: str) -> InvalidRequestError:
    """The error of a role whose connection is not there."""
    return InvalidRequestError(
        f'failed to find entry for connection with name: "{name}"', hint=f"write config/{name} first"
    )


async def _verify(system: System, target: Target) -> tuple[str, ...]:
    """Log in and keep the clock's offset; what does not let us in is the caller's to mend: InvalidRequestError."""
    try:
        target.offset, warnings = await measure(system, target)
    except TargetError as error:
        refusal = InvalidRequestError(
            f"the connection could not be verified: {error.message}",
            hint=error.hint
            or "mend connection_url, username or password; verify_connection=false stores it unseen",
            retry_after=error.retry_after,
        )
        refusal.code = error.code  # still the target's, for whoever tells them apart
        raise refusal from None
    return warnings


async def measure(system: System, target: Target) -> tuple[float, tuple[str, ...]]:
    """Log in; how far the target's clock is ahead of storage's, in seconds, and what the login showed."""
    before = system.clock.now()
    state = await system.database_plugin(target.plugin).verify(target.config)
    middle = before + (system.clock.now() - before) / 2
    ours = (state.clock - middle).total_seconds()
    return ours - await system.storage_clock_offset(), state.warnings


def root_what(identity: str) -> str:
    """The name of a target's root rotation in the schedule."""
    return f"root.{identity}"


def _version(entry: Entry | None) -> int:
    return NEW if entry is None else entry.version


async def _require_no_rotation(call: Call, before: Connection | None) -> None:
    """One writer of the admin's password at a time: a rotation ends before the connection is written."""
    root = before.target.root if before else None
    if root is not None and root.is_busy(await storage_now(call.system)):
        raise ConflictError("a rotation of this connection's password is under way", retry_after=5.0)


def _require_settled(connection: Connection) -> None:
    """The name goes, and leases stay: which password revokes them must be known before."""
    root = connection.target.root
    if root is not None and root.is_in_doubt:
        raise ConflictError(
            "it is not proved which password the last root rotation left",
            hint="rotate-root finishes it; a password written to the connection replaces it",
        )


def _supersede(target: Target) -> datetime | None:
    """A password that was written replaces one that a rotation could not prove; when that was due."""
    root = target.root
    if root is None:
        return None
    was_due, root.due_time, root.busy_until = root.due_time, None, None
    root.epoch += 1  # a worker that resumes finds that it is not its turn any more
    root.previous, root.candidate, root.rejected = root.candidate or root.previous, None, ()
    root.attempts, root.last_error = 0, ""
    return was_due


async def store_offset(view: View, identity: str, offset: float) -> None:
    """Keep a measured offset with the target and, while the connection still names it, there."""
    for _ in range(_TRIES):
        target, entry = await read_target(view, identity)
        if target is None:
            return
        target.value.offset = offset
        try:
            await write_target(view, identity, target, entry)
        except ConflictError:
            continue
        return


class Versioned(msgspec.Struct, Generic[T]):
    """What was read, and the version to write against."""

    value: T
    version: int


async def read_target(
    view: View, identity: str
) -> tuple[Versioned[Target] | None, Versioned[Connection] | None]:
    """A target and, while a name stands for it, the connection of that name."""
    entry = await view.get(target_key(identity))
    if entry is None:
        return None, None
    target = decode(entry.value, Target)
    named = await view.get(config_key(target.connection))
    connection = None if named is None else decode(named.value, Connection)
    if named is None or connection is None or connection.target_id != identity:
        return Versioned(target, entry.version), None
    return Versioned(target, entry.version), Versioned(connection, named.version)


async def write_target(
    view: View, identity: str, target: Versioned[Target], connection: Versioned[Connection] | None
) -> None:
    """Write both, as :func:`read_target` gave them; ConflictError if either changed meanwhile."""
    async with view.transaction() as inside:
        await save(inside, target_key(identity), target.value, version=target.version)
        if connection is not None:
            connection.value.target = target.value
            key = config_key(target.value.connection)
            await save(inside, key, connection.value, version=connection.version)


async def measure_again(system: System, view: View, target_id: str, target: Target) -> bool:
    """After a refusal: whether the offset that we knew was wrong. Another failure says False."""
    try:
        offset, _ = await measure(system, target)
        if abs(offset - (target.offset or 0.0)) > _SKEW:
            await store_offset(view, target_id, offset)
            return True
    except SecretdError:
        pass  # the error that brought us here says more
    return False


async def _change(
    call: Call, fields: ConnectionFields, before: Connection | None
) -> tuple[Connection, contract.Target, Entry | None]:
    """The connection that the fields make of the one before, and its target as stored; nothing is written."""
    plugin_name = fields.plugin_name or (before.target.plugin if before else "")
    if not plugin_name:
        raise InvalidRequestError("empty plugin name", hint="plugin_name=postgresql-database-plugin")
    _refuse(fields)
    details = (before.details if before else {}) | _given(call.data)
    described = await call.system.database_plugin(plugin_name).describe(details)
    identity = target_id(fields.name, plugin_name, described.identity)
    entry = await call.view.get(target_key(identity))
    known = None if entry is None else decode(entry.value, Target)
    target = Target(
        connection=fields.name,
        plugin=plugin_name,
        config=described.config,
        offset=None if known is None else known.offset,
        root=None if known is None else known.root,
    )
    after = Connection(target_id=identity, target=target, details=details, shown=described.shown)
    await _add_ours(call, fields, after, before)
    return after, described, entry


async def _add_ours(
    call: Call, fields: ConnectionFields, after: Connection, before: Connection | None
) -> None:
    if before is not None:
        after.allowed_roles = before.allowed_roles
        after.username_template = before.username_template
        after.password_policy = before.password_policy
        after.root_rotation_statements = before.root_rotation_statements
    if fields.allowed_roles is not None:
        after.allowed_roles = tuple(fields.allowed_roles)
    if fields.username_template is not None:
        after.username_template = fields.username_template
        if fields.username_template:
            check_username_template(fields.username_template)
    if fields.password_policy is not None:
        after.password_policy = fields.password_policy
        await warn_of_policy(call, fields.password_policy)
    after.root_rotation_statements = statements(
        fields.root_rotation_statements, after.root_rotation_statements
    )


def _refuse(fields: ConnectionFields) -> None:
    if fields.plugin_version:
        raise InvalidRequestError(
            "plugin_version cannot be chosen here", hint="the daemon's [plugins] allow names versions"
        )
    if fields.verify_roles:
        raise InvalidRequestError("verify_roles is not available yet", hint="leave it out")


def _given(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in OURS}


async def warn_of_policy(call: Call, policy: str) -> None:
    """Warn when a password policy is named that cannot be used now; it may be written later."""
    if not policy:
        return
    try:
        await call.system.password_bits(policy)
    except SecretdError as error:
        call.warn(f"password_policy: {error.message}")


def _warn(call: Call, sentences: tuple[str, ...]) -> None:
    for sentence in sentences:
        call.warn(sentence)
