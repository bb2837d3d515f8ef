"""Tokens: rows by keyed hash. What grants is read anew for every request; nothing here is cached.

The columns that grant are under a MAC whose key is behind the barrier: who can only write the table can make
himself nothing. (He can still end tokens, or prolong one: threat model.) A row whose MAC does not fit is no token.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import structlog

from secretd.storage.again import again_after_conflict
from secretd.storage.pool import Pool, Row, Runner

log = structlog.get_logger()
Sign = Callable[[bytes], bytes]
_encode = msgspec.msgpack.Encoder().encode


@dataclass(slots=True, frozen=True)
class Generations:
    """The numbers that say whether a daemon's caches are stale."""

    mounts: int
    policies: int
    keyring: int
    quotas: int
    identity: int
    audit: int


@dataclass(slots=True, frozen=True)
class TokenRow:
    """A good token. ``ttl`` is what remains, in seconds; None = it never ends."""

    id: bytes
    accessor: str
    parent_id: bytes | None
    mount_id: str | None
    display_name: str
    path: str
    policies: tuple[str, ...]
    metadata: dict[str, str] | None
    entity_id: str
    is_root: bool
    is_renewable: bool
    creation_time: datetime
    creation_ttl: int
    period: int
    explicit_max_ttl: int
    expire_time: datetime | None
    max_expire_time: datetime | None
    last_renewal_time: datetime | None
    num_uses: int
    uses_left: int
    ttl: float | None


@dataclass(slots=True, frozen=True, kw_only=True)
class NewToken:
    """A token about to be written. Spans are seconds; 0 = none."""

    id: bytes
    accessor: str
    display_name: str
    path: str
    policies: tuple[str, ...]
    metadata: dict[str, str] | None = None
    entity_id: str = ""
    is_renewable: bool = True
    is_root: bool = False
    ttl: int
    period: int = 0
    explicit_max_ttl: int = 0
    max_ttl: int = 0
    num_uses: int = 0


def _grants(
    token_id: bytes, policies: Iterable[str], entity_id: str, path: str, metadata: dict[str, str] | None, *,
    is_root: bool, num_uses: int, mount_id: str | None,
) -> bytes:  # fmt: skip
    """What the MAC covers, in one form whatever the driver made of it."""
    pairs = sorted((metadata or {}).items())  # jsonb keeps no order
    return _encode((token_id, list(policies), entity_id, path, pairs, is_root, num_uses, mount_id))


def _token(row: Row, policies: str = "policies") -> TokenRow:
    metadata = row["metadata"]
    return TokenRow(
        id=row["id"],
        accessor=row["accessor"],
        parent_id=row["parent_id"],
        mount_id=row["mount_id"],
        display_name=row["display_name"],
        path=row["path"],
        policies=tuple(row[policies]),
        metadata=None if metadata is None else msgspec.json.decode(metadata),
        entity_id=row["entity_id"],
        is_root=row["is_root"],
        is_renewable=row["is_renewable"],
        creation_time=row["creation_time"],
        creation_ttl=row["creation_ttl"],
        period=row["period"],
        explicit_max_ttl=row["explicit_max_ttl"],
        expire_time=row["expire_time"],
        max_expire_time=row["max_expire_time"],
        last_renewal_time=row["last_renewal_time"],
        num_uses=row["num_uses"],
        uses_left=row["uses_left"],
        ttl=row["ttl"],
    )


