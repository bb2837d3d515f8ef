"""Accessors: harmless handles of secret ids. They reach the secret ids of their own role, no others."""

from __future__ import annotations

from secretd.auth.approle.roles import get_role
from secretd.auth.approle.schemas import (
    Accessor,
    AccessorFields,
    Named,
    Role,
    SecretId,
    accessor_key,
    secret_key,
)
from secretd.auth.approle.secret_ids import is_over, now, remove, shown
from secretd.sdk.errors import InvalidRequestError, NotFoundError
from secretd.sdk.request import Call
from secretd.sdk.response import Response, names
from secretd.sdk.storage import View, find


async def list_names(call: Call, fields: Named) -> Response:
    """Accessors of the role's secret ids."""
    role = await get_role(call, fields.role_name)
    after, limit = call.list_pages
    return names(await call.view.list(f"accessor/{role.id}/", after=after, limit=limit))


async def lookup(call: Call, fields: AccessorFields) -> Response:
    """What the secret id behind an accessor still permits."""
    role = await get_role(call, fields.role_name)
    _, found = await _get(call.view, role, fields.secret_id_accessor)
    if is_over(found, await now(call.system)):
        raise NotFoundError
    return Response(data=shown(found))


async def destroy(call: Call, fields: AccessorFields) -> None:
    """End the secret id behind an accessor."""
    role = await get_role(call, fields.role_name)
    async with call.view.transaction() as view:
        key, found = await _get(view, role, fields.secret_id_accessor)
        await remove(view, role, key, found)


async def _get(view: View, role: Role, accessor: str) -> tuple[str, SecretId]:
    """Key and secret id; NotFoundError for another role's accessor as for none at all (CVE-2023-24999)."""
    if not accessor:
        raise InvalidRequestError("missing secret_id_accessor")
    named = None if "/" in accessor else await find(view, accessor_key(role, accessor), Accessor)
    if named is None:
        raise NotFoundError("failed to find accessor entry for secret_id_accessor")
    key = secret_key(role, named.digest)
    found = await find(view, key, SecretId)
    if found is None:
        raise NotFoundError("failed to find accessor entry for secret_id_accessor")
    return key, found
