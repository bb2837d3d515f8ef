"""``auth/token/``: tokens as their holders and makers see them."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from secretd.core.parts import Parts
from secretd.core.policy.builtin import normalise_policy_names
from secretd.core.tokens.service import ROOT, Wish
from secretd.sdk.clock import rfc3339
from secretd.sdk.errors import InvalidRequestError, PermissionDeniedError
from secretd.sdk.fields import Duration, Sensitive, Strings
from secretd.sdk.path import Nothing, Path
from secretd.sdk.request import LIST, READ, UPDATE, Call
from secretd.sdk.response import Response, names
from secretd.storage.tokens import TokenRow
from secretd.system.call import has_sudo, own_token

_OLD = 30 * 86400.0  # seconds that an ended token stays for those who ask why
_BATCH = 1000
_MOST_USES = 2**31 - 1
_LONGEST_NAME = 512  # characters; each lease of the token has the name in an index
_NOT_IN_DISPLAY_NAME = re.compile(r"[^a-zA-Z0-9-]")


class CreateFields(msgspec.Struct):
    """What token to make."""

    id: Sensitive | None = None
    policies: Strings | None = None
    meta: dict[str, str] | None = None
    no_parent: bool = False
    no_default_policy: bool = False
    renewable: bool | None = None
    ttl: Duration | None = None
    lease: Duration | None = None
    explicit_max_ttl: Duration | None = None
    period: Duration | None = None
    display_name: str | None = None
    num_uses: int | None = None
    type: str | None = None
    entity_alias: str | None = None


class RoleFields(msgspec.Struct):
    """A token role."""

    role: str


class TokenFields(msgspec.Struct):
    """A token in clear."""

    token: Sensitive | None = None


class AccessorFields(msgspec.Struct):
    """A token by its harmless handle."""

    accessor: str = ""


class RenewFields(msgspec.Struct):
    """A token in clear, and for how long from now."""

    token: Sensitive | None = None
    increment: Duration | None = None


class RenewAccessorFields(msgspec.Struct):
    """A token by its handle, and for how long from now."""

    accessor: str = ""
    increment: Duration | None = None


def paths(parts: Parts) -> tuple[Path, ...]:
    """The table."""
    birth, look, life, end = Birth(parts), Look(parts), Life(parts), End(parts)
    return (
        Path(UPDATE, "create", CreateFields, birth.create),
        Path(UPDATE, "create-orphan", CreateFields, birth.create_orphan),
        Path(UPDATE, "create/{role}", RoleFields, birth.create_by_role, takes_any=True),
        Path(READ, "lookup", TokenFields, look.token),
        Path(UPDATE, "lookup", TokenFields, look.token),
        Path(READ, "lookup-self", TokenFields, look.own),
        Path(UPDATE, "lookup-self", TokenFields, look.own),
        Path(UPDATE, "lookup-accessor", AccessorFields, look.accessor),
        Path(LIST, "accessors", Nothing, look.list_accessors, sudo=True),
        Path(UPDATE, "renew", RenewFields, life.token),
        Path(UPDATE, "renew-self", RenewFields, life.own),
        Path(UPDATE, "renew-accessor", RenewAccessorFields, life.accessor),
        Path(UPDATE, "revoke", TokenFields, end.token),
        Path(UPDATE, "revoke-self", Nothing, end.own),
        Path(UPDATE, "revoke-accessor", AccessorFields, end.accessor),
        Path(UPDATE, "revoke-orphan", TokenFields, end.alone, sudo=True),
        Path(UPDATE, "tidy", Nothing, end.tidy),
    )


class Birth:
    """Makes tokens."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def create(self, call: Call, fields: CreateFields) -> Response:
        """Make a token under the caller's; its policies are a subset of the caller's unless that is root."""
        return await self._create(call, fields, orphan=False)

    async def create_orphan(self, call: Call, fields: CreateFields) -> Response:
        """Make a token without a parent: it outlives the caller's."""
        return await self._create(call, fields, orphan=True)

    async def create_by_role(self, call: Call, fields: RoleFields) -> Response:
        """Token roles are not built yet."""
        raise InvalidRequestError("token roles are not supported yet", hint="use auth/token/create")

    async def _create(self, call: Call, fields: CreateFields, *, orphan: bool) -> Response:
        _, parent = own_token(call)
        wish = _wish(fields, orphan=orphan)
        response = await self._parts.token_service.create(
            parent, wish, mount=call.mount, has_sudo=has_sudo(call)
        )
        for name in normalise_policy_names(wish.policies):
            if name != ROOT and await self._parts.policies.find(name) is None:
                response.warnings.append(f'Policy "{name}" does not exist')
        return response


