"""KV v2: metadata, custom metadata, listing, the mount's settings, subkeys, misplaced paths."""

from __future__ import annotations

import asyncio

import pytest

from secretd.sdk.errors import InvalidRequestError, NotFoundError, UnsupportedOperationError
from secretd.sdk.request import DELETE, LIST, PATCH, READ, UPDATE


async def test_metadata_of_a_written_secret(kv2):
    """The answer has all of Vault's fields; version keys are text."""
    await kv2.write("data/app", {"data": {}})
    kv2.system.clock.advance(1)
    await kv2.write("data/app", {"data": {}})
    first, second = "2026-11-23T10:00:00.000000Z", "2026-11-23T10:00:01.000000Z"
    assert (await kv2.read("metadata/app")).data == {
        "cas_required": False,
        "created_time": first,
        "current_metadata_version": 0,
        "current_version": 2,
        "custom_metadata": None,
        "delete_version_after": "0s",
        "max_versions": 0,
        "metadata_cas_required": False,
        "oldest_version": 0,
        "updated_time": second,
        "versions": {
            "1": {"created_time": first, "deletion_time": "", "destroyed": False},
            "2": {"created_time": second, "deletion_time": "", "destroyed": False},
        },
    }


async def test_metadata_may_come_before_data(kv2):
    """Metadata makes a secret without versions: reading its data is 404, listing finds it, cas 0 writes it."""
    settings = {"max_versions": 2, "cas_required": True, "delete_version_after": "3h25m19s"}
    assert await kv2.write("metadata/app", {**settings, "custom_metadata": {"a": "b"}}) is None
    found = (await kv2.read("metadata/app")).data
    assert {**found, **settings, "custom_metadata": {"a": "b"}, "versions": {}} == found
    with pytest.raises(NotFoundError):
        await kv2.read("data/app")
    assert (await kv2.list("metadata")).data == {"keys": ["app"]}
    with pytest.raises(InvalidRequestError, match="^check-and-set parameter required for this call$"):
        await kv2.write("data/app", {"data": {}})
    answer = await kv2.write("data/app", {"data": {}, "options": {"cas": 0}})
    assert answer.data["custom_metadata"] == {"a": "b"}
    with pytest.raises(InvalidRequestError, match="required"):
        await kv2.patch("data/app", {"data": {"a": 1}})


async def test_nothing_said_changes_nothing(kv2):
    """A body without settings makes no secret, by POST or PATCH."""
    for body in ({}, {"unheard_of": 1}):
        assert await kv2.write("metadata/app", body) is None
        assert await kv2.patch("metadata/app", body) is None
    assert not await kv2.exists("metadata/app")


async def test_unknown_fields_are_named(kv2):
    """Fields that mean nothing are told to the caller."""
    await kv2.write("metadata/app", {"max_versions": 1, "unheard_of": 1})
    assert kv2.last.warnings == ["unknown field unheard_of"]


async def test_write_replaces_words_and_keeps_other_settings(kv2):
    """POST replaces ``custom_metadata`` whole and leaves alone what it does not name."""
    await kv2.write("metadata/app", {"max_versions": 5, "custom_metadata": {"a": "1", "b": "2"}})
    await kv2.write("metadata/app", {"custom_metadata": {"c": 3}})
    found = (await kv2.read("metadata/app")).data
    assert (found["custom_metadata"], found["max_versions"]) == ({"c": "3"}, 5)
    for nothing in ({}, None):
        await kv2.write("metadata/app", {"custom_metadata": {"a": "1"}})
        await kv2.write("metadata/app", {"custom_metadata": nothing})
        assert (await kv2.read("metadata/app")).data["custom_metadata"] is None


async def test_patch_merges_words(kv2):
    """PATCH adds, replaces and with null removes words; null for a setting is its default."""
    await kv2.write(
        "metadata/app",
        {"max_versions": 5, "cas_required": True, "delete_version_after": 10, "custom_metadata": {"a": "1", "b": "2"}},
    )  # fmt: skip
    await kv2.patch("metadata/app", {"custom_metadata": {"a": None, "b": "3", "c": "4"}})
    found = (await kv2.read("metadata/app")).data
    assert (found["custom_metadata"], found["max_versions"]) == ({"b": "3", "c": "4"}, 5)
    await kv2.patch(
        "metadata/app",
        {"max_versions": None, "cas_required": None, "delete_version_after": None, "custom_metadata": None},
    )
    found = (await kv2.read("metadata/app")).data
    assert (found["max_versions"], found["cas_required"], found["delete_version_after"]) == (0, False, "0s")
    assert found["custom_metadata"] is None


