"""``config/{name}``: how a target is reached, and which roles may use it.

A name stands for a target until it is written with another host or database, or deleted. The target's own
record stays as long as leases of it live: they are revoked with what it says then, so a new password
reaches them, and neither a deleted nor a re-pointed name strands them (pains P07).
"""

from __future__ import annotations

from typing import Any

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
from secretd.sdk.errors import InvalidRequestError, NotFoundError, SecretdError, TargetError
from secretd.sdk.path import Nothing
from secretd.sdk.request import Call
from secretd.sdk.response import Response, names
from secretd.sdk.storage import ANY_VERSION, NEW, View, decode, find, save


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
    return Response(
        data={
            "allowed_roles": list(found.allowed_roles),
            "connection_details": details,
            "password_policy": found.password_policy,
            "plugin_name": found.target.plugin,
            "plugin_version": "",
            "root_credentials_rotate_statements": list(found.root_rotation_statements),
        }
    )


async def write(call: Call, fields: ConnectionFields) -> None:
    """Make or change a connection; unless ``verify_connection`` is false, it is logged in to first."""
    require_name(fields.name)
    entry = await call.view.get(config_key(fields.name))
    before = None if entry is None else decode(entry.value, Connection)
    after, described = await _change(call, fields, before)
    if fields.verify_connection:
        _warn(call, await _verify(call.system, after.target))
    _warn(call, described.warnings)
    version = NEW if entry is None else entry.version
    async with call.view.transaction() as view:
        await save(view, target_key(after.target_id), after.target)
        await save(view, config_key(fields.name), after, version=version)


async def delete(call: Call, fields: Named) -> None:
    """Forget a connection. Its leases live on, and end as they would have."""
    await call.view.delete(config_key(fields.name))


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


async def store_offset(view: View, identity: str, offset: float) -> None:
    """Keep a measured offset with the target and, while the connection still names it, there."""
    async with view.transaction() as inside:
        target = await find(inside, target_key(identity), Target)
        if target is None:
            return
        target.offset = offset
        await save(inside, target_key(identity), target)
        found = await find(inside, config_key(target.connection), Connection)
        if found is not None and found.target_id == identity:
            found.target.offset = offset
            await save(inside, config_key(target.connection), found, version=ANY_VERSION)


async def _change(
    call: Call, fields: ConnectionFields, before: Connection | None
) -> tuple[Connection, contract.Target]:
    """The connection that the fields make of the one before; nothing is stored."""
    plugin_name = fields.plugin_name or (before.target.plugin if before else "")
    if not plugin_name:
        raise InvalidRequestError("empty plugin name", hint="plugin_name=postgresql-database-plugin")
    _refuse(fields)
    details = (before.details if before else {}) | _given(call.data)
    described = await call.system.database_plugin(plugin_name).describe(details)
    identity = target_id(fields.name, plugin_name, described.identity)
    known = await find(call.view, target_key(identity), Target)
    target = Target(
        connection=fields.name,
        plugin=plugin_name,
        config=described.config,
        offset=None if known is None else known.offset,
    )
    after = Connection(target_id=identity, target=target, details=details, shown=described.shown)
    await _add_ours(call, fields, after, before)
    return after, described


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
