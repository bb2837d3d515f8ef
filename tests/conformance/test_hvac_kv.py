"""hvac: KV version 1, KV version 2 and the cubbyhole, complete."""

from __future__ import annotations

import datetime as dt
from typing import Any

import hvac
import pytest
from hvac import exceptions

from conformance.servers import Server


def test_v1_keeps_lists_and_forgets(api: hvac.Client, server: Server, kv1: str) -> None:
    """Any JSON is kept; folders end in a slash; nothing is left after deletion."""
    kv = api.secrets.kv.v1
    secret = {"text": "ä", "number": 1.5, "nested": {"list": [1, None, True]}, "ttl": "90m"}
    kv.create_or_update_secret("deep/down/x", secret, mount_point=kv1)
    kv.create_or_update_secret("deep/y", {"a": "1"}, method="PUT", mount_point=kv1)
    found = kv.read_secret("deep/down/x", mount_point=kv1)
    assert found["data"] == secret
    assert found["lease_duration"] == 5400, "the secret's own ttl"
    assert found["lease_id"] == ""
    assert found["renewable"] is False
    assert kv.read_secret("deep/y", mount_point=kv1)["lease_duration"] == 2764800
    assert kv.list_secrets("deep", mount_point=kv1)["data"]["keys"] == ["down/", "y"]
    assert kv.list_secrets("", mount_point=kv1)["data"]["keys"] == ["deep/"]
    kv.delete_secret("deep/down/x", mount_point=kv1)
    with pytest.raises(exceptions.InvalidPath):
        kv.read_secret("deep/down/x", mount_point=kv1)
    assert kv.list_secrets("deep", mount_point=kv1)["data"]["keys"] == ["y"]
    assert server.send("DELETE", f"{kv1}/never").status == 204


def test_v1_wants_something_to_keep(server: Server, kv1: str) -> None:
    """A write without fields is a 400."""
    assert server.send("POST", f"{kv1}/x", {}).status == 400
    assert server.send("GET", f"{kv1}/x").status == 404


def test_cubbyholes_are_one_for_each_token(api: hvac.Client, server: Server) -> None:
    """What one token keeps no other sees, not even root; it ends with its token."""
    one, two = (api.auth.token.create(policies=["default"])["auth"]["client_token"] for _ in range(2))
    assert server.send("POST", "cubbyhole/deep/x", {"a": "1"}, token=one).status == 204
    assert server.send("GET", "cubbyhole/deep/x", token=one).json["data"] == {"a": "1"}
    assert server.send("LIST", "cubbyhole/deep", token=one).json["data"]["keys"] == ["x"]
    for other in (two, server.root_token):
        assert server.send("GET", "cubbyhole/deep/x", token=other).status == 404
    assert server.send("DELETE", "cubbyhole/deep/x", token=one).status == 204
    assert server.send("GET", "cubbyhole/deep/x", token=one).status == 404


def test_v2_versions(api: hvac.Client, kv2: str) -> None:
    """Each write is a version; each can be read; the newest is the answer."""
    kv = api.secrets.kv.v2
    for number in (1, 2, 3):
        made = kv.create_or_update_secret("x", {"n": number}, mount_point=kv2)["data"]
        assert made["version"] == number
        assert made["destroyed"] is False
        assert made["deletion_time"] == ""
        assert made["custom_metadata"] is None
        assert dt.datetime.fromisoformat(made["created_time"].replace("Z", "+00:00")[:26] + "+00:00")
    newest = _read(api, kv2)
    assert newest["data"] == {"n": 3}
    assert newest["metadata"]["version"] == 3
    assert _read(api, kv2, version=1)["data"] == {"n": 1}
    with pytest.raises(exceptions.InvalidPath):
        _read(api, kv2, version=9)


def _read(api: hvac.Client, mount: str, path: str = "x", **how: Any) -> dict[str, Any]:
    found = api.secrets.kv.v2.read_secret_version(
        path, mount_point=mount, raise_on_deleted_version=True, **how
    )
    return dict(found["data"])


def test_v2_check_and_set(api: hvac.Client, server: Server, kv2: str) -> None:
    """0 means not there yet; another number must be the newest; required means required."""
    kv = api.secrets.kv.v2
    kv.create_or_update_secret("x", {"n": 1}, cas=0, mount_point=kv2)
    for wrong in (0, 7, -1):
        with pytest.raises(exceptions.InvalidRequest, match="check-and-set parameter did not match"):
            kv.create_or_update_secret("x", {"n": 2}, cas=wrong, mount_point=kv2)
    kv.create_or_update_secret("x", {"n": 2}, cas=1, mount_point=kv2)
    kv.configure(cas_required=True, mount_point=kv2)
    with pytest.raises(exceptions.InvalidRequest):
        kv.create_or_update_secret("x", {"n": 3}, mount_point=kv2)
    assert server.send("POST", f"{kv2}/data/x", {"data": {"n": 3}, "options": {"cas": "2"}}).status == 200


