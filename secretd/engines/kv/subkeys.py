"""The shape of a secret of KV v2 without its values."""

from __future__ import annotations

from typing import Any

import msgspec

from secretd.engines.kv.schemas import Outline
from secretd.engines.kv.shelf import look
from secretd.sdk.request import Call
from secretd.sdk.response import Response


async def read(call: Call, fields: Outline) -> Response:
    """Read the names inside a secret, ``depth`` levels of them; every value is null."""
    shown = await look(call, fields.path, fields.version)
    if shown.data is None:
        return shown.answer("subkeys", None)
    # Counting down from 0 never reaches 1: all levels.
    return shown.answer("subkeys", outline(msgspec.json.decode(shown.data), fields.depth))


def outline(data: dict[str, Any], depth: int) -> dict[str, Any]:
    """Names and nested objects; ``depth`` 1 is the top level alone, 0 is all."""
    deeper = depth != 1
    return {
        name: outline(value, depth - 1) if deeper and isinstance(value, dict) and value else None
        for name, value in data.items()
    }
