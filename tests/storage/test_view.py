"""Views: an engine's storage, encrypted, chrooted, listed in byte order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from secretd.crypto.seal import generate_root_key
from secretd.sdk.clock import SystemClock
from secretd.sdk.errors import BarrierError, ConflictError, InvalidRequestError, SealedError
from secretd.storage.barrier import Barrier
from secretd.storage.pool import Pool
from secretd.storage.queries import QUERIES
from secretd.storage.view import EntryView, after_prefix

KEYS = ("a", "a/b", "a/b/c", "a0", "b/", "b/x", "b/x/y", "c d", "é/ü", "é", "z/1", "z/2", "z/2/3")


@pytest.fixture
async def opened(storage_dsn: str) -> AsyncIterator[tuple[Pool, Barrier]]:
    """A pool on an empty store, and its open barrier."""
    async with Pool.open(storage_dsn, size=3) as pool:
        barrier = Barrier(pool, SystemClock())
        async with pool.transaction() as runner:
            await barrier.create(runner, generate_root_key())
        yield pool, barrier


@pytest.fixture
def view(opened: tuple[Pool, Barrier]) -> EntryView:
    """A mount's view."""
    return EntryView(*opened, prefix="mounts/m/")


def names_of(keys: tuple[str, ...], prefix: str, after: str) -> list[str]:
    """What a listing should say, the slow and obvious way; a name that ends in a slash is a folder."""
    rests = [key.removeprefix(prefix) for key in keys if key.startswith(prefix) and key != prefix]
    found = {rest.partition("/")[0] + ("/" if "/" in rest else "") for rest in rests}
    listed = sorted(found, key=lambda name: name.encode())
    return [name for name in listed if name.encode() > after.encode()]


@pytest.mark.parametrize("prefix", ["", "a/", "b/", "z/", "z/2/", "é/", "nothing/"])
@pytest.mark.parametrize("after", ["", "a", "b/", "x/"])
async def test_names_are_listed_as_if_all_keys_were_read(view: EntryView, prefix: str, after: str) -> None:
    """Folders once, in byte order, after the name that is given, whatever stands around the prefix."""
    for key in KEYS:
        await view.put(key, b"value")

    assert await view.list(prefix, after=after) == names_of(KEYS, prefix, after)
    assert await view.list(prefix, after=after, limit=2) == names_of(KEYS, prefix, after)[:2]


async def test_a_listing_walks_the_index(view: EntryView, opened: tuple[Pool, Barrier]) -> None:
    """The steps of a listing are index conditions on the key: the work grows with the names, not the table."""
    pool, _ = opened
    for number in range(3):
        await view.put(f"folder{number}/x", b"value")
    async with pool.transaction() as runner:
        await runner.run_script(
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off", timeout=5
        )
        plan = await explain(runner, "list_names", 0, "mounts/m/", "", 100, after_prefix("mounts/m/"))

    assert plan.count("Index Cond") == 2
    assert plan.count("(key >") == 2
    assert "Filter: (e.key" not in plan


async def explain(runner: Any, name: str, *args: object) -> str:
    """The plan of a named query."""
    literals = QUERIES[name].text
    for number in range(len(args), 0, -1):
        value = args[number - 1]
        literals = literals.replace(f"${number}", str(value) if isinstance(value, int) else f"'{value}'")
    connection = runner._link.connection
    return "\n".join(row[0] for row in await connection.fetch("EXPLAIN " + literals))


async def test_a_version_is_checked_and_set(view: EntryView) -> None:
    """A write that names another version than the stored one changes nothing."""
    assert await view.put("k", b"1", version=0) == 1
    with pytest.raises(ConflictError):
        await view.put("k", b"2", version=0)
    with pytest.raises(ConflictError):
        await view.put("k", b"2", version=7)
    assert await view.put("k", b"2", version=1) == 2

    entry = await view.get("k")

    assert entry is not None
    assert (entry.value, entry.version) == (b"2", 2)


async def test_a_transaction_is_all_or_nothing(view: EntryView) -> None:
    """An error in the block takes every write of it back."""
    with pytest.raises(ZeroDivisionError):
        async with view.transaction() as inside:
            await inside.put("k", b"1")
            raise ZeroDivisionError

    assert await view.get("k") is None


async def test_views_do_not_see_each_other(view: EntryView, opened: tuple[Pool, Barrier]) -> None:
    """A prefix is a chroot."""
    await view.put("k", b"1")

    assert await EntryView(*opened, prefix="mounts/other/").get("k") is None


@pytest.mark.parametrize(
    "move",
    [
        "UPDATE entries SET value = (SELECT value FROM entries WHERE key = 'mounts/m/a') WHERE key = 'mounts/m/b'",
        "UPDATE entries SET version = version + 1 WHERE key = 'mounts/m/b'",
        "UPDATE entries SET key = 'mounts/m/b' WHERE key = 'mounts/m/a'",
        "UPDATE entries SET value = set_byte(value, length(value) - 1, 255 - get_byte(value, length(value) - 1))",
    ],
)
async def test_a_moved_value_is_noticed(view: EntryView, opened: tuple[Pool, Barrier], move: str) -> None:
    """A value of another key, another version or another shape does not decrypt."""
    await view.put("a", b"mine")
    await view.put("b", b"yours")
    pool, _ = opened
    async with pool.transaction() as runner:
        if "SET key" in move:
            await view.delete("b")
        await runner.run_script(move, timeout=5)

    with pytest.raises(BarrierError):
        await view.get("b")


async def test_a_rotation_on_another_daemon_is_noticed_by_its_term(
    view: EntryView, opened: tuple[Pool, Barrier]
) -> None:
    """A value under a term that this daemon does not know makes it read the keyring again."""
    pool, barrier = opened
    other = Barrier(pool, SystemClock())
    await other.open(barrier._root_key)
    await other.rotate()
    await EntryView(pool, other, prefix="mounts/m/").put("k", b"new term")

    entry = await view.get("k")

    assert entry is not None
    assert entry.value == b"new term"


async def test_a_sealed_barrier_reads_and_writes_nothing(
    view: EntryView, opened: tuple[Pool, Barrier]
) -> None:
    """Without keys every call is SealedError, and nothing is stored."""
    await view.put("k", b"1")
    opened[1].close()
    with pytest.raises(SealedError):
        await view.get("k")
    with pytest.raises(SealedError):
        await view.put("new", b"1")

    assert await opened[0].fetchrow("find_entry", 0, "mounts/m/new") is None


async def test_an_overlong_key_is_refused(view: EntryView) -> None:
    """A key that no index row holds is the caller's mistake, not storage's."""
    with pytest.raises(InvalidRequestError):
        await view.put("k" * 2100, b"1")
