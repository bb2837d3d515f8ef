"""KV v2: the lives of versions — deleting, undeleting, destroying, pruning, limited lives."""

from __future__ import annotations

import asyncio

import pytest

from secretd.sdk.errors import InvalidRequestError, NotFoundError


async def put(kv2, count, *, path="app", options=None):
    """Write that many versions; the data is the version's number."""
    for n in range(1, count + 1):
        await kv2.write(f"data/{path}", {"data": {"n": n}})


async def state(kv2, number, path="app"):
    """``shown``, ``deleted`` or ``destroyed``."""
    answer = await kv2.read(f"data/{path}", version=number)
    if answer.data["metadata"]["destroyed"]:
        assert (answer.status, answer.data["data"]) == (404, None)
        return "destroyed"
    if answer.status == 404:
        assert answer.data["data"] is None
        return "deleted"
    assert answer.data["data"] == {"n": number}
    return "shown"


async def past(kv2):
    """Numbers of the versions whose data lies in entries of its own."""
    folders = await kv2.view.list("past/")
    return sorted([int(name) for folder in folders for name in await kv2.view.list(f"past/{folder}")])


@pytest.mark.parametrize("numbers", [[1, 3], ["1", 3], "1,3", [3, 1, 1], [1, 3, 99, -1, 0]])
async def test_versions_are_deleted_and_brought_back(kv2, numbers):
    """Any spelling of the numbers does; numbers that are not there are passed over."""
    await put(kv2, 3)
    assert await kv2.write("delete/app", {"versions": numbers}) is None
    assert [await state(kv2, n) for n in (1, 2, 3)] == ["deleted", "shown", "deleted"]
    assert await kv2.write("undelete/app", {"versions": numbers}) is None
    assert [await state(kv2, n) for n in (1, 2, 3)] == ["shown"] * 3
    answer = await kv2.read("data/app", version=1)
    assert answer.data["metadata"]["deletion_time"] == ""


async def test_one_number_alone_is_a_list(kv2):
    """A bare number is taken for a list of one."""
    await put(kv2, 1)
    await kv2.write("delete/app", {"versions": 1})
    assert await state(kv2, 1) == "deleted"


async def test_destroyed_data_is_gone_from_storage(kv2):
    """Destroying removes data, of the current version and of old ones, and nothing brings it back."""
    await put(kv2, 3)
    await kv2.write("destroy/app", {"versions": [1, 3]})
    await kv2.write("destroy/app", {"versions": [1]})
    await kv2.write("undelete/app", {"versions": [1, 3]})
    assert [await state(kv2, n) for n in (1, 2, 3)] == ["destroyed", "shown", "destroyed"]
    assert await past(kv2) == [2]
    assert b'{"n":3}' not in (await kv2.view.get("current/app")).value


async def test_writing_goes_on_after_the_current_version_was_destroyed(kv2):
    """A destroyed current version leaves no data behind when the next one comes; numbers go on."""
    await put(kv2, 1)
    await kv2.write("destroy/app", {"versions": [1]})
    await kv2.write("data/app", {"data": {"n": 2}, "options": {"cas": 1}})
    assert [await state(kv2, n) for n in (1, 2)] == ["destroyed", "shown"]
    assert await past(kv2) == []


async def test_a_deleted_version_comes_back_after_newer_ones(kv2):
    """A current version that was deleted keeps its data when it becomes an old one."""
    await put(kv2, 1)
    await kv2.delete("data/app")
    await kv2.write("data/app", {"data": {"n": 2}})
    await kv2.write("undelete/app", {"versions": [1]})
    assert [await state(kv2, n) for n in (1, 2)] == ["shown", "shown"]


@pytest.mark.parametrize(
    ("verb", "message"),
    [
        ("delete", "No version number provided"),
        ("undelete", "No version number provided"),
        ("destroy", "no version number provided"),
    ],
)
async def test_numbers_are_wanted(kv2, verb, message):
    """Without numbers each verb has Vault's message; what is no number is refused without echo."""
    for body in ({}, {"versions": []}, {"versions": ""}, {"versions": None}):
        with pytest.raises(InvalidRequestError, match=f"^{message}$"):
            await kv2.write(f"{verb}/app", body)
    for wrong in (["canary"], "canary", [1.5], {"a": 1}):
        with pytest.raises(InvalidRequestError) as error:
            await kv2.write(f"{verb}/app", {"versions": wrong})
        assert "canary" not in error.value.message


@pytest.mark.parametrize("verb", ["delete", "undelete", "destroy"])
async def test_a_missing_secret_is_no_error(kv2, verb):
    """The verbs say nothing about a secret that is not there, and make none."""
    assert await kv2.write(f"{verb}/no", {"versions": [1]}) is None
    assert not await kv2.exists("data/no")


