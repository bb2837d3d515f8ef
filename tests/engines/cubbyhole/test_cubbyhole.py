"""The cubbyhole: what a token stores for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from secretd.engines.cubbyhole.engine import ENGINE, empty
from secretd.sdk.errors import (
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    UnsupportedOperationError,
)
from support.engines import Desk, desk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def hole(storage_dsn: str) -> AsyncIterator[Desk]:
    """The cubbyhole before one token."""
    async with desk(storage_dsn, ENGINE) as found:
        yield found


async def test_what_a_token_stores_it_reads(hole):
    """Any object comes back, without a lease duration, and its ``ttl`` means nothing here."""
    data = {"a": 1, "ttl": "1h", "path": "not the path", "none": None}
    assert await hole.write("a/b", data) is None
    answer = await hole.read("a/b")
    assert (answer.data, answer.lease, answer.lease_duration) == (data, None, 0)
    assert hole.last.warnings == []


async def test_no_other_token_sees_it(hole):
    """Another token neither reads, lists, overwrites nor deletes it, whatever the path."""
    await hole.write("a", {"mine": 1})
    other = hole.as_caller(token_key="othertokenkey")
    with pytest.raises(NotFoundError):
        await other.read("a")
    assert not await other.exists("a")
    assert (await other.list("")).data == {"keys": []}
    await other.delete("a")
    await other.write("a", {"mine": 2})
    assert (await hole.read("a")).data == {"mine": 1}


@pytest.mark.parametrize("key", ["", "testtokenkey/a", "/"])
async def test_a_caller_without_a_key_has_none(hole, key):
    """Callers without a token key, or with one that would reach elsewhere, are refused."""
    await hole.write("a/b", {"mine": 1})
    nobody = hole.as_caller(token_key=key)
    for deed in (
        nobody.read("b"),
        nobody.list(""),
        nobody.delete("b"),
        nobody.write("b", {"x": 1}),
        nobody.exists("b"),
    ):
        with pytest.raises(PermissionDeniedError):
            await deed
    with pytest.raises(PermissionDeniedError):
        await empty(hole.view, key)
    assert (await hole.read("a/b")).data == {"mine": 1}


async def test_it_ends_with_the_token(hole):
    """Emptying removes all of one token's entries and nobody else's."""
    longer = hole.as_caller(token_key="testtokenkey2")
    for mine in (hole, longer):
        await mine.write("a", {"x": 1})
        await mine.write("b/c", {"x": 1})
    assert await empty(hole.view, "testtokenkey") == 2
    assert await empty(hole.view, "testtokenkey") == 0
    assert (await hole.list("")).data == {"keys": []}
    assert (await longer.list("")).data == {"keys": ["a", "b/"]}


async def test_listing_and_deleting(hole):
    """Root and folders list, with and without a slash; what is deleted is gone; deleting nothing is no error."""
    for path in ("b", "a/x", "a"):
        await hole.write(path, {"x": 1})
    assert (await hole.list("")).data == {"keys": ["a", "a/", "b"]}
    for folder in ("a", "a/"):
        assert (await hole.list(folder)).data == {"keys": ["x"]}
    assert await hole.exists("b")
    for _ in range(2):
        assert await hole.delete("b") is None
    assert not await hole.exists("b")


async def test_bad_writes_are_refused(hole):
    """A write needs fields and a name; there is no PATCH."""
    with pytest.raises(InvalidRequestError, match="^missing data fields$"):
        await hole.write("a", {})
    with pytest.raises(InvalidRequestError, match="^missing path$"):
        await hole.write("", {"a": 1})
    with pytest.raises(InvalidRequestError, match="^cannot write to a path ending in '/'$"):
        await hole.write("a/", {"a": 1})
    with pytest.raises(UnsupportedOperationError):
        await hole.patch("a", {"a": 1})
