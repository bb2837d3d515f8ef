"""KV v2: reading, writing, patching and deleting the current version."""

from __future__ import annotations

import asyncio

import pytest

from secretd.engines.kv.data import merge
from secretd.engines.kv.schemas import Content
from secretd.engines.kv.secret import Secret, key_of, past_of
from secretd.sdk.errors import InvalidRequestError, NotFoundError

ANYTHING = {
    "text": "é\u0000\U0001f511", "none": None, "yes": True, "whole": 2**64 - 1, "least": -(2**63), "float": 1.0,
    "tiny": 5e-324, "empty": {}, "list": [1, [None, {"x": "y"}]], "": "no name",
}  # fmt: skip


async def test_write_answers_the_metadata_of_version_one(kv2):
    """A first write answers the version's metadata, exactly Vault's five fields."""
    answer = await kv2.write("data/app", {"data": {"a": 1}})
    assert answer.status is None
    assert answer.data == {
        "created_time": "2026-11-23T10:00:00.000000Z",
        "custom_metadata": None,
        "deletion_time": "",
        "destroyed": False,
        "version": 1,
    }


async def test_any_json_comes_back_as_it_was(kv2):
    """Every JSON value comes back equal and of the same type, current or old."""
    await kv2.write("data/app", {"data": ANYTHING})
    await kv2.write("data/app", {"data": {}})
    old = (await kv2.read("data/app", version="1")).data["data"]
    assert old == ANYTHING
    assert type(old["float"]) is float
    assert (await kv2.read("data/app")).data["data"] == {}


async def test_read_of_the_current_version_is_one_row(kv2):
    """The current version and its metadata come from a single read of storage."""
    await kv2.write("data/app", {"data": {"a": 1}})
    await kv2.write("data/app", {"data": {"a": 2}})
    looked = []

    class Counting:
        async def get(self, key):
            looked.append(key)
            return await view.get(key)

    view, kv2.view = kv2.view, Counting()
    answer = await kv2.read("data/app")
    assert answer.data["data"] == {"a": 2}
    assert answer.data["metadata"]["version"] == 2
    assert looked == ["current/app"]


@pytest.mark.parametrize("version", ["1", "2", "0", "-1", 2])
async def test_version_is_chosen_by_query(kv2, version):
    """A version is read by its number, as text or number; anything below 1 is the current one."""
    await kv2.write("data/app", {"data": {"n": 1}})
    await kv2.write("data/app", {"data": {"n": 2}})
    number = int(version) if int(version) > 0 else 2
    answer = await kv2.read("data/app", version=version)
    assert (answer.data["data"], answer.data["metadata"]["version"]) == ({"n": number}, number)


async def test_what_is_not_there_is_an_empty_404(kv2):
    """No secret, no such version, a folder and the empty path are all plain 404s."""
    await kv2.write("data/dir/app", {"data": {}})
    for path, query in (
        ("data/no", {}),
        ("data/dir/app", {"version": "2"}),
        ("data/dir/", {}),
        ("data/", {}),
    ):
        with pytest.raises(NotFoundError) as error:
            await kv2.read(path, **query)
        assert error.value.message == NotFoundError.__doc__


@pytest.mark.parametrize("body", [{}, {"data": None}, {"options": {"cas": 0}}])
async def test_write_needs_data(kv2, body):
    """Without an object under ``data`` nothing is written, neither by POST nor by PATCH."""
    for deed in (kv2.write, kv2.patch):
        with pytest.raises(InvalidRequestError, match="no data provided"):
            await deed("data/app", body)
    assert not await kv2.exists("data/app")


@pytest.mark.parametrize("body", [{"data": "x"}, {"data": [1]}, {"data": {}, "options": "x"}])
async def test_wrong_types_are_refused_without_echo(kv2, body):
    """Data or options that are no object are a 400 that does not repeat them."""
    with pytest.raises(InvalidRequestError, match=r"^field (data|options): expected `object"):
        await kv2.write("data/app", body)


async def test_a_folder_is_not_written(kv2):
    """A path that ends in a slash, or is empty, is refused."""
    for path in ("data/", "data/app/"):
        with pytest.raises(InvalidRequestError, match="cannot write to a path ending in '/'"):
            await kv2.write(path, {"data": {}})


@pytest.mark.parametrize("cas", [0, 2, -1, "2", None])
async def test_cas_that_does_not_match_is_refused(kv2, cas):
    """A check-and-set number other than the current version's writes nothing; null counts as 0."""
    await kv2.write("data/app", {"data": {"n": 1}})
    with pytest.raises(
        InvalidRequestError, match="^check-and-set parameter did not match the current version$"
    ):
        await kv2.write("data/app", {"data": {"n": 2}, "options": {"cas": cas}})
    assert (await kv2.read("data/app")).data["data"] == {"n": 1}


async def test_cas_that_matches_writes(kv2):
    """0 writes what is new, the current version's number what is known; text is taken for a number."""
    for cas in (0, 1, "2"):
        await kv2.write("data/app", {"data": {}, "options": {"cas": cas}})
    assert (await kv2.read("data/app")).data["metadata"]["version"] == 3


@pytest.mark.parametrize("cas", ["x", 1.5, True, [], {}])
async def test_cas_that_is_no_number_is_refused(kv2, cas):
    """A check-and-set parameter that is no whole number has Vault's message."""
    with pytest.raises(InvalidRequestError, match="^error parsing check-and-set parameter$"):
        await kv2.write("data/app", {"data": {}, "options": {"cas": cas}})


async def test_concurrent_writers_lose_no_version(kv2):
    """Of many writers at once, first writes included, each gets a version of its own and all data is there."""
    answers = await asyncio.gather(*(kv2.write("data/app", {"data": {"n": n}}) for n in range(9)))
    assert sorted(answer.data["version"] for answer in answers) == list(range(1, 10))
    for n, answer in enumerate(answers):
        found = await kv2.read("data/app", version=answer.data["version"])
        assert found.data["data"] == {"n": n}