class Look:
    """Shows tokens."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def token(self, call: Call, fields: TokenFields) -> Response:
        """Look at a token; without one, at the caller's own."""
        if not fields.token:
            return await self.own(call, fields)
        text = fields.token.reveal()
        row = await self._parts.tokens.find(self._parts.keys.hash_token(text))
        if row is None:
            raise PermissionDeniedError("bad token")
        return Response(data=_seen(row, text), sensitive_fields=frozenset({"id"}))

    async def own(self, call: Call, fields: TokenFields) -> Response:
        """Look at the token that asks."""
        text, row = own_token(call)
        if row.num_uses:  # this very request was counted after the row was read
            row = await self._parts.tokens.find(row.id) or row
        return Response(data=_seen(row, text), sensitive_fields=frozenset({"id"}))

    async def accessor(self, call: Call, fields: AccessorFields) -> Response:
        """Look at a token by its accessor; the token itself is not told."""
        return Response(data=_seen(await _by_accessor(self._parts, fields.accessor), ""))

    async def list_accessors(self, call: Call, fields: Nothing) -> Response:
        """List the accessors of all tokens."""
        return names(await self._parts.tokens.list_accessors())


class Life:
    """Prolongs tokens."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def token(self, call: Call, fields: RenewFields) -> Response:
        """Renew a token by an increment from now; 0 takes the TTL it was made with."""
        if not fields.token:
            raise InvalidRequestError("missing token ID")
        text = fields.token.reveal()
        row = await self._parts.tokens.find(self._parts.keys.hash_token(text))
        if row is None:
            raise InvalidRequestError("token not found")
        return await self._renew(call, row, fields.increment, text=text)

    async def own(self, call: Call, fields: RenewFields) -> Response:
        """Renew the token that asks."""
        text, row = own_token(call)
        return await self._renew(call, row, fields.increment, text=text)

    async def accessor(self, call: Call, fields: RenewAccessorFields) -> Response:
        """Renew a token by its accessor."""
        row = await _by_accessor(self._parts, fields.accessor)
        return await self._renew(call, row, fields.increment, text="")

    async def _renew(self, call: Call, row: TokenRow, increment: Duration | None, *, text: str) -> Response:
        if increment is not None and increment < 0:
            raise InvalidRequestError("increment must not be negative")
        mount = call.mount
        if row.mount_id is not None:  # a login's maximum is that of its own mount
            mount = self._parts.caches.router.by_id(row.mount_id).mount
        return await self._parts.token_service.renew(row, int(increment or 0), mount=mount, client_token=text)


class End:
    """Ends tokens, and with them their children and leases."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def token(self, call: Call, fields: TokenFields) -> None:
        """Revoke a token, its descendants and all their leases."""
        await self._parts.token_service.end(self._hash(fields), "revoked")

    async def own(self, call: Call, fields: Nothing) -> None:
        """Revoke the token that asks."""
        _, row = own_token(call)
        await self._parts.token_service.end(row.id, "revoked")

    async def accessor(self, call: Call, fields: AccessorFields) -> Response | None:
        """Revoke a token by its accessor."""
        if not fields.accessor:
            raise InvalidRequestError("missing accessor")
        row = await self._parts.tokens.find_by_accessor(fields.accessor)
        if row is None:
            return Response(warnings=["No token found with this accessor"])
        await self._parts.token_service.end(row.id, "revoked")
        return None

    async def alone(self, call: Call, fields: TokenFields) -> None:
        """Revoke a token and its leases; its children become orphans and live on."""
        token_id = self._hash(fields)
        if await self._parts.tokens.find(token_id) is None:
            raise InvalidRequestError("token to revoke not found")
        await self._parts.token_service.end_alone(token_id, "revoked")

    async def tidy(self, call: Call, fields: Nothing) -> Response:
        """Forget tokens that ended long ago."""
        ended = await self._parts.tokens.delete_ended(_OLD, _BATCH)
        for token_id in ended:
            await self._parts.forget_cubbyhole(token_id)
        return Response(warnings=["Tidy operation successfully finished."])

    def _hash(self, fields: TokenFields) -> bytes:
        if not fields.token:
            raise InvalidRequestError("missing token ID")
        return self._parts.keys.hash_token(fields.token.reveal())


