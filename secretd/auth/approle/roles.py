"""``role/{role_name}``: who may log in, with what proof, for what token."""

from __future__ import annotations

import uuid

import msgspec

from secretd.auth.approle.digests import DigestKey, load_key
from secretd.auth.approle.schemas import (
    Named,
    Role,
    RoleFields,
    RoleId,
    RoleIdFields,
    get_name,
    networks,
    role_key,
)
from secretd.sdk.errors import ConflictError, InvalidRequestError, NotFoundError
from secretd.sdk.path import Nothing
from secretd.sdk.request import Call
from secretd.sdk.response import Response, names
from secretd.sdk.storage import NEW, View, decode, find, save

MOST_USES = 2**31 - 1
_LONGEST_ID = 4096  # characters


async def list_names(call: Call, _: Nothing) -> Response:
    """Names of the roles."""
    after, limit = call.list_pages
    return names(await call.view.list("role/", after=after, limit=limit))


async def exists(call: Call, fields: RoleFields) -> bool:
    """Whether the role is there."""
    return await call.view.get(role_key(get_name(fields.role_name))) is not None


async def read(call: Call, fields: Named) -> Response:
    """A role, without its role id."""
    role = await find(call.view, role_key(get_name(fields.role_name)), Role)
    if role is None:
        raise NotFoundError
    return Response(
        data={
            "bind_secret_id": role.bind_secret_id,
            "local_secret_ids": False,
            "secret_id_bound_cidrs": list(role.secret_id_bound_cidrs) or None,
            "secret_id_num_uses": role.secret_id_num_uses,
            "secret_id_ttl": role.secret_id_ttl,
            **role.token.shown(),
        }
    )


async def write(call: Call, fields: RoleFields) -> None:
    """Make or change a role."""
    name = get_name(fields.role_name)
    entry = await call.view.get(role_key(name))
    before = Role(id=uuid.uuid4().hex, role_id="") if entry is None else decode(entry.value, Role)
    after = _change(before, fields)
    if not after.bind_secret_id and not after.secret_id_bound_cidrs:
        raise InvalidRequestError(
            "at least one constraint should be enabled on the role",
            hint="bind_secret_id=true, or secret_id_bound_cidrs",
        )
    await _store(call.view, name, before, after, version=NEW if entry is None else entry.version)


async def delete(call: Call, fields: Named) -> None:
    """Forget a role and its secret ids. Tokens of earlier logins live until their end."""
    name = get_name(fields.role_name)
    key = await load_key(call.view)
    async with call.view.transaction() as view:
        role = await find(view, role_key(name), Role)
        if role is None:
            return
        await view.delete(role_key(name))
        await view.delete(_role_id_key(key, role.role_id))
        await view.delete_prefix(f"secret/{role.id}/")
        await view.delete_prefix(f"accessor/{role.id}/")


async def read_role_id(call: Call, fields: Named) -> Response:
    """The role id: it says who logs in, and proves nothing by itself."""
    role = await find(call.view, role_key(get_name(fields.role_name)), Role)
    if role is None:
        raise NotFoundError
    return Response(data={"role_id": role.role_id})


async def write_role_id(call: Call, fields: RoleIdFields) -> None:
    """Give a role another role id; the old one ends."""
    name = get_name(fields.role_name)
    entry = await call.view.get(role_key(name))
    if entry is None:
        raise NotFoundError
    before = decode(entry.value, Role)
    if not fields.role_id:
        raise InvalidRequestError("missing role_id")
    after = msgspec.structs.replace(before, role_id=_checked_id(fields.role_id))
    await _store(call.view, name, before, after, version=entry.version)


async def get_role(call: Call, role_name: str) -> Role:
    """The role; NotFoundError says so."""
    role = await find(call.view, role_key(get_name(role_name)), Role)
    if role is None:
        raise NotFoundError("the role does not exist")
    return role


async def find_by_role_id(view: View, key: DigestKey, role_id: str) -> tuple[str, Role] | None:
    """Name and role of a role id."""
    named = await find(view, _role_id_key(key, role_id), RoleId)
    role = None if named is None else await find(view, role_key(named.role_name), Role)
    if named is None or role is None or role.role_id != role_id:
        return None
    return named.role_name, role


async def _store(view: View, name: str, before: Role, after: Role, *, version: int) -> None:
    """The role and its role id together; ConflictError if somebody else wrote the role meanwhile."""
    key = await load_key(view)
    old, new = _role_id_key(key, before.role_id), _role_id_key(key, after.role_id)
    async with view.transaction() as inside:
        await save(inside, role_key(name), after, version=version)
        if new != old:
            try:
                await save(inside, new, RoleId(role_name=name), version=NEW)
            except ConflictError:
                raise InvalidRequestError("role_id already in use") from None
            await inside.delete(old)


def _change(before: Role, fields: RoleFields) -> Role:
    uses = before.secret_id_num_uses if fields.secret_id_num_uses is None else fields.secret_id_num_uses
    ttl = before.secret_id_ttl if fields.secret_id_ttl is None else int(fields.secret_id_ttl)
    if not 0 <= uses <= MOST_USES:
        raise InvalidRequestError("secret_id_num_uses cannot be negative or beyond 31 bits")
    if ttl < 0:
        raise InvalidRequestError("secret_id_ttl cannot be negative")
    return Role(
        id=before.id,
        role_id=_checked_id(fields.role_id or before.role_id or str(uuid.uuid4())),
        bind_secret_id=before.bind_secret_id if fields.bind_secret_id is None else fields.bind_secret_id,
        secret_id_num_uses=uses,
        secret_id_ttl=ttl,
        secret_id_bound_cidrs=before.secret_id_bound_cidrs
        if fields.secret_id_bound_cidrs is None
        else networks("secret_id_bound_cidrs", fields.secret_id_bound_cidrs),
        token=before.token.merge(fields),
    )


def _checked_id(role_id: str) -> str:
    if len(role_id) > _LONGEST_ID:
        raise InvalidRequestError(f"role_id is longer than {_LONGEST_ID} characters")
    return role_id


def _role_id_key(key: DigestKey, role_id: str) -> str:
    return f"role-id/{key.role_id(role_id)}"
