"""Secret ids: made, shown without themselves, destroyed.

Storage has digests; the answer of the request that makes one is the only place where a secret id appears.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

import msgspec

from secretd.auth.approle.digests import load_key
from secretd.auth.approle.roles import MOST_USES, get_role
from secretd.auth.approle.schemas import (
    Accessor,
    CustomSecretIdFields,
    Role,
    SecretId,
    SecretIdFields,
    SecretIdLookup,
    accessor_key,
    networks,
    secret_key,
)
from secretd.sdk.clock import rfc3339
from secretd.sdk.engine import System
from secretd.sdk.errors import ConflictError, InvalidRequestError
from secretd.sdk.fields import Sensitive
from secretd.sdk.request import Call
from secretd.sdk.response import Response
from secretd.sdk.storage import NEW, View, find, save

NEVER = "0001-01-01T00:00:00Z"  # Vault's text of no time
_LONGEST = 4096  # characters
_MOST_METADATA = 64  # pairs: they go into each token


async def generate(call: Call, fields: SecretIdFields) -> Response:
    """Make a secret id for the role."""
    return await _make(call, fields, Sensitive(str(uuid.uuid4())))


async def write_custom(call: Call, fields: CustomSecretIdFields) -> Response:
    """Take a secret id that the caller made."""
    if not fields.secret_id:
        raise InvalidRequestError("missing secret_id")
    if len(fields.secret_id) > _LONGEST:
        raise InvalidRequestError(f"secret_id is longer than {_LONGEST} characters")
    return await _make(call, fields, fields.secret_id)


async def lookup(call: Call, fields: SecretIdLookup) -> Response | None:
    """What a secret id still permits; nothing (204) if it is none of the role's."""
    role = await get_role(call, fields.role_name)
    found = await find(call.view, await _key(call.view, role, fields.secret_id), SecretId)
    if found is None or is_over(found, await now(call.system)):
        return None
    return Response(data=shown(found))


async def destroy(call: Call, fields: SecretIdLookup) -> None:
    """End a secret id of the role."""
    role = await get_role(call, fields.role_name)
    key = await _key(call.view, role, fields.secret_id)
    async with call.view.transaction() as view:
        found = await find(view, key, SecretId)
        if found is not None:
            await remove(view, role, key, found)


async def remove(view: View, role: Role, key: str, found: SecretId) -> None:
    """Remove a secret id and its accessor, inside a transaction."""
    await view.delete(key)
    await view.delete(accessor_key(role, found.accessor))


async def now(system: System) -> datetime:
    """Storage's time, as well as this machine knows it."""
    return system.clock.now() + timedelta(seconds=await system.storage_clock_offset())


def is_over(found: SecretId, time: datetime) -> bool:
    """Whether the secret id has expired."""
    return found.expire_time is not None and found.expire_time <= time


def shown(found: SecretId) -> dict[str, Any]:
    """What a look-up answers."""
    return {
        "cidr_list": list(found.cidr_list),
        "creation_time": rfc3339(found.creation_time),
        "expiration_time": rfc3339(found.expire_time) or NEVER,
        "last_updated_time": rfc3339(found.updated_time),
        "metadata": found.metadata,
        "secret_id_accessor": found.accessor,
        "secret_id_num_uses": found.uses_left,
        "secret_id_ttl": found.ttl,
        "token_bound_cidrs": [],
    }


async def _key(view: View, role: Role, secret_id: Sensitive) -> str:
    if not secret_id:
        raise InvalidRequestError("missing secret_id")
    return secret_key(role, (await load_key(view)).secret_id(secret_id))


async def _make(call: Call, fields: SecretIdFields, secret_id: Sensitive) -> Response:
    role = await get_role(call, fields.role_name)
    if not role.bind_secret_id:
        raise InvalidRequestError("bind_secret_id is not set on the role")
    made = await _limited(call, fields, role)
    hashed = (await load_key(call.view)).secret_id(secret_id)
    async with call.view.transaction() as view:
        try:
            await save(view, secret_key(role, hashed), made, version=NEW)
        except ConflictError:
            raise InvalidRequestError("the secret id is registered already") from None
        await save(view, accessor_key(role, made.accessor), Accessor(digest=hashed), version=NEW)
    return Response(
        data={
            "secret_id": secret_id.reveal(),
            "secret_id_accessor": made.accessor,
            "secret_id_num_uses": made.uses_left,
            "secret_id_ttl": made.ttl,
        }
    )


async def _limited(call: Call, fields: SecretIdFields, role: Role) -> SecretId:
    if fields.token_bound_cidrs:
        raise InvalidRequestError(
            "token_bound_cidrs is not enforced yet, so it is refused", hint="leave it out"
        )
    uses = _within("num_uses", fields.num_uses, "secret_id_num_uses", role.secret_id_num_uses)
    ttl = _within("ttl", fields.ttl, "secret_id_ttl", role.secret_id_ttl)
    time = await now(call.system)
    return SecretId(
        accessor=str(uuid.uuid4()),
        creation_time=time,
        updated_time=time,
        expire_time=time + timedelta(seconds=ttl) if ttl else None,
        ttl=ttl,
        uses_left=uses,
        metadata=_metadata(fields.metadata),
        cidr_list=networks("cidr_list", fields.cidr_list),
    )


def _within(name: str, asked: int | None, limit_name: str, limit: int) -> int:
    """What was asked for, or the role's; 0 means no limit, which is more than any."""
    if asked is None:
        return limit
    if not 0 <= asked <= MOST_USES:
        raise InvalidRequestError(f"{name} is out of range")
    if limit and not 0 < asked <= limit:
        raise InvalidRequestError(f"{name} cannot be higher than the role's {limit_name}")
    return int(asked)


def _metadata(given: str | dict[str, str]) -> dict[str, str]:
    """An object, its JSON text, or ``key=value`` pairs between commas."""
    pairs = given if isinstance(given, dict) else _pairs(given.strip())
    if len(pairs) > _MOST_METADATA:
        raise InvalidRequestError(f"metadata has more than {_MOST_METADATA} pairs")
    return pairs


def _pairs(text: str) -> dict[str, str]:
    if text.startswith("{"):
        try:
            return msgspec.json.decode(text, type=dict[str, str])
        except (msgspec.DecodeError, UnicodeEncodeError):
            raise InvalidRequestError("metadata is not a JSON object of texts") from None
    parts = [part.partition("=") for part in text.split(",") if part.strip()]
    if any(not key.strip() or not equals for key, equals, _ in parts):
        raise InvalidRequestError("metadata is neither a JSON object nor key=value pairs")
    return {key.strip(): value.strip() for key, _, value in parts}