async def test_concurrent_cas_lets_one_through(kv2):
    """Of many writers with the same check-and-set number exactly one writes."""
    for current in (0, 1):
        done = await asyncio.gather(
            *(kv2.write("data/app", {"data": {}, "options": {"cas": current}}) for _ in range(8)),
            return_exceptions=True,
        )
        refused = [error for error in done if isinstance(error, InvalidRequestError)]
        assert len(refused) == 7
    assert (await kv2.read("data/app")).data["metadata"]["version"] == 2


async def test_patch_merges_into_a_new_version(kv2):
    """A patch makes a new version by RFC 7396; the old one stays as it was."""
    await kv2.write("data/app", {"data": {"a": {"b": 1, "c": 2}, "d": [1], "n": None}})
    await kv2.patch("data/app", {"data": {"a": {"b": None, "x": None}, "e": 1}, "options": {"cas": 1}})
    assert (await kv2.read("data/app")).data["data"] == {"a": {"c": 2}, "d": [1], "n": None, "e": 1}
    assert (await kv2.read("data/app", version=1)).data["data"]["a"] == {"b": 1, "c": 2}


async def test_patch_of_nothing_is_404(kv2):
    """What was never written cannot be patched, even if it has metadata."""
    await kv2.write("metadata/app", {"max_versions": 3})
    for path in ("data/no", "data/app"):
        with pytest.raises(NotFoundError):
            await kv2.patch(path, {"data": {"a": 1}})


async def test_patch_of_a_deleted_version_is_404_with_its_metadata(kv2):
    """A deleted or destroyed current version is not patched: 404 with the version's metadata."""
    await kv2.write("data/app", {"data": {"a": 1}})
    await kv2.delete("data/app")
    answer = await kv2.patch("data/app", {"data": {"a": 2}})
    assert (answer.status, answer.data["version"], answer.data["destroyed"]) == (404, 1, False)
    await kv2.write("destroy/app", {"versions": [1]})
    answer = await kv2.patch("data/app", {"data": {"a": 2}})
    assert (answer.status, answer.data["destroyed"]) == (404, True)


@pytest.mark.parametrize(
    ("target", "changes", "wanted"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({"a": "foo"}, {"a": {"b": {"c": None}}}, {"a": {"b": {}}}),
    ],
)
def test_merge_follows_rfc_7396(target, changes, wanted):
    """The examples of RFC 7396's appendix hold, and the target is not changed in place."""
    before = repr(target)
    assert merge(target, changes) == wanted
    assert repr(target) == before


async def test_deleted_version_is_404_with_a_body(kv2):
    """Deleting the current version hides its data and says when; the rest of the metadata stays."""
    await kv2.write("data/app", {"data": {"a": 1}})
    kv2.system.clock.advance(5)
    assert await kv2.delete("data/app") is None
    answer = await kv2.read("data/app")
    assert answer.status == 404
    assert answer.data == {
        "data": None,
        "metadata": {
            "created_time": "2026-11-23T10:00:00.000000Z",
            "custom_metadata": None,
            "deletion_time": "2026-11-23T10:00:05.000000Z",
            "destroyed": False,
            "version": 1,
        },
    }


async def test_deleting_twice_or_nothing_is_no_error(kv2):
    """A second delete keeps the first one's time; what is not there is deleted already."""
    assert await kv2.delete("data/no") is None
    await kv2.write("data/app", {"data": {}})
    await kv2.delete("data/app")
    kv2.system.clock.advance(5)
    await kv2.delete("data/app")
    answer = await kv2.read("data/app")
    assert answer.data["metadata"]["deletion_time"] == "2026-11-23T10:00:00.000000Z"


async def test_secrets_below_each_other_keep_apart(kv2):
    """A secret named like another's version, or below another secret, touches neither."""
    for path in ("data/a", "data/a/1", "data/a/1/2"):
        for n in (1, 2):
            await kv2.write(path, {"data": {"at": path, "n": n}})
    await kv2.delete("metadata/a")
    for path in ("data/a/1", "data/a/1/2"):
        for n in (1, 2):
            assert (await kv2.read(path, version=n)).data["data"] == {"at": path, "n": n}


async def test_the_longest_path_can_be_written_again(kv2):
    """A path that could be written once can be written twice: old versions' keys have one length."""
    path = "data/" + "p" * (2000 - len("mounts/0c7e1f3a/") - len(key_of("")))
    await kv2.write(path, {"data": {"n": 1}})
    await kv2.write(path, {"data": {"n": 2}})
    assert (await kv2.read(path, version=1)).data["data"] == {"n": 1}
    with pytest.raises(InvalidRequestError):
        await kv2.write(path + "p", {"data": {}})


async def test_existence_is_that_of_the_metadata(kv2):
    """For policies a secret exists from its first write or metadata until its metadata is deleted."""
    assert not await kv2.exists("data/app")
    await kv2.write("data/app", {"data": {}})
    await kv2.delete("data/app")
    assert await kv2.exists("data/app")
    assert await kv2.exists("metadata/app")
    await kv2.delete("metadata/app")
    assert not await kv2.exists("data/app")


def test_no_repr_shows_data():
    """Neither the request's fields nor the stored secret show data in their repr."""
    shown = repr(Content(path="x", data={"k": "canary"})) + repr(
        Secret(created_time="", updated_time="", data=b"canary")
    )
    assert "canary" not in shown


def test_past_keys_have_one_length():
    """The folder of old versions does not grow with the path."""
    assert len(past_of("a")) == len(past_of("b" * 1900))
