"""KV v1: an object at a path, without versions. An entry is the object's JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from secretd.engines.kv.schemas import Named
from secretd.sdk.errors import InvalidRequestError, NotFoundError
from secretd.sdk.fields import Duration
from secretd.sdk.request import Call
from secretd.sdk.response import Response, names

PLAIN = "plain/"  # + path


async def read(call: Call, fields: Named) -> Response:
    """Read a secret. ``lease_duration`` says how long it may be kept: its own ``ttl``, or the mount's default."""
    entry = await call.view.get(PLAIN + fields.path)
    if entry is None:
        raise NotFoundError
    data = msgspec.json.decode(entry.value)
    return Response(data=data, lease_duration=_time_to_keep(data, call.mount.default_lease_ttl))


async def write(call: Call, fields: Named) -> None:
    """Write a secret: every field of the body, and nothing of what was there."""
    if not fields.path:
        raise InvalidRequestError("missing path")
    if fields.path.endswith("/"):
        raise InvalidRequestError("cannot write to a path ending in '/'")
    if not call.data:
        raise InvalidRequestError("missing data fields")
    await call.view.put(PLAIN + fields.path, msgspec.json.encode(call.data))


async def delete(call: Call, fields: Named) -> None:
    """Remove a secret."""
    await call.view.delete(PLAIN + fields.path)


async def list_names(call: Call, fields: Named) -> Response:
    """List the secrets of a folder; a name that ends in ``/`` is a folder itself."""
    folder = fields.path if not fields.path or fields.path.endswith("/") else fields.path + "/"
    after, limit = call.list_pages
    return names(await call.view.list(PLAIN + folder, after=after, limit=limit))


async def exists(call: Call, fields: Named) -> bool:
    """Whether a secret is there, for the policies."""
    return await call.view.get(PLAIN + fields.path) is not None


def _time_to_keep(data: dict[str, Any], default: int) -> int:
    """Seconds. A hint without a lease behind it, so what is no duration is data like any other."""
    for name in ("ttl", "lease"):
        if name in data:
            try:
                return max(0, Duration.parse(data[name] or 0))
            except (ValueError, OverflowError):
                return default
    return default
