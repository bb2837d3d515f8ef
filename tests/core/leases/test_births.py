"""Birth and death meet on a lock: a lease born while its token, role or mount ends, in both orders.

==============  ====================================  ======================================
pair            birth first                           end first
==============  ====================================  ======================================
token → lease   test_an_end_waits_for_a_birth[token]  test_a_birth_waits_for_an_end[token]
mount → lease   test_an_end_waits_for_a_birth[mount]  test_a_birth_waits_for_an_end[mount]
role → lease    test_a_role_waits_for_a_birth         test_a_birth_waits_for_an_end[role]
==============  ====================================  ======================================
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from secretd.core.mounts.model import MountConfig, MountRecord
from secretd.core.mounts.table import MountTable
from secretd.sdk.errors import InvalidRequestError
from secretd.storage.leases import NewLease
from secretd.storage.tokens import end_trees
from support.blocking import until_blocked
from support.nursery import MOUNT_ID, ROLE, Nursery

_RECORD = MountRecord(MOUNT_ID, "secret", "db/", "double", "a", "active", MountConfig())


def _mounts(n: Nursery) -> MountTable:
    def no_engine(*_: Any) -> Any:
        raise AssertionError

    return MountTable(pool=n.pool, barrier=n.barrier, leases=n.leases, system=None, engine_of=no_engine)  # type: ignore[arg-type]


async def _end(n: Nursery, parent: str) -> Any:
    if parent == "token":
        return await n.end_token(n.token)
    if parent == "mount":
        return await _mounts(n).begin_disabling(_RECORD)
    return await n.view.delete(ROLE)


async def _end_in(n: Nursery, runner: Any, parent: str) -> None:
    """The end's first statements, not committed yet."""
    if parent == "token":
        await end_trees(runner, [n.token.id], generation=1, reason="token revoked")
    elif parent == "mount":
        await runner.execute("begin_disabling_mount", MOUNT_ID)
    else:
        await runner.execute("delete_entry", 0, n.view.key(ROLE))


async def _insert_in(runner: Any, new: NewLease) -> Any:
    return await runner.fetchrow(
        "insert_pending_lease", new.id, 0, 1, new.fence_key, new.ttl, new.max_ttl, new.issue_window,
        new.target_offset, new.mount_id, new.token_id, new.role_key, new.secret_type, new.path, new.role,
        new.target, new.account_name, new.recipe, new.client_address,
    )  # fmt: skip


@pytest.mark.parametrize("parent", ["token", "mount"])
async def test_an_end_waits_for_a_birth(n: Nursery, parent: str) -> None:
    """A lease that is inserted and not committed holds its parents: the end waits, then makes it due, too."""
    new = await n.new_row()
    async with n.pool.transaction() as birth:
        assert await _insert_in(birth, new) is not None
        ending: Awaitable[Any] = asyncio.create_task(_end(n, parent))
        await until_blocked(n.sql)
    assert await ending == [new.id]
    assert (await n.row())["state"] == "revoking"


async def test_a_role_waits_for_a_birth(n: Nursery) -> None:
    """A role is not gone before the lease born from it is committed; the lease lives on by its frozen recipe."""
    new = await n.new_row()
    async with n.pool.transaction() as birth:
        assert await _insert_in(birth, new) is not None
        ending = asyncio.create_task(_end(n, "role"))
        await until_blocked(n.sql)
    assert await ending
    assert (await n.row())["state"] == "pending"


@pytest.mark.parametrize("parent", ["token", "mount", "role"])
async def test_a_birth_waits_for_an_end(n: Nursery, parent: str) -> None:
    """A parent whose end is under way lets nothing be born: the birth waits, and then there is no parent."""
    async with n.pool.transaction() as ending:
        await _end_in(n, ending, parent)
        birth = asyncio.create_task(n.issue())
        await until_blocked(n.sql)
    with pytest.raises(InvalidRequestError):
        await birth
    assert (await n.states(), n.ward.accounts) == ({}, {})


@pytest.mark.parametrize("parent", ["token", "mount", "role"])
async def test_an_end_that_is_rolled_back_ends_nothing(n: Nursery, parent: str) -> None:
    """A birth that waited for an end which did not come happens."""
    with pytest.raises(LookupError):
        async with n.pool.transaction() as ending:
            await _end_in(n, ending, parent)
            birth = asyncio.create_task(n.issue())
            await until_blocked(n.sql)
            raise LookupError
    assert (await birth).lease is not None


@pytest.mark.parametrize("parent", ["token", "mount"])
async def test_an_end_between_insert_and_activation(n: Nursery, parent: str) -> None:
    """The parent ends while CREATE is under way: the client gets an error, and the account is removed."""

    async def end() -> None:
        await _end(n, parent)

    n.ward.before_create = end
    from secretd.sdk.errors import TargetUnavailableError

    with pytest.raises(TargetUnavailableError):
        await n.issue()
    n.ward.tells_past = True
    await n.turn()
    assert (await n.states(), n.ward.accounts) == ({"v-1": "revoked"}, {})


async def test_many_births_against_one_end(n: Nursery) -> None:
    """Whatever the interleaving, no lease of an ended token stays pending or active."""
    births = [asyncio.create_task(n.issue()) for _ in range(12)]
    while sum(birth.done() for birth in births) < 3:
        await asyncio.sleep(0)
    await n.end_token(n.token)
    await asyncio.gather(*births, return_exceptions=True)
    assert not {"pending", "active"} & set((await n.states()).values())


async def test_ends_from_every_side_at_once(n: Nursery) -> None:
    """Tokens, mount and prefix end the same leases at the same moment: every end succeeds, none waits for ever."""
    tokens = [await n.child(n.token, f"t{number}") for number in range(6)]
    for _ in range(5):
        await asyncio.gather(*(n.issue(token) for token in tokens if token))
    ends: list[Awaitable[Any]] = [n.end_token(token) for token in reversed(tokens) if token]
    ends += [_end(n, "mount"), n.end_token(n.token), n.leases.end_prefix("db/", "revoked")]
    ends += [n.tokens.end_expired(500, generation=1)]
    await asyncio.gather(*ends)
    assert set((await n.states()).values()) == {"revoking"}
