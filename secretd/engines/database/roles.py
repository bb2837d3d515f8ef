"""``roles/{name}``: what a login may do and how long it lives.

A role may be written before its connection; its first login then says what is missing. Deleting a role ends
nothing: each lease carries its recipe.
"""

from __future__ import annotations

import functools

from secretd.engines.database.connections import missing, warn_of_policy
from secretd.engines.database.schemas import (
    Connection,
    CredentialConfig,
    Named,
    Role,
    RoleFields,
    config_key,
    require_name,
    role_key,
    statements,
    static_key,
)
from secretd.sdk.credential import MIN_PASSWORD_BITS, password_bits
from secretd.sdk.engine import System
from secretd.sdk.errors import InvalidRequestError, NotFoundError
from secretd.sdk.path import Nothing
from secretd.sdk.request import Call
from secretd.sdk.response import Response, names
from secretd.sdk.storage import NEW, decode, find, save

MIN_ITERATIONS = 4096  # of SCRAM; PostgreSQL's own default


async def list_names(call: Call, _: Nothing) -> Response:
    """Names of the roles."""
    after, limit = call.list_pages
    return names(await call.view.list("role/", after=after, limit=limit))


async def exists(call: Call, fields: RoleFields) -> bool:
    """Whether the role is there."""
    return await call.view.get(role_key(fields.name)) is not None


async def read(call: Call, fields: Named) -> Response:
    """A role."""
    found = await find(call.view, role_key(fields.name), Role)
    if found is None:
        raise NotFoundError
    data = {
        "db_name": found.db_name,
        "creation_statements": list(found.creation_statements),
        "revocation_statements": list(found.revocation_statements),
        "rollback_statements": list(found.rollback_statements),
        "renew_statements": list(found.renew_statements),
        "default_ttl": found.default_ttl,
        "max_ttl": found.max_ttl,
        "credential_type": "password",
        "group_role": found.group_role,
    }
    if found.password_policy:
        data["credential_config"] = {"password_policy": found.password_policy}
    return Response(data=data)


async def write(call: Call, fields: RoleFields) -> None:
    """Make or change a role: ``creation_statements``, or ``group_role`` to be a member of."""
    require_name(fields.name)
    entry = await call.view.get(role_key(fields.name))
    before = Role(db_name="") if entry is None else decode(entry.value, Role)
    if entry is None and await call.view.get(static_key(fields.name)) is not None:
        raise InvalidRequestError("Role and Static Role names must be unique")
    role = _change(before, fields)
    await _judge(call, fields.name, role)
    await save(call.view, role_key(fields.name), role, version=NEW if entry is None else entry.version)


async def delete(call: Call, fields: Named) -> None:
    """Forget a role. Its leases run to their end."""
    await call.view.delete(role_key(fields.name))
    count = await call.system.count_leases(call.mount, role=fields.name)
    if count:
        call.warn(
            f"{count} {'lease' if count == 1 else 'leases'} of this role will run to the end; "
            f"to end them now, revoke the prefix {call.mount.path}creds/{fields.name}"
        )


async def bits_of(system: System, policy: str) -> float:
    """Entropy of the passwords: of the policy, or of our own alphabet."""
    return await system.password_bits(policy) if policy else _own_bits()


@functools.cache
def _own_bits() -> float:
    return password_bits()


def require_strong(connection: Connection, bits: float) -> None:
    """Fewer SCRAM iterations than usual are safe for passwords that cannot be guessed, for no others."""
    if _is_cheap(connection) and bits < MIN_PASSWORD_BITS:
        raise InvalidRequestError(
            f"scram_iterations below {MIN_ITERATIONS} needs passwords of {MIN_PASSWORD_BITS:.0f} bits",
            hint="use a longer password policy, or raise scram_iterations",
        )


def _is_cheap(connection: Connection) -> bool:
    iterations = connection.target.config.get("scram_iterations", MIN_ITERATIONS)
    return isinstance(iterations, int) and iterations < MIN_ITERATIONS


def is_allowed(name: str, allowed: tuple[str, ...]) -> bool:
    """Whether a connection serves this role: ``*`` is all, a ``*`` at an end any beginning or end."""
    return any(_matches(name, pattern) for pattern in allowed)


def _matches(name: str, pattern: str) -> bool:
    inner = pattern.strip("*")
    if pattern.startswith("*") and pattern.endswith("*"):
        return inner in name
    if pattern.endswith("*"):
        return name.startswith(inner)
    if pattern.startswith("*"):
        return name.endswith(inner)
    return name == pattern


def _change(before: Role, fields: RoleFields) -> Role:
    config = fields.credential_config or CredentialConfig(password_policy=before.password_policy)
    if (fields.credential_type or "password") != "password":
        raise InvalidRequestError("invalid credential_type", hint="only password is served")
    return Role(
        db_name=before.db_name if fields.db_name is None else fields.db_name,
        creation_statements=statements(fields.creation_statements, before.creation_statements),
        revocation_statements=statements(fields.revocation_statements, before.revocation_statements),
        rollback_statements=statements(fields.rollback_statements, before.rollback_statements),
        renew_statements=statements(fields.renew_statements, before.renew_statements),
        default_ttl=int(before.default_ttl if fields.default_ttl is None else fields.default_ttl),
        max_ttl=int(before.max_ttl if fields.max_ttl is None else fields.max_ttl),
        password_policy=config.password_policy,
        group_role=before.group_role if fields.group_role is None else fields.group_role,
    )


async def _judge(call: Call, name: str, role: Role) -> None:
    """Refuse what can never work; warn of what does not work yet."""
    if not role.db_name:
        raise InvalidRequestError("database name is required", hint="db_name is a connection's name")
    if role.default_ttl < 0 or role.max_ttl < 0:
        raise InvalidRequestError("a TTL is not negative")
    if not role.creation_statements and not role.group_role:
        raise InvalidRequestError(
            "the role makes no login", hint="give group_role (preferred) or creation_statements"
        )
    if role.rollback_statements:
        call.warn("rollback_statements are never run: a login is created in one transaction, or not at all")
    await warn_of_policy(call, role.password_policy)
    connection = await find(call.view, config_key(role.db_name), Connection)
    if connection is None:
        call.warn(missing(role.db_name).message)
        return
    if not is_allowed(name, connection.allowed_roles):
        call.warn(f'"{name}" is not an allowed role of connection "{role.db_name}"')
    if _is_cheap(connection):
        policy = role.password_policy or connection.password_policy
        require_strong(connection, await bits_of(call.system, policy))
    plugin = call.system.database_plugin(connection.target.plugin)
    for sentence in await plugin.lint(connection.target.config, role.recipe):
        call.warn(sentence)
