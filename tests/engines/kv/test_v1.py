"""KV v1."""

from __future__ import annotations

import pytest

from secretd.sdk.errors import InvalidRequestError, NotFoundError, UnsupportedOperationError
from support.engines import MONTH

ANYTHING = {
    "text": "é\u0000\U0001f511", "none": None, "yes": True, "whole": 2**64 - 1, "least": -(2**63), "float": 1.5,
    "list": [1, [None, {"x": "y"}]], "": "no name", "path": "not the path",
}  # fmt: skip


async def test_any_object_comes_back_as_it_was(kv1):
    """Every field of the body is data, those named like ours too; nothing is unknown."""
    assert await kv1.write("a/b", ANYTHING) is None
    assert kv1.last.warnings == []
    answer = await kv1.read("a/b")
    assert answer.data == ANYTHING
    assert (answer.lease, answer.lease_duration) == (None, MONTH)


async def test_writing_replaces_all(kv1):
    """A second write leaves nothing of the first."""
    await kv1.write("a", {"x": 1})
    await kv1.write("a", {"y": 2})
    assert (await kv1.read("a")).data == {"y": 2}


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        ({"ttl": "30m"}, 1800), ({"ttl": 90}, 90), ({"ttl": "90"}, 90), ({"lease": "1h"}, 3600),
        ({"ttl": "1h", "lease": "2h"}, 3600), ({"ttl": "9000h"}, 32400000), ({"ttl": 0}, 0),
        ({"ttl": "", "lease": "1h"}, 0),
        ({"ttl": None}, 0), ({"ttl": "-5s"}, 0), ({"ttl": "abc"}, MONTH), ({"ttl": {"x": 1}}, MONTH),
        ({"ttl": [1]}, MONTH),
        ({"ttl": 1e300}, MONTH), ({"ttl": 2**64 - 1}, MONTH), ({"ttl": True}, MONTH), ({"other": "1h"}, MONTH),
    ],
)  # fmt: skip
async def test_ttl_is_a_hint(kv1, data, seconds):
    """``ttl``, else ``lease``, is the answer's lease duration; what is no duration is stored all the same."""
    await kv1.write("a", data)
    answer = await kv1.read("a")
    assert (answer.data, answer.lease_duration) == (data, seconds)


async def test_empty_bodies_and_folders_are_refused(kv1):
    """A write needs fields and a name."""
    with pytest.raises(InvalidRequestError, match="^missing data fields$"):
        await kv1.write("a", {})
    with pytest.raises(InvalidRequestError, match="^missing path$"):
        await kv1.write("", {"a": 1})
    with pytest.raises(InvalidRequestError, match="^cannot write to a path ending in '/'$"):
        await kv1.write("a/", {"a": 1})
    assert await kv1.view.list("") == []


async def test_what_is_not_there(kv1):
    """Reading nothing, the root or a folder is 404; deleting nothing is no error."""
    await kv1.write("a/b", {"x": 1})
    for path in ("no", "", "a", "a/"):
        with pytest.raises(NotFoundError):
            await kv1.read(path)
        assert await kv1.delete(path) is None
    assert (await kv1.read("a/b")).data == {"x": 1}


async def test_deleted_is_gone(kv1):
    """A deleted secret is neither read, listed nor known to exist."""
    await kv1.write("a", {"x": 1})
    assert await kv1.exists("a")
    await kv1.delete("a")
    assert not await kv1.exists("a")
    assert (await kv1.list("")).data == {"keys": []}
    with pytest.raises(NotFoundError):
        await kv1.read("a")


async def test_listing(kv1):
    """Root and folders list with and without a slash, in pages if asked."""
    for path in ("b", "a/x", "a/y/z", "a"):
        await kv1.write(path, {"x": 1})
    assert (await kv1.list("")).data == {"keys": ["a", "a/", "b"]}
    for folder in ("a", "a/"):
        assert (await kv1.list(folder)).data == {"keys": ["x", "y/"]}
    assert (await kv1.list("", after="a", limit=1)).data == {"keys": ["a/"]}


async def test_there_is_no_patch(kv1):
    """KV v1 has no PATCH."""
    with pytest.raises(UnsupportedOperationError):
        await kv1.patch("a", {"x": 1})
