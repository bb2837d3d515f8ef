"""Rows of tokens: what grants is under a MAC."""

from __future__ import annotations

import hashlib

import pytest

from secretd.storage.pool import Pool
from secretd.storage.tokens import NewToken, Tokens


def sign(told: bytes) -> bytes:
    """A MAC as good as any for these tests."""
    return hashlib.sha256(b"key" + told).digest()


@pytest.mark.parametrize(
    "forgery",
    [
        "policies = '{root}'",
        "is_root = true",
        "policies = '{default,admin}'",
        "entity_id = 'somebody'",
        'metadata = \'{"role": "admin"}\'',
        "num_uses = 100, uses_left = 100",
        "path = 'auth/token/root'",
        "mac = ''",
        "id = decode(repeat('ff', 32), 'hex')",
    ],
)
async def test_who_writes_the_table_cannot_grant(storage_dsn: str, forgery: str) -> None:
    """A row whose granting columns somebody changed is no token, by its hash and by its accessor."""
    async with Pool.open(storage_dsn, size=2) as pool:
        tokens = Tokens(pool, sign)
        async with pool.transaction() as runner:
            await tokens.insert_root(runner, b"r" * 32, "root", ttl=0, sign=sign)
        new = NewToken(
            id=b"t" * 32,
            accessor="a",
            display_name="token",
            path="auth/token/create",
            policies=("default",),
            metadata={"longer": "1", "b": "2"},
            ttl=3600,
            num_uses=3,
        )
        assert await tokens.insert_child(new, parent_id=b"r" * 32, orphan=False)
        assert await tokens.find(new.id) is not None
        assert await tokens.find_by_accessor("a") is not None
        async with pool.transaction() as runner:
            await runner.run_script(f"UPDATE tokens SET {forgery} WHERE accessor = 'a'", timeout=5)  # noqa: S608

        for token_id in (new.id, b"\xff" * 32):
            assert (await tokens.look(token_id))[1] is None
        assert await tokens.find_by_accessor("a") is None
