"""Two daemons on one store agree on the next request: policies, mounts, tokens, leases, keys, audit (pains P32)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from secretd.sdk.errors import (
    AuditError,
    InvalidRequestError,
    NoHandlerError,
    PermissionDeniedError,
    SecretdError,
)
from support.clusters import Cluster
from support.daemons import store
from support.pairs import Asked, core

_READ_KV = 'path "kv/*" { capabilities = ["read", "update", "create"] }'


@pytest.fixture
async def dsn(cluster: Cluster) -> AsyncIterator[str]:
    """An initialised store."""
    async with store(cluster) as made:
        yield made


@pytest.fixture
async def a(dsn: str, tmp_path: Path) -> AsyncIterator[Asked]:
    """The daemon that changes things."""
    async with core(dsn, node="a", audit_folder=str(tmp_path)) as made:
        await made.write("sys/mounts/kv", {"type": "kv", "options": {"version": "1"}})
        await made.write("kv/x", {"value": "1"})
        yield made


@pytest.fixture
async def b(dsn: str, tmp_path: Path, a: Asked) -> AsyncIterator[Asked]:
    """The daemon that must know. It has served requests before, so its caches are warm."""
    async with core(dsn, node="b", audit_folder=str(tmp_path)) as made:
        await made.read("kv/x")
        yield made


async def test_a_policy(a: Asked, b: Asked) -> None:
    """A policy written, changed and deleted on one grants, grants less and nothing on the other's next request."""
    token = await a.token(policies=["p"], ttl="1h")
    with pytest.raises(PermissionDeniedError):
        await b.read("kv/x", token=token)
    await a.write("sys/policies/acl/p", {"policy": _READ_KV})
    await b.read("kv/x", token=token)
    await b.write("kv/x", {"value": "2"}, token=token)
    await a.write("sys/policies/acl/p", {"policy": 'path "kv/*" { capabilities = ["read"] }'})
    with pytest.raises(PermissionDeniedError):
        await b.write("kv/x", {"value": "3"}, token=token)
    await a.delete("sys/policies/acl/p")
    with pytest.raises(PermissionDeniedError):
        await b.read("kv/x", token=token)


async def test_a_mount(a: Asked, b: Asked) -> None:
    """A mount made, tuned and disabled on one is there, tuned and gone on the other's next request."""
    await a.write("sys/mounts/new", {"type": "kv", "options": {"version": "1"}})
    await b.write("new/y", {"value": "1"})
    await a.write("sys/mounts/new/tune", {"default_lease_ttl": "77s"})
    assert ((await b.read("sys/mounts/new/tune")).data or {})["default_lease_ttl"] == 77
    await a.delete("sys/mounts/new")
    with pytest.raises(SecretdError) as refused:
        await b.read("new/y")
    assert isinstance(refused.value, NoHandlerError)


async def test_a_token(a: Asked, b: Asked) -> None:
    """A token is good on both at once, and over on both at once, with its children."""
    parent = await a.token(policies=["root"], ttl="1h")
    grant = (await b.write("auth/token/create", {"policies": ["root"], "ttl": "1h"}, token=parent)).auth
    assert grant is not None
    child = grant.client_token
    for daemon in (a, b):
        await daemon.read("kv/x", token=child)
    await a.write("auth/token/revoke", {"token": parent})
    for token in (parent, child):
        with pytest.raises(PermissionDeniedError):
            await b.read("kv/x", token=token)


async def test_uses_are_counted_together(a: Asked, b: Asked) -> None:
    """A token with four uses has four, however they are spread and even at the same moment."""
    await a.write("sys/policies/acl/p", {"policy": _READ_KV})
    token = await a.token(policies=["p"], ttl="1h", num_uses=4)
    asked = [daemon.read("kv/x", token=token) for daemon in (a, b) * 5]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    good = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(good) == 4
    assert all(
        isinstance(answer, PermissionDeniedError) for answer in answers if isinstance(answer, BaseException)
    )


async def test_a_lease(a: Asked, b: Asked, target_dsn: str) -> None:
    """A lease made by one is renewed, seen and ended through the other."""
    await a.connect(target_dsn)
    response = await a.read("db/creds/app")
    lease = response.lease
    assert lease is not None
    assert response.data is not None
    renewed = await b.write("sys/leases/renew", {"lease_id": lease.id, "increment": "2h"})
    assert renewed.lease is not None
    seen = (await a.write("sys/leases/lookup", {"lease_id": lease.id})).data or {}
    assert seen["ttl"] > 3600
    await b.write("sys/leases/revoke", {"lease_id": lease.id, "sync": True})
    with pytest.raises(InvalidRequestError):
        await a.write("sys/leases/renew", {"lease_id": lease.id})
    target = await asyncpg.connect(target_dsn)
    try:
        name = response.data["username"]
        assert not await target.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", name)
    finally:
        await target.close()


async def test_keys(a: Asked, b: Asked) -> None:
    """After a rotation on one, the other reads what is new, writes under the new term, and keeps what is old."""
    before = ((await b.read("sys/key-status")).data or {})["term"]
    await a.write("sys/rotate")
    await a.write("kv/fresh", {"value": "new term"})
    assert ((await b.read("kv/fresh")).data or {}) == {"value": "new term"}
    assert ((await b.read("kv/x")).data or {}) == {"value": "1"}
    assert ((await b.read("sys/key-status")).data or {})["term"] == before + 1
    assert b.core.parts.barrier.keyring.active_term == before + 1
    await b.write("sys/rotate")
    await b.write("kv/fresh", {"value": "newer"})
    assert ((await a.read("kv/fresh")).data or {}) == {"value": "newer"}


async def test_two_rotations_at_once(a: Asked, b: Asked) -> None:
    """Both daemons rotate at the same moment: no term is lost, and both read everything."""
    await asyncio.gather(a.write("sys/rotate"), b.write("sys/rotate"), return_exceptions=True)
    await a.write("kv/from-a", {"value": "a"})
    await b.write("kv/from-b", {"value": "b"})
    for daemon in (a, b):
        for name, value in (("from-a", "a"), ("from-b", "b"), ("x", "1")):
            assert ((await daemon.read(f"kv/{name}")).data or {}) == {"value": value}


async def test_audit(a: Asked, b: Asked, tmp_path: Path) -> None:
    """A device made on one binds the other's next request: here one cannot have the file, and fails closed."""
    log = tmp_path / "audit.log"
    await a.write("sys/audit/file", {"type": "file", "options": {"file_path": str(log)}})
    with pytest.raises(AuditError):
        await b.read("kv/x")  # on one machine two writers would tear the chain
    await a.read("kv/x")
    await a.delete("sys/audit/file")
    await b.read("kv/x")


async def test_sealing_is_each_daemons_own(a: Asked, b: Asked) -> None:
    """Sealing one daemon does not seal the other; generations are still agreed on when it opens again."""
    await a.core.parts.lifecycle.seal()
    with pytest.raises(SecretdError):
        await a.read("kv/x")
    await b.write("sys/mounts/late", {"type": "kv", "options": {"version": "1"}})
    await b.write("late/z", {"value": "z"})
    a.core.parts.lifecycle._is_held = False  # as a restart would
    await a.core.parts.lifecycle.open_static()
    assert ((await a.read("late/z")).data or {}) == {"value": "z"}
