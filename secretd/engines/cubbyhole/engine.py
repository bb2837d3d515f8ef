"""The cubbyhole: what a token stores for itself. Nobody else reads it, root tokens included; it ends with the token.

Keys are ``<token_key>/<path>``; an entry is the object's JSON.
"""

from __future__ import annotations

import msgspec

from secretd.sdk.engine import Engine
from secretd.sdk.errors import InvalidRequestError, NotFoundError, PermissionDeniedError
from secretd.sdk.path import Path
from secretd.sdk.request import DELETE, LIST, READ, UPDATE, Call
from secretd.sdk.response import Response, names
from secretd.sdk.storage import View


class Named(msgspec.Struct):
    """A path in the caller's own cubbyhole."""

    path: str


async def read(call: Call, fields: Named) -> Response:
    """Read what this token stored here."""
    entry = await call.view.get(_own(call) + fields.path)
    if entry is None:
        raise NotFoundError
    return Response(data=msgspec.json.decode(entry.value))


async def write(call: Call, fields: Named) -> None:
    """Store every field of the body for this token alone."""
    if not fields.path:
        raise InvalidRequestError("missing path")
    if fields.path.endswith("/"):
        raise InvalidRequestError("cannot write to a path ending in '/'")
    if not call.data:
        raise InvalidRequestError("missing data fields")
    await call.view.put(_own(call) + fields.path, msgspec.json.encode(call.data))


async def delete(call: Call, fields: Named) -> None:
    """Remove what this token stored here."""
    await call.view.delete(_own(call) + fields.path)


async def list_names(call: Call, fields: Named) -> Response:
    """List what this token stored in a folder; a name that ends in ``/`` is a folder itself."""
    folder = fields.path if not fields.path or fields.path.endswith("/") else fields.path + "/"
    after, limit = call.list_pages
    return names(await call.view.list(_own(call) + folder, after=after, limit=limit))


async def exists(call: Call, fields: Named) -> bool:
    """Whether this token stored something here, for the policies."""
    return await call.view.get(_own(call) + fields.path) is not None


async def empty(view: View, token_key: str) -> int:
    """Remove a token's whole cubbyhole, given the mount's view; how many entries it had."""
    return await view.delete_prefix(_folder(token_key))


def _own(call: Call) -> str:
    return _folder(call.caller.token_key)


def _folder(token_key: str) -> str:
    # Without a key all such callers would share one cubbyhole; with a slash one could reach into another's.
    if not token_key or "/" in token_key:
        raise PermissionDeniedError("this token has no cubbyhole")
    return f"{token_key}/"


PATHS = (
    Path(READ, "{path*}", Named, read),
    Path(UPDATE, "{path*}", Named, write, exists=exists, takes_any=True),
    Path(DELETE, "{path*}", Named, delete),
    Path(LIST, "{path*}", Named, list_names),
)

ENGINE = Engine(type="cubbyhole", kind="secret", paths=PATHS, help="Secrets of one token, gone when it ends.")
