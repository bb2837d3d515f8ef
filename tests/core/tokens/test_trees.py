"""A token's end ends its tree, also what is being born into it meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secretd.storage.tokens import NewToken, TokenRow, end_trees
from support.ageing import age
from support.blocking import until_blocked
from support.nursery import Nursery


async def _token(n: Nursery, parent: TokenRow, name: str, **more: Any) -> TokenRow:
    child = await n.child(parent, name, **more)
    assert child is not None
    return child


async def _good(n: Nursery) -> set[str]:
    return set(await n.tokens.list_accessors())


async def _insert_in(runner: Any, parent: TokenRow, name: str, *, is_orphan: bool = False) -> Any:
    return await runner.fetchrow(
        "insert_child_token", name.encode().ljust(32, b"_"), 0, name, parent.id, name, "auth/token/create",
        ["default"], None, "", True, 3600, 0, 0, 3600, 0, False, is_orphan, b"",
    )  # fmt: skip


async def test_an_end_waits_for_a_birth(n: Nursery) -> None:
    """A child that is not committed yet holds its parent: the end waits for it and ends it."""
    parent = await _token(n, n.token, "parent")
    async with n.pool.transaction() as birth:
        assert await _insert_in(birth, parent, "child") is not None
        ending = asyncio.create_task(n.end_token(parent))
        await until_blocked(n.sql)
    await ending
    assert await _good(n) == {"root"}


async def test_an_end_waits_for_a_birth_two_below(n: Nursery) -> None:
    """The birth is under a grandchild: the pass that ends the grandchild waits, and the next one sees it."""
    parent = await _token(n, n.token, "parent")
    middle = await _token(n, parent, "middle")
    async with n.pool.transaction() as birth:
        assert await _insert_in(birth, middle, "late") is not None
        ending = asyncio.create_task(n.end_token(parent))
        await until_blocked(n.sql)
    await ending
    assert await _good(n) == {"root"}


async def test_a_chain_of_births_is_caught(n: Nursery) -> None:
    """A birth commits, and under the newborn another begins, while the end is between its passes."""
    parent = await _token(n, n.token, "parent")
    middle = await _token(n, parent, "middle")
    async with n.pool.transaction() as second:
        async with n.pool.transaction() as first:
            assert await _insert_in(first, middle, "late") is not None
            ending = asyncio.create_task(n.end_token(parent))
            await until_blocked(n.sql)
        late = await n.tokens.find(b"late".ljust(32, b"_"))
        born = None if late is None else await _insert_in(second, late, "later")
    await ending
    assert await _good(n) == {"root"}
    assert born is None or "later" not in await _good(n)


async def test_a_birth_waits_for_an_end(n: Nursery) -> None:
    """A parent whose end is not committed yet lets no child be born: the birth waits, then finds no parent."""
    parent = await _token(n, n.token, "parent")
    async with n.pool.transaction() as ending:
        await end_trees(ending, [parent.id], generation=1, reason="token revoked")
        birth = asyncio.create_task(n.child(parent, "child"))
        await until_blocked(n.sql)
    assert await birth is None
    assert await _good(n) == {"root"}


async def test_a_lease_under_a_newborn_is_due(n: Nursery) -> None:
    """The end waits for a child's birth; the leases of the whole tree are due in the same transaction."""
    parent = await _token(n, n.token, "parent")
    child = await _token(n, parent, "child")
    await n.issue(child)
    await n.issue(parent)
    await n.issue()
    due = await n.end_token(parent)
    assert await n.states() == {"v-1": "revoking", "v-2": "revoking", "v-3": "active"}
    rows = await n.sql.fetch("SELECT id FROM leases WHERE state = 'revoking'")
    assert set(due) == {row[0] for row in rows}


async def test_the_cause_is_kept(n: Nursery) -> None:
    """Each ended row says why: the token that was revoked, its descendants, and their leases."""
    parent = await _token(n, n.token, "parent")
    child = await _token(n, parent, "child")
    await n.issue(child)
    await n.end_token(parent)
    rows = await n.sql.fetch("SELECT accessor, end_reason FROM tokens WHERE state = 'ended'")
    assert dict(map(tuple, rows)) == {"parent": "token revoked", "child": "parent token revoked"}
    assert (await n.row())["end_reason"] == "token revoked"