def test_v2_delete_undelete_destroy(api: hvac.Client, server: Server, kv2: str) -> None:
    """A deleted version is 404 with a body and comes back; a destroyed one does not."""
    kv = api.secrets.kv.v2
    for number in (1, 2, 3):
        kv.create_or_update_secret("x", {"n": number}, mount_point=kv2)
    kv.delete_latest_version_of_secret("x", mount_point=kv2)
    gone = server.send("GET", f"{kv2}/data/x")
    assert gone.status == 404
    assert gone.json["data"]["data"] is None
    assert gone.json["data"]["metadata"]["deletion_time"]
    assert gone.json["data"]["metadata"]["version"] == 3
    with pytest.raises(exceptions.InvalidPath):
        _read(api, kv2)
    kv.undelete_secret_versions("x", [3], mount_point=kv2)
    assert _read(api, kv2)["data"] == {"n": 3}
    kv.delete_secret_versions("x", [1, 2], mount_point=kv2)
    assert server.send("GET", f"{kv2}/data/x?version=2").status == 404
    kv.destroy_secret_versions("x", [2], mount_point=kv2)
    kv.undelete_secret_versions("x", [1, 2], mount_point=kv2)
    assert _read(api, kv2, version=1)["data"] == {"n": 1}
    destroyed = server.send("GET", f"{kv2}/data/x?version=2")
    assert destroyed.status == 404
    assert destroyed.json["data"]["metadata"]["destroyed"] is True
    kv.delete_metadata_and_all_versions("x", mount_point=kv2)
    assert server.send("GET", f"{kv2}/data/x").json["errors"] == []
    with pytest.raises(exceptions.InvalidPath):
        kv.read_secret_metadata("x", mount_point=kv2)


def test_v2_metadata(api: hvac.Client, server: Server, kv2: str) -> None:
    """Settings and custom metadata of a secret, before it has a version and after."""
    kv = api.secrets.kv.v2
    kv.update_metadata(
        "x", max_versions=2, cas_required=False, delete_version_after="3h25m19s",
        custom_metadata={"owner": "me"}, mount_point=kv2,
    )  # fmt: skip
    found = kv.read_secret_metadata("x", mount_point=kv2)["data"]
    assert found["max_versions"] == 2
    assert found["delete_version_after"] == "3h25m19s"
    assert found["custom_metadata"] == {"owner": "me"}
    assert found["versions"] == {}
    assert found["current_version"] == found["oldest_version"] == 0
    for number in (1, 2, 3):
        kv.create_or_update_secret("x", {"n": number}, mount_point=kv2)
    found = kv.read_secret_metadata("x", mount_point=kv2)["data"]
    assert list(found["versions"]) == ["2", "3"]
    assert (found["current_version"], found["oldest_version"]) == (3, 2)
    assert found["versions"]["3"]["deletion_time"], "each version ends by itself"
    assert _read(api, kv2)["metadata"]["custom_metadata"] == {"owner": "me"}
    patched = server.send(
        "PATCH", f"{kv2}/metadata/x", {"custom_metadata": {"team": "b", "owner": None}},
        headers={"Content-Type": "application/merge-patch+json"},
    )  # fmt: skip
    assert patched.status == 204
    assert kv.read_secret_metadata("x", mount_point=kv2)["data"]["custom_metadata"] == {"team": "b"}


def test_v2_unset_metadata_is_null(api: hvac.Client, kv2: str) -> None:
    """custom_metadata is null, delete_version_after 0s."""
    api.secrets.kv.v2.create_or_update_secret("x", {"n": 1}, mount_point=kv2)
    found = api.secrets.kv.v2.read_secret_metadata("x", mount_point=kv2)["data"]
    assert found["custom_metadata"] is None
    assert found["delete_version_after"] == "0s"
    assert found["max_versions"] == 0
    assert found["cas_required"] is False