class Tokens:
    """The table of tokens. ``sign`` makes the MAC over what a row grants."""

    def __init__(self, pool: Pool, sign: Sign) -> None:
        self._pool = pool
        self._sign = sign

    def _checked(self, row: Row, policies: str = "policies") -> TokenRow | None:
        """The row, or None if somebody else than we wrote what it grants."""
        token = _token(row, policies)
        told = _grants(
            token.id, token.policies, token.entity_id, token.path, token.metadata,
            is_root=token.is_root, num_uses=token.num_uses, mount_id=token.mount_id,
        )  # fmt: skip
        if not hmac.compare_digest(self._sign(told), row["mac"]):
            log.error("token.forged", accessor=token.accessor)
            return None
        return token

    def _mac(self, token: NewToken, mount_id: str | None) -> bytes:
        told = _grants(
            token.id, token.policies, token.entity_id, token.path, token.metadata,
            is_root=token.is_root, num_uses=token.num_uses, mount_id=mount_id,
        )  # fmt: skip
        return self._sign(told)

    async def look(
        self, token_id: bytes | None, *, namespace_id: int = 0
    ) -> tuple[Generations, TokenRow | None]:
        """The one read of every request: generations, and the token if it is good."""
        row = await self._pool.fetchrow("find_token", namespace_id, token_id)
        if row is None:
            raise LookupError("the row of generations is missing")
        generations = Generations(row[0], row[1], row[2], row[3], row[4], row[5])
        return generations, None if row["id"] is None else self._checked(row, "token_policies")

    async def find(self, token_id: bytes) -> TokenRow | None:
        """A good token by its hash."""
        row = await self._pool.fetchrow("get_token", token_id)
        return None if row is None else self._checked(row)

    async def find_by_accessor(self, accessor: str, *, namespace_id: int = 0) -> TokenRow | None:
        """A good token by its accessor."""
        row = await self._pool.fetchrow("find_token_by_accessor", namespace_id, accessor)
        return None if row is None else self._checked(row)

    async def list_accessors(self, *, namespace_id: int = 0) -> list[str]:
        """Accessors of all good tokens."""
        return [row[0] for row in await self._pool.fetch("list_accessors", namespace_id)]

    async def use(self, token_id: bytes) -> int | None:
        """Count a use; what is left, or None if there was none."""
        row = await self._pool.fetchrow("use_token", token_id)
        return None if row is None else int(row[0])

    async def insert_child(self, token: NewToken, *, parent_id: bytes, orphan: bool) -> float | None:
        """Write a token under its parent; seconds it lives, None if the parent is over. Root: 0."""
        row = await self._pool.fetchrow(
            "insert_child_token", token.id, 0, token.accessor, parent_id, token.display_name, token.path,
            list(token.policies), _json(token.metadata), token.entity_id, token.is_renewable, token.ttl,
            token.period, token.explicit_max_ttl, token.max_ttl, token.num_uses, token.is_root, orphan,
            self._mac(token, None),
        )  # fmt: skip
        return None if row is None else float(row["ttl"] or 0)

    async def insert_login(self, token: NewToken, *, mount_id: str, role_key: str) -> float | None:
        """Write a login's token; seconds it lives, None if mount or role are over."""
        row = await self._pool.fetchrow(
            "insert_login_token", token.id, 0, token.accessor, mount_id, token.display_name, token.path,
            list(token.policies), _json(token.metadata), token.entity_id, token.is_renewable, token.ttl,
            token.period, token.explicit_max_ttl, token.max_ttl, token.num_uses, role_key,
            self._mac(token, mount_id),
        )  # fmt: skip
        return None if row is None else float(row["ttl"])

    async def insert_root(
        self, runner: Runner, token_id: bytes, accessor: str, *, ttl: int, sign: Sign
    ) -> None:
        """Write a root token inside an initialisation, whose keys are newer than ours; ``ttl`` 0 = it never ends."""
        told = _grants(
            token_id, ("root",), "", "auth/token/root", None, is_root=True, num_uses=0, mount_id=None
        )
        await runner.execute("insert_root_token", token_id, 0, accessor, ttl, sign(told))

    async def renew(self, token_id: bytes, seconds: int) -> TokenRow | None:
        """Move the end; None if it is over."""
        row = await self._pool.fetchrow("renew_token", token_id, seconds)
        return None if row is None else self._checked(row)

    @again_after_conflict
    async def end(self, token_ids: Sequence[bytes], *, generation: int, reason: str) -> list[str]:
        """End tokens with all their descendants and make their leases due; the ids of those leases."""
        async with self._pool.transaction() as transaction:
            return await end_trees(transaction, token_ids, generation=generation, reason=reason)

    @again_after_conflict
    async def end_alone(self, token_id: bytes, *, generation: int, reason: str) -> list[str]:
        """End one token and its leases; its children become orphans."""
        async with self._pool.transaction() as transaction:
            ended = await transaction.fetch("end_tokens", [token_id], reason)
            await transaction.execute("orphan_child_tokens", token_id)
            if not ended:
                return []
            rows = await transaction.fetch("end_leases_of_tokens", [token_id], generation, "token revoked")
            return [row[0] for row in rows]

    @again_after_conflict
    async def end_expired(self, limit: int, *, generation: int) -> tuple[int, list[str]]:
        """End the trees of tokens whose time is over; how many roots, and the leases now due."""
        async with self._pool.transaction() as transaction:
            found = [row[0] for row in await transaction.fetch("find_expired_tokens", limit)]
            if not found:
                return 0, []
            return len(found), await end_trees(
                transaction, found, generation=generation, reason="token expired"
            )

    async def delete_ended(self, age: float, limit: int) -> list[bytes]:
        """Forget tokens that ended long ago; their ids, so that their cubbyholes can follow."""
        return [row[0] for row in await self._pool.fetch("delete_ended_tokens", age, limit)]


async def end_trees(
    runner: Runner, token_ids: Sequence[bytes], *, generation: int, reason: str, are_ended: bool = False
) -> list[str]:
    """End tokens and, pass by pass, the good children of what ended; then their leases.

    Each pass waits for births under the tokens that it ends (they hold their parent), and the next one
    sees them: a child not yet committed cannot be missed (architecture.md §6).
    """
    ended = list(token_ids)
    if not are_ended:
        await runner.fetch("end_tokens", ended, reason)
    layer = ended
    while layer:
        layer = [row[0] for row in await runner.fetch("end_child_tokens", layer, "parent " + reason)]
        ended += layer
    rows = await runner.fetch("end_leases_of_tokens", ended, generation, reason)
    return [row[0] for row in rows]


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
