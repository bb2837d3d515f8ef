"""What a client of KV v1 gets from a mount of KV v2: the answer that makes it look for the version."""

from __future__ import annotations

from secretd.engines.kv.schemas import Named
from secretd.sdk.errors import UnsupportedOperationError
from secretd.sdk.request import DELETE, LIST, PATCH, READ, Call
from secretd.sdk.response import Response

FOLDERS = ("data", "delete", "destroy", "metadata", "subkeys", "undelete")
_VERBS = {READ: "get", LIST: "list", DELETE: "delete", PATCH: "patch"}


async def answer(call: Call, fields: Named) -> Response:
    """No path of versioned secrets: they are under ``data/`` and ``metadata/``."""
    first, slash, _ = fields.path.partition("/")
    if fields.path == "config" or (slash and first in FOLDERS):
        raise UnsupportedOperationError
    if first in FOLDERS:
        return _nothing("Non-listing operations on the root of a K/V v2 mount are not supported.")
    verb = _VERBS.get(call.operation, "put")
    return _nothing(
        "Invalid path for a versioned K/V secrets engine: its secrets are under data/ and metadata/. "
        f"On the command line, `secretd kv {verb}` (or `bao kv {verb}`) adds that."
    )


def _nothing(warning: str) -> Response:
    return Response(status=404, warnings=[warning])