async def test_patch_of_a_missing_secret_is_404(kv2):
    """PATCH makes no secret."""
    with pytest.raises(NotFoundError):
        await kv2.patch("metadata/no", {"max_versions": 1})
    assert not await kv2.exists("metadata/no")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({f"k{n}": "v" for n in range(65)}, "at most 64 keys, provided 65"),
        ({"k" * 129: "v"}, r"length of key is 129 but must be 0 < len\(key\) <= 128"),
        ({"é" * 65: "v"}, "length of key is 130"),
        ({"": "v"}, "length of key is 0"),
        ({"k": "v" * 513}, r"length of value is 513 but must be 0 < len\(value\) <= 512"),
        ({"k": ""}, "length of value is 0"),
        ({"k\u0001": "v"}, "a key contains unprintable characters"),
        ({"k": "\u0001"}, "a value contains unprintable characters"),
        ({"k": ["v"]}, "values must be text"),
        ({"k": True}, "values must be text"),
        ({"k": {"a": "b"}}, "values must be text"),
    ],
)
async def test_words_have_vaults_limits(kv2, words, reason):
    """At most 64 words, printable, of limited length: more is refused, by POST and PATCH, and nothing changes."""
    await kv2.write("metadata/app", {"max_versions": 1})
    for deed in (kv2.write, kv2.patch):
        with pytest.raises(InvalidRequestError, match=f"^custom_metadata validation failed: .*{reason}"):
            await deed("metadata/app", {"custom_metadata": words, "max_versions": 9})
    found = (await kv2.read("metadata/app")).data
    assert (found["custom_metadata"], found["max_versions"]) == (None, 1)


async def test_merged_words_are_counted_together(kv2):
    """PATCH cannot grow the words past 64; 64 fit, of the longest key and value."""
    words = {f"{n:0>128}": "v" * 512 for n in range(64)}
    await kv2.write("metadata/app", {"custom_metadata": words})
    with pytest.raises(InvalidRequestError, match="at most 64"):
        await kv2.patch("metadata/app", {"custom_metadata": {"one more": "v"}})
    assert (await kv2.read("metadata/app")).data["custom_metadata"] == words


@pytest.mark.parametrize(
    "body",
    [
        {"max_versions": -1}, {"max_versions": 2**32}, {"max_versions": "canary"}, {"cas_required": "canary"},
        {"delete_version_after": "canary"}, {"delete_version_after": "-5s"}, {"custom_metadata": "canary"},
    ],
)  # fmt: skip
async def test_impossible_settings_are_refused(kv2, body):
    """Settings of a wrong type or size are a 400 that names the field and does not echo the value."""
    with pytest.raises(InvalidRequestError) as error:
        await kv2.write("metadata/app", body)
    assert next(iter(body)) in error.value.message
    assert "canary" not in error.value.message
    assert not await kv2.exists("metadata/app")


async def test_metadata_check_and_set(kv2):
    """OpenBao's ``metadata_cas``: required by secret or mount, it must be the metadata's version."""
    await kv2.write("metadata/app", {"metadata_cas_required": True})
    with pytest.raises(
        InvalidRequestError, match="^metadata check-and-set parameter required for this call$"
    ):
        await kv2.write("metadata/app", {"max_versions": 3})
    with pytest.raises(InvalidRequestError, match="^metadata check-and-set parameter does not match"):
        await kv2.write("metadata/app", {"max_versions": 3, "metadata_cas": 9})
    await kv2.write("metadata/app", {"max_versions": 3, "metadata_cas": 1})
    assert (await kv2.read("metadata/app")).data["current_metadata_version"] == 2
    await kv2.write("config", {"metadata_cas_required": True})
    with pytest.raises(InvalidRequestError, match="required"):
        await kv2.write("metadata/other", {"max_versions": 3})
    await kv2.write("metadata/other", {"max_versions": 3, "metadata_cas": 0})


async def test_deleting_metadata_removes_everything(kv2):
    """No entry of the secret is left, and its numbers begin at 1 again."""
    for _ in range(3):
        await kv2.write("data/app", {"data": {"a": 1}})
    assert await kv2.delete("metadata/app") is None
    assert await kv2.view.list("") == []
    assert await kv2.delete("metadata/app") is None
    assert (await kv2.write("data/app", {"data": {}})).data["version"] == 1
    assert (await kv2.write("data/app", {"data": {}})).data["version"] == 2


async def test_deleting_against_writers_leaves_nothing_behind(kv2):
    """Whichever order deletes and writes take, the old data in storage is that of listed versions."""
    await kv2.write("data/app", {"data": {}})
    for _ in range(3):
        await asyncio.gather(
            kv2.delete("metadata/app"), *(kv2.write("data/app", {"data": {}}) for _ in range(3))
        )
    await kv2.write("data/app", {"data": {}})
    listed = list((await kv2.read("metadata/app")).data["versions"])
    folders = await kv2.view.list("past/")
    assert len(folders) <= 1
    assert [name for folder in folders for name in await kv2.view.list(f"past/{folder}")] == listed[:-1]


async def test_listing_shows_names_and_folders(kv2):
    """A folder and a secret of one name both show; root and folders list with and without a slash."""
    for path in ("b", "a/x", "a/y/z", "a", "é/ü"):
        await kv2.write(f"data/{path}", {"data": {}})
    for root in ("metadata", "metadata/"):
        assert (await kv2.list(root)).data == {"keys": ["a", "a/", "b", "é/"]}
    for folder in ("metadata/a", "metadata/a/"):
        assert (await kv2.list(folder)).data == {"keys": ["x", "y/"]}
    assert (await kv2.list("metadata", after="a", limit=2)).data == {"keys": ["a/", "b"]}
    assert (await kv2.list("metadata/b")).data == {"keys": []}


