"""``sys/capabilities*``: what a token may do at some paths, asked before it tries."""

from __future__ import annotations

from typing import Any

import msgspec

from secretd.core.parts import Parts
from secretd.core.policy.acl import Acl
from secretd.sdk.errors import InvalidRequestError
from secretd.sdk.fields import Sensitive, Strings
from secretd.sdk.path import Path
from secretd.sdk.request import UPDATE, Call
from secretd.sdk.response import Response
from secretd.system.call import own_acl


class SelfFields(msgspec.Struct):
    """Paths; ``path`` is the older name."""

    paths: Strings | None = None
    path: Strings | None = None


class TokenFields(SelfFields):
    """A token in clear, and paths."""

    token: Sensitive | None = None


class AccessorFields(SelfFields):
    """A token's handle, and paths."""

    accessor: str = ""


def paths(parts: Parts) -> tuple[Path, ...]:
    """The table."""
    capabilities = Capabilities(parts)
    return (
        Path(UPDATE, "capabilities", TokenFields, capabilities.of_token),
        Path(UPDATE, "capabilities-self", SelfFields, capabilities.of_self),
        Path(UPDATE, "capabilities-accessor", AccessorFields, capabilities.of_accessor),
    )


class Capabilities:
    """Answers for tokens."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def of_token(self, call: Call, fields: TokenFields) -> Response:
        """What a token may do at these paths."""
        if not fields.token:
            raise InvalidRequestError("no token found")
        row = await self._parts.tokens.find(self._parts.keys.hash_token(fields.token.reveal()))
        if row is None:
            raise InvalidRequestError("invalid token")
        return _answer(await self._parts.policies.acl(row.policies), fields)

    async def of_self(self, call: Call, fields: SelfFields) -> Response:
        """What the token that asks may do at these paths."""
        return _answer(own_acl(call), fields)

    async def of_accessor(self, call: Call, fields: AccessorFields) -> Response:
        """What a token, named by its accessor, may do at these paths."""
        if not fields.accessor:
            raise InvalidRequestError("missing accessor")
        row = await self._parts.tokens.find_by_accessor(fields.accessor)
        if row is None:
            raise InvalidRequestError("invalid accessor")
        return _answer(await self._parts.policies.acl(row.policies), fields)


def _answer(acl: Acl, fields: SelfFields) -> Response:
    asked = fields.paths or fields.path
    if not asked:
        raise InvalidRequestError("paths must be supplied")
    data: dict[str, Any] = {path: acl.capabilities(path.removeprefix("/")) for path in asked}
    if len(asked) == 1:
        data["capabilities"] = data[asked[0]]
    return Response(data=data, spread=True)