async def _by_accessor(parts: Parts, accessor: str) -> TokenRow:
    if not accessor:
        raise InvalidRequestError("missing accessor")
    row = await parts.tokens.find_by_accessor(accessor)
    if row is None:
        raise InvalidRequestError("invalid accessor")
    return row


def _wish(fields: CreateFields, *, orphan: bool) -> Wish:
    if (fields.type or "service") not in {"service", "default", "default-service"}:
        raise InvalidRequestError("only service tokens are supported yet")
    if fields.entity_alias:
        raise InvalidRequestError("'entity_alias' is only allowed in combination with token role")
    ttl = fields.ttl if fields.ttl is not None else fields.lease
    spans = {"ttl": ttl, "explicit_max_ttl": fields.explicit_max_ttl, "period": fields.period}
    for name, span in spans.items():
        if span is not None and span < 0:
            raise InvalidRequestError(f"{name} must be positive")
    if (fields.num_uses or 0) < 0:
        raise InvalidRequestError("number of uses cannot be negative")
    if (fields.num_uses or 0) > _MOST_USES:
        raise InvalidRequestError(f"number of uses is at most {_MOST_USES}")
    if len(fields.display_name or "") > _LONGEST_NAME:
        raise InvalidRequestError(f"display_name is longer than {_LONGEST_NAME} characters")
    name = _NOT_IN_DISPLAY_NAME.sub("-", fields.display_name or "token").removesuffix("-")
    return Wish(
        id=fields.id.reveal() if fields.id else "",
        policies=fields.policies or (),
        ttl=int(ttl or 0),
        explicit_max_ttl=int(fields.explicit_max_ttl or 0),
        period=int(fields.period or 0),
        num_uses=fields.num_uses or 0,
        metadata=fields.meta or None,
        display_name=name,
        no_default_policy=fields.no_default_policy,
        no_parent=fields.no_parent,
        orphan=orphan,
        renewable=fields.renewable is not False,
    )


def _seen(row: TokenRow, text: str) -> dict[str, Any]:
    """A token as a lookup shows it; ``last_renewal*`` and ``period`` only where they mean something."""
    data = {
        "accessor": row.accessor,
        "creation_time": int(row.creation_time.timestamp()),
        "creation_ttl": row.creation_ttl,
        "display_name": row.display_name,
        "entity_id": row.entity_id,
        "expire_time": rfc3339(row.expire_time),
        "explicit_max_ttl": row.explicit_max_ttl,
        "id": text,
        "issue_time": rfc3339(row.creation_time),
        "meta": row.metadata,
        "num_uses": row.uses_left,
        "orphan": row.parent_id is None,
        "path": row.path,
        "policies": list(row.policies),
        "renewable": row.is_renewable,
        "ttl": max(0, int(row.ttl or 0)),
        "type": "service",
    }
    if row.period:
        data["period"] = row.period
    if row.last_renewal_time is not None:
        data["last_renewal"] = rfc3339(row.last_renewal_time)
        data["last_renewal_time"] = int(row.last_renewal_time.timestamp())
    return data
