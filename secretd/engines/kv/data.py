"""Reading and writing secrets of KV v2."""

from __future__ import annotations

from typing import Any

import msgspec

from secretd.engines.kv.schemas import Chosen, Content, Named
from secretd.engines.kv.secret import facts, require_cas
from secretd.engines.kv.shelf import Held, find_config, hold, is_gone, look, now_text, require_name
from secretd.sdk.errors import InvalidRequestError, NotFoundError
from secretd.sdk.request import Call
from secretd.sdk.response import Response


async def read(call: Call, fields: Chosen) -> Response:
    """Read the current version of a secret, or the one that ``version`` names."""
    shown = await look(call, fields.path, fields.version)
    return shown.answer("data", None if shown.data is None else msgspec.json.decode(shown.data))


async def write(call: Call, fields: Content) -> Response:
    """Write a new version of a secret. With ``options.cas`` only if that is its current version; 0: if it is new."""
    require_name(fields.path)
    data = _require_data(fields)
    config = await find_config(call.view)

    async def add(held: Held) -> Response:
        require_cas(fields.options, held.secret, config)
        return await held.add_version(call, data, config)

    return await hold(call, fields.path, add)


async def patch(call: Call, fields: Content) -> Response:
    """Write a new version that is the current one with a JSON merge patch (RFC 7396) applied."""
    require_name(fields.path)
    changes = _require_data(fields)
    config = await find_config(call.view)

    async def add_merged(held: Held) -> Response:
        secret = held.secret
        number, version = (0, None) if secret is None else secret.pick(0)
        if secret is None or version is None:
            raise NotFoundError
        require_cas(fields.options, secret, config)
        if secret.data is None or is_gone(version, call):
            return Response(data=facts(number, version, secret), status=404)
        return await held.add_version(call, merge(msgspec.json.decode(secret.data), changes), config)

    return await hold(call, fields.path, add_merged)


async def delete(call: Call, fields: Named) -> None:
    """Delete the current version of a secret; ``undelete`` brings it back."""

    async def mark(held: Held) -> None:
        secret = held.secret
        version = None if secret is None else secret.pick(0)[1]
        if secret is None or version is None or is_gone(version, call):
            return
        version.deletion_time = now_text(call)
        await held.save(secret)

    await hold(call, fields.path, mark)


def merge(target: Any, changes: dict[str, Any]) -> dict[str, Any]:
    """The target with a merge patch applied: null removes, objects merge, everything else replaces."""
    merged = dict(target) if isinstance(target, dict) else {}
    for name, change in changes.items():
        if change is None:
            merged.pop(name, None)
        elif isinstance(change, dict):
            merged[name] = merge(merged.get(name), change)
        else:
            merged[name] = change
    return merged


def _require_data(fields: Content) -> dict[str, Any]:
    if fields.data is None:
        raise InvalidRequestError("no data provided", hint='put the secret under "data"')
    return fields.data