async def test_listing_shows_deleted_secrets(kv2):
    """A secret whose versions are all deleted is still listed."""
    await kv2.write("data/app", {"data": {}})
    await kv2.delete("data/app")
    assert (await kv2.list("metadata")).data == {"keys": ["app"]}


async def test_config_is_read_written_and_kept(kv2):
    """The mount's settings have Vault's defaults; each write changes what it names, null is the default."""
    nothing = {
        "cas_required": False,
        "delete_version_after": "0s",
        "max_versions": 0,
        "metadata_cas_required": False,
    }
    assert (await kv2.read("config")).data == nothing
    await kv2.write("config", {"max_versions": "3", "delete_version_after": "1h"})
    await kv2.write("config", {"cas_required": True})
    wanted = {**nothing, "cas_required": True, "delete_version_after": "1h0m0s", "max_versions": 3}
    assert (await kv2.read("config")).data == wanted
    with pytest.raises(InvalidRequestError, match="^check-and-set parameter required for this call$"):
        await kv2.write("data/app", {"data": {}})
    await kv2.write("config", {"cas_required": None, "delete_version_after": None, "max_versions": None})
    assert (await kv2.read("config")).data == nothing


SHAPE = {"a": {"b": {"c": 1}, "e": {}}, "l": [{"x": 1}], "n": None, "s": "t"}


@pytest.mark.parametrize(
    ("depth", "wanted"),
    [
        ("0", {"a": {"b": {"c": None}, "e": None}, "l": None, "n": None, "s": None}),
        ("1", {"a": None, "l": None, "n": None, "s": None}),
        ("2", {"a": {"b": None, "e": None}, "l": None, "n": None, "s": None}),
        ("9", {"a": {"b": {"c": None}, "e": None}, "l": None, "n": None, "s": None}),
    ],
)
async def test_subkeys_show_names_without_values(kv2, depth, wanted):
    """Names to the wanted depth, null for every value; lists and empty objects are values."""
    await kv2.write("data/app", {"data": SHAPE})
    answer = await kv2.read("subkeys/app", depth=depth)
    assert answer.data["subkeys"] == wanted
    assert answer.data["metadata"]["version"] == 1


async def test_subkeys_of_versions(kv2):
    """An old version has its own subkeys; a deleted one is 404 with null; a missing one 404 without body."""
    await kv2.write("data/app", {"data": {"a": 1}})
    await kv2.write("data/app", {"data": {}})
    assert (await kv2.read("subkeys/app", version="1")).data["subkeys"] == {"a": None}
    assert (await kv2.read("subkeys/app")).data["subkeys"] == {}
    await kv2.delete("data/app")
    answer = await kv2.read("subkeys/app")
    assert (answer.status, answer.data["subkeys"], answer.data["metadata"]["version"]) == (404, None, 2)
    for path, query in (("subkeys/app", {"version": 9}), ("subkeys/no", {})):
        with pytest.raises(NotFoundError):
            await kv2.read(path, **query)


@pytest.mark.parametrize(
    ("operation", "verb"),
    [(READ, "get"), (UPDATE, "put"), (DELETE, "delete"), (LIST, "list"), (PATCH, "patch")],
)
@pytest.mark.parametrize("path", ["app", "app/data/x", "", "database"])
async def test_paths_of_v1_are_404_with_a_warning(kv2, operation, verb, path):
    """A v1-style path is 404 with a body that says which engine this is; its fields raise no warning of their own."""
    answer = await kv2.ask(operation, path, {"a": 1})
    assert (answer.status, answer.data, kv2.last.warnings) == (404, None, [])
    (warning,) = answer.warnings
    assert warning.startswith("Invalid path for a versioned K/V secrets engine")
    assert f"kv {verb}`" in warning


@pytest.mark.parametrize("path", ["data", "metadata", "subkeys", "delete"])
async def test_roots_only_list(kv2, path):
    """Reading the bare word is 404 with Vault's warning."""
    answer = await kv2.read(path)
    assert answer.status == 404
    assert answer.warnings == ["Non-listing operations on the root of a K/V v2 mount are not supported."]


@pytest.mark.parametrize(
    ("operation", "path"),
    [
        (LIST, "data/app"), (READ, "delete/app"), (READ, "destroy/app"), (LIST, "subkeys/app"),
        (UPDATE, "subkeys/app"), (DELETE, "undelete/app"), (PATCH, "config"), (DELETE, "config"), (LIST, "config"),
    ],
)  # fmt: skip
async def test_operations_that_a_path_does_not_have(kv2, operation, path):
    """A path of the table under another operation is an unsupported operation, not a v1 path."""
    with pytest.raises(UnsupportedOperationError):
        await kv2.ask(operation, path, {})