def test_v2_configuration(api: hvac.Client, kv2: str) -> None:
    """The mount's settings are read back and bind secrets."""
    kv = api.secrets.kv.v2
    assert kv.read_configuration(mount_point=kv2)["data"]["max_versions"] == 0
    kv.configure(max_versions=2, cas_required=False, delete_version_after="1h", mount_point=kv2)
    found = kv.read_configuration(mount_point=kv2)["data"]
    assert (found["max_versions"], found["cas_required"], found["delete_version_after"]) == (
        2,
        False,
        "1h0m0s",
    )
    for number in range(4):
        kv.create_or_update_secret("x", {"n": number}, mount_point=kv2)
    assert list(kv.read_secret_metadata("x", mount_point=kv2)["data"]["versions"]) == ["3", "4"]


@pytest.mark.filterwarnings(
    "ignore:The raise_on_deleted_version:DeprecationWarning"
)  # hvac's patch reads so itself
def test_v2_patch_merges(api: hvac.Client, server: Server, kv2: str) -> None:
    """hvac's own (read and write) and the PATCH verb: null removes, objects merge, the rest stays."""
    kv = api.secrets.kv.v2
    kv.create_or_update_secret("x", {"a": "1", "b": {"c": 1, "d": 2}}, mount_point=kv2)
    kv.patch("x", {"e": "5"}, mount_point=kv2)
    merge = {"Content-Type": "application/merge-patch+json"}
    sent = server.send("PATCH", f"{kv2}/data/x", {"data": {"a": None, "b": {"c": 9}}}, headers=merge)
    assert sent.status == 200
    assert sent.json["data"]["version"] == 3
    assert _read(api, kv2)["data"] == {"b": {"c": 9, "d": 2}, "e": "5"}
    assert server.send("PATCH", f"{kv2}/data/none", {"data": {"a": 1}}, headers=merge).status == 404
    with pytest.raises(exceptions.InvalidPath):
        kv.patch("none", {"a": 1}, mount_point=kv2)
    stale = {"data": {"a": 1}, "options": {"cas": 1}}
    assert server.send("PATCH", f"{kv2}/data/x", stale, headers=merge).status == 400


def test_v2_subkeys_show_no_values(api: hvac.Client, server: Server, kv2: str) -> None:
    """The tree of keys, cut at a depth."""
    api.secrets.kv.v2.create_or_update_secret("x", {"a": {"b": {"c": "secret"}}, "d": [1]}, mount_point=kv2)
    whole = server.send("GET", f"{kv2}/subkeys/x").json["data"]
    assert whole["subkeys"] == {"a": {"b": {"c": None}}, "d": None}
    assert whole["metadata"]["version"] == 1
    assert server.send("GET", f"{kv2}/subkeys/x?depth=2").json["data"]["subkeys"] == {
        "a": {"b": None},
        "d": None,
    }
    assert server.send("GET", f"{kv2}/subkeys/none").status == 404


def test_v2_lists_folders(api: hvac.Client, server: Server, kv2: str) -> None:
    """By hvac, by ?list=true, at the root and below; an empty folder is 404 without texts."""
    kv = api.secrets.kv.v2
    for path in ("a/b/c", "a/d", "e"):
        kv.create_or_update_secret(path, {"n": 1}, mount_point=kv2)
    assert kv.list_secrets("", mount_point=kv2)["data"]["keys"] == ["a/", "e"]
    assert kv.list_secrets("a", mount_point=kv2)["data"]["keys"] == ["b/", "d"]
    assert server.send("GET", f"{kv2}/metadata/a/?list=true").json["data"]["keys"] == ["b/", "d"]
    with pytest.raises(exceptions.InvalidPath):
        kv.list_secrets("none", mount_point=kv2)


def test_v2_wrong_bodies_are_refused(server: Server, kv2: str) -> None:
    """No data, data that is no object, options that are none, versions that are no numbers."""
    for path, body in (
        ("data/x", {}),
        ("data/x", {"data": "text"}),
        ("data/x", {"data": [1]}),
        ("data/x", {"data": {"a": 1}, "options": "text"}),
        ("data/x", {"data": {"a": 1}, "options": {"cas": "x"}}),
        ("delete/x", {}),
        ("undelete/x", {"versions": []}),
        ("destroy/x", {"versions": ["x"]}),
        ("config", {"delete_version_after": "soon"}),
        ("metadata/x", {"custom_metadata": "text"}),
        ("metadata/x", {"custom_metadata": {"k": "v" * 600}}),
    ):
        assert server.send("POST", f"{kv2}/{path}", body).status == 400, (path, body)
    assert server.send("GET", f"{kv2}/data/x").status == 404


def test_v2_spoken_to_as_v1_is_404_with_a_warning(server: Server, kv2: str) -> None:
    """The body says which path was meant."""
    answer = server.send("GET", f"{kv2}/x")
    assert answer.status == 404
    assert answer.json["warnings"]
    assert answer.json["data"] is None
