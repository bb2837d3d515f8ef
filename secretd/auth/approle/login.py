"""``login``: role id and secret id become a token.

1. The role that the role id names; its network, if it is bound to one.
2. The secret id: one of this role's, in time, from its network.
3. A secret id with a limit loses a use, under its row's lock, before the token is made; the last use ends it.

Whatever fails, the answer is the same sentence.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from secretd.auth.approle.digests import DigestKey, load_key
from secretd.auth.approle.roles import find_by_role_id
from secretd.auth.approle.schemas import Login, Role, SecretId, is_within, role_key, secret_key
from secretd.auth.approle.secret_ids import is_over, now, remove
from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.fields import Sensitive
from secretd.sdk.request import Call
from secretd.sdk.response import Response
from secretd.sdk.storage import View, find, save
from secretd.sdk.token_fields import display_name_of


async def log_in(call: Call, fields: Login) -> Response:
    """A token for the role."""
    if not fields.role_id:
        raise InvalidRequestError("missing role_id")
    key = await load_key(call.view)
    found = await find_by_role_id(call.view, key, fields.role_id)  # (1)
    if found is None or not is_within(call.client_address, found[1].secret_id_bound_cidrs):
        raise _refusal()
    name, role = found
    metadata = await _prove(call, key, role, secret_id=fields.secret_id) if role.bind_secret_id else {}
    return Response(
        login=role.token.auth(
            display_name=display_name_of(call.mount),
            metadata={**metadata, "role_name": name},
            role_key=role_key(name),
            alias_name=role.role_id,
        )
    )


async def _prove(call: Call, digests: DigestKey, role: Role, *, secret_id: Sensitive) -> dict[str, str]:
    """The metadata of the secret id, a use poorer."""
    key = secret_key(role, digests.secret_id(secret_id))
    time = await now(call.system)
    secret = await _get_valid(call, call.view, key, time=time)  # (2)
    if secret.uses_left:
        async with call.view.transaction() as view:
            await _use(view, role, key, await _get_valid(call, view, key, time=time))  # (3)
    return secret.metadata


async def _get_valid(call: Call, view: View, key: str, *, time: datetime) -> SecretId:
    secret = await find(view, key, SecretId)
    if secret is None or is_over(secret, time):
        raise _refusal()
    if not is_within(call.client_address, secret.cidr_list):
        raise _refusal()
    return secret


async def _use(view: View, role: Role, key: str, secret: SecretId) -> None:
    if secret.uses_left == 1:
        await remove(view, role, key, secret)
    else:
        await save(view, key, msgspec.structs.replace(secret, uses_left=secret.uses_left - 1))


def _refusal() -> InvalidRequestError:
    return InvalidRequestError("invalid role or secret ID")