async def test_ten_versions_are_kept(kv2):
    """Without settings the eleventh version prunes the first, its data too."""
    await put(kv2, 12)
    facts = (await kv2.read("metadata/app")).data
    assert (facts["oldest_version"], facts["current_version"], facts["max_versions"]) == (3, 12, 0)
    assert sorted(map(int, facts["versions"])) == list(range(3, 13))
    with pytest.raises(NotFoundError):
        await kv2.read("data/app", version=2)
    assert await past(kv2) == list(range(3, 12))


@pytest.mark.parametrize(("mount", "own", "kept"), [(0, 2, 2), (3, 0, 3), (2, 4, 4), (2, 1, 2), (0, 1, 1)])
async def test_the_larger_max_versions_counts(kv2, mount, own, kept):
    """The mount's and the secret's own limit: the larger one, as in OpenBao."""
    await kv2.write("config", {"max_versions": mount})
    await kv2.write("metadata/app", {"max_versions": own})
    await put(kv2, 6)
    facts = (await kv2.read("metadata/app")).data
    assert list(facts["versions"]) == [str(n) for n in range(7 - kept, 7)]
    assert facts["oldest_version"] == 7 - kept
    assert await past(kv2) == list(range(7 - kept, 6))


async def test_a_lowered_limit_prunes_at_the_next_write(kv2):
    """Lowering the limit removes nothing by itself; the next write removes all that is too old."""
    await put(kv2, 5)
    await kv2.write("metadata/app", {"max_versions": 2})
    assert len((await kv2.read("metadata/app")).data["versions"]) == 5
    await kv2.write("data/app", {"data": {"n": 6}})
    facts = (await kv2.read("metadata/app")).data
    assert (list(facts["versions"]), facts["oldest_version"]) == (["5", "6"], 5)
    assert await past(kv2) == [5]


async def test_oldest_version_is_zero_until_the_limit_is_reached(kv2):
    """As in Vault: 0 below the limit, 1 when it is reached."""
    seen = []
    for n in range(1, 11):
        await kv2.write("data/app", {"data": {"n": n}})
        seen.append((await kv2.read("metadata/app")).data["oldest_version"])
    assert seen == [0] * 9 + [1]


@pytest.mark.parametrize(
    ("mount", "own", "lives"),
    [("0s", "1h", 3600), ("1h", "0s", 3600), ("1h", "2h", 3600), ("2h", "1h", 3600), ("-1s", "1h", None)],
)
async def test_a_limited_life_is_the_shorter_one(kv2, mount, own, lives):
    """``delete_version_after``: the shorter of mount and secret; a negative one of the mount switches it off."""
    await kv2.write("config", {"delete_version_after": mount})
    await kv2.write("metadata/app", {"delete_version_after": own})
    answer = await kv2.write("data/app", {"data": {"n": 1}})
    assert answer.data["deletion_time"] == ("2026-11-23T11:00:00.000000Z" if lives else "")
    kv2.system.clock.advance(3599)
    assert await state(kv2, 1) == "shown"
    kv2.system.clock.advance(1)
    assert await state(kv2, 1) == ("deleted" if lives else "shown")


async def test_undeleting_begins_a_limited_life_anew(kv2):
    """An undeleted version lives for its span again, whether its time was over or not."""
    await kv2.write("metadata/app", {"delete_version_after": "1h"})
    await put(kv2, 1)
    kv2.system.clock.advance(3601)
    assert await state(kv2, 1) == "deleted"
    await kv2.write("undelete/app", {"versions": [1]})
    answer = await kv2.read("data/app")
    assert answer.data["metadata"]["deletion_time"] == "2026-11-23T12:00:01.000000Z"


async def test_deleting_ends_a_limited_life_at_once(kv2):
    """A version whose deletion lies ahead can be deleted now."""
    await kv2.write("metadata/app", {"delete_version_after": "1h"})
    await put(kv2, 1)
    await kv2.delete("data/app")
    answer = await kv2.read("data/app")
    assert answer.data["metadata"]["deletion_time"] == "2026-11-23T10:00:00.000000Z"


async def test_verbs_and_writers_at_once_lose_nothing(kv2):
    """Deleting, destroying and writing at the same time: every change is there afterwards."""
    await put(kv2, 3)
    await asyncio.gather(
        *(kv2.write("data/app", {"data": {"n": 0}}) for _ in range(4)),
        kv2.write("destroy/app", {"versions": [1]}),
        kv2.write("delete/app", {"versions": [2]}),
        kv2.write("destroy/app", {"versions": [3]}),
    )
    facts = (await kv2.read("metadata/app")).data
    assert facts["current_version"] == 7
    assert [await state(kv2, n) for n in (1, 2, 3)] == ["destroyed", "deleted", "destroyed"]
    assert await past(kv2) == [2, 4, 5, 6]