async def test_an_orphan_born_meanwhile_survives(n: Nursery) -> None:
    """An orphan is no descendant: it holds its maker while it is made, and lives on."""
    parent = await _token(n, n.token, "parent")
    async with n.pool.transaction() as birth:
        assert await _insert_in(birth, parent, "orphan", is_orphan=True) is not None
        ending = asyncio.create_task(n.end_token(parent))
        await until_blocked(n.sql)
    await ending
    assert await _good(n) == {"root", "orphan"}


async def test_ending_one_alone_cuts_off_what_is_being_born(n: Nursery) -> None:
    """Revoke-and-orphan waits for a birth, too: the child becomes an orphan and lives."""
    parent = await _token(n, n.token, "parent")
    async with n.pool.transaction() as birth:
        assert await _insert_in(birth, parent, "child") is not None
        ending = asyncio.create_task(n.tokens.end_alone(parent.id, generation=1, reason="orphaned"))
        await until_blocked(n.sql)
    await ending
    child = await n.tokens.find(b"child".ljust(32, b"_"))
    assert child is not None
    assert child.parent_id is None


async def test_expiry_takes_the_tree(n: Nursery) -> None:
    """A token whose time is over takes its descendants and their leases, whatever TTL those have."""
    parent = await _token(n, n.token, "parent", ttl=60)
    child = await _token(n, parent, "child", ttl=9999)
    await n.issue(child)
    await age(n.sql, seconds=61)
    assert await _good(n) == {"root"}
    ended, due = await n.tokens.end_expired(500, generation=1)
    assert (ended >= 1, len(due)) == (True, 1)
    assert (await n.row())["state"] == "revoking"


async def test_two_ends_of_one_tree_do_not_hurt_each_other(n: Nursery) -> None:
    """Root and branch are ended at once by two daemons: both succeed, and nothing is left."""
    top = await _token(n, n.token, "top")
    for number in range(6):
        branch = await _token(n, top, f"branch{number}")
        leaf = await _token(n, branch, f"leaf{number}")
        await n.issue(leaf)
    branches = [await n.tokens.find_by_accessor(f"branch{number}") for number in range(6)]
    await asyncio.gather(n.end_token(top), *(n.end_token(branch) for branch in branches if branch))
    assert await _good(n) == {"root"}
    assert set((await n.states()).values()) == {"revoking"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parents=st.lists(st.integers(0, 30), min_size=1, max_size=25),
    cut=st.integers(0, 24),
    orphans=st.sets(st.integers(0, 24)),
)
def test_no_descendant_is_good_after_the_end(
    tree: Any, parents: list[int], cut: int, orphans: set[int]
) -> None:
    """Random trees: after an end exactly the token and its descendants are over, those behind an orphan are not."""
    tree(parents, cut % len(parents), orphans)


@pytest.fixture
def tree(storage_dsn: str) -> Any:
    """Grow a tree by a list of parents, end one node, compare with what a set says."""
    from support.nursery import nursery

    async def run(parents: list[int], cut: int, orphans: set[int]) -> None:
        async with nursery(storage_dsn, is_first=not await _is_filled(storage_dsn)) as n:
            await n.sql.execute("DELETE FROM tokens WHERE accessor <> 'root'")
            nodes: list[TokenRow] = []
            above: list[int | None] = []
            for number, choice in enumerate(parents):
                up = choice % number if number and choice < 25 else None
                is_orphan = number in orphans
                new = NewToken(
                    id=str(number).encode().ljust(32, b"_"), accessor=str(number), display_name="t", path="p",
                    policies=("default",), ttl=600,
                )  # fmt: skip
                parent = n.token if up is None else nodes[up]
                await n.tokens.insert_child(new, parent_id=parent.id, orphan=is_orphan)
                made = await n.tokens.find(new.id)
                assert made is not None
                nodes.append(made)
                above.append(None if is_orphan else up)
            await n.end_token(nodes[cut])
            over = {cut}
            for number, up in enumerate(above):
                if up in over:
                    over.add(number)
            assert await _good(n) == {"root", *(str(i) for i in range(len(parents)) if i not in over)}

    return lambda *plan: asyncio.run(run(*plan))


async def _is_filled(dsn: str) -> bool:
    import asyncpg

    connection = await asyncpg.connect(dsn)
    try:
        return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM mounts)"))
    finally:
        await connection.close()
