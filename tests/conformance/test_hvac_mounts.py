"""hvac: secrets engines and auth methods: enable, list, tune, disable."""

from __future__ import annotations

import hvac
import pytest
from hvac import exceptions

from conformance.servers import Server

MONTH = 2764800  # seconds


def test_a_mount_lives_from_enable_to_disable(api: hvac.Client, server: Server, name: str) -> None:
    """It is usable when the call has answered, listed twice over, and gone when it was disabled."""
    api.sys.enable_secrets_engine(
        "kv", path=name, description="of a test", options={"version": "1"},
        config={"default_lease_ttl": "30m", "max_lease_ttl": "3600"},
    )  # fmt: skip
    api.secrets.kv.v1.create_or_update_secret("x", {"a": "1"}, mount_point=name)
    listed = api.sys.list_mounted_secrets_engines()
    assert listed[f"{name}/"] == listed["data"][f"{name}/"]
    entry = listed["data"][f"{name}/"]
    assert entry["type"] == "kv"
    assert entry["description"] == "of a test"
    assert entry["options"] == {"version": "1"}
    assert entry["config"]["default_lease_ttl"] == 1800
    assert entry["config"]["max_lease_ttl"] == 3600
    assert entry["local"] is entry["seal_wrap"] is False
    assert entry["accessor"].startswith("kv_")
    assert entry["uuid"]
    assert {"sys/", "cubbyhole/"} <= set(listed["data"])
    api.sys.disable_secrets_engine(name)
    assert server.send("GET", f"{name}/x").status == 404
    assert f"{name}/" not in api.sys.list_mounted_secrets_engines()["data"]
    api.sys.enable_secrets_engine("kv", path=name, options={"version": "1"})
    assert server.send("GET", f"{name}/x").status == 404, "what was stored died with the mount"
    api.sys.disable_secrets_engine(name)


def test_a_path_holds_one_mount(api: hvac.Client, server: Server, kv1: str) -> None:
    """The same path, one above and one below it are in use."""
    for path in (kv1, f"{kv1}/below"):
        answer = server.send("POST", f"sys/mounts/{path}", {"type": "kv"})
        assert answer.status == 400
        assert "path is already in use at" in answer.errors[0]


def test_reserved_and_odd_mounts_are_refused(server: Server, name: str) -> None:
    """Nobody mounts at sys or auth, and nothing of an unknown type."""
    for path, body in (
        ("sys/mine", {"type": "kv"}),
        ("auth/mine", {"type": "kv"}),
        (name, {"type": "nonsense"}),
        (name, {}),
        (name, {"type": "sys"}),
        (name, {"type": "kv", "config": {"default_lease_ttl": "2h", "max_lease_ttl": "1h"}}),
        (name, {"type": "kv", "config": {"default_lease_ttl": "soon"}}),
    ):
        assert server.send("POST", f"sys/mounts/{path}", body).status in {400, 403, 404}, (path, body)
    assert f"{name}/" not in server.send("GET", "sys/mounts").json["data"]
    for path in ("sys", "cubbyhole"):
        assert server.send("DELETE", f"sys/mounts/{path}").status == 400, path


def test_disabling_what_is_not_there_is_no_error(server: Server, name: str) -> None:
    """As in Vault."""
    assert server.send("DELETE", f"sys/mounts/{name}").status == 204
    assert server.send("DELETE", f"sys/auth/{name}").status in {204, 400}


def test_tuning_shows_and_binds(api: hvac.Client, server: Server, kv1: str) -> None:
    """Defaults are 2764800; each field can be set and is read back, at top level too."""
    before = api.sys.read_mount_configuration(kv1)
    assert before["data"]["default_lease_ttl"] == before["data"]["max_lease_ttl"] == MONTH
    assert before["default_lease_ttl"] == MONTH
    api.sys.tune_mount_configuration(
        kv1, default_lease_ttl="10m", max_lease_ttl="1h", description="tuned",
        listing_visibility="unauth", audit_non_hmac_request_keys=["a"], audit_non_hmac_response_keys=["b"],
        passthrough_request_headers=["X-Mine"],
    )  # fmt: skip
    after = api.sys.read_mount_configuration(kv1)["data"]
    assert (after["default_lease_ttl"], after["max_lease_ttl"]) == (600, 3600)
    assert after["description"] == "tuned"
    assert after["listing_visibility"] == "unauth"
    assert after["audit_non_hmac_request_keys"] == ["a"]
    assert after["audit_non_hmac_response_keys"] == ["b"]
    assert after["passthrough_request_headers"] == ["X-Mine"]
    assert api.sys.list_mounted_secrets_engines()["data"][f"{kv1}/"]["description"] == "tuned"
    for wrong in ({"default_lease_ttl": "2h"}, {"listing_visibility": "loud"}, {"max_lease_ttl": "x"}):
        assert server.send("POST", f"sys/mounts/{kv1}/tune", wrong).status == 400, wrong


def test_tuning_what_is_not_there_is_an_error(server: Server, name: str) -> None:
    """A 4xx for reading and writing."""
    assert server.send("GET", f"sys/mounts/{name}/tune").status in {400, 404}
    assert server.send("POST", f"sys/mounts/{name}/tune", {"description": "x"}).status in {400, 404}


def test_one_mount_is_read_by_its_path(server: Server, kv2: str) -> None:
    """sys/mounts/{path} tells its type and options."""
    found = server.send("GET", f"sys/mounts/{kv2}").json["data"]
    assert found["type"] == "kv"
    assert found["options"] == {"version": "2"}


def test_the_preflight_of_the_kv_command(api: hvac.Client, server: Server, kv2: str, name: str) -> None:
    """internal/ui/mounts/<path> tells type, path and version to who may use the mount, and 403 to others."""
    found = server.send("GET", f"sys/internal/ui/mounts/{kv2}/some/deep/path").json["data"]
    assert found["type"] == "kv"
    assert found["path"] == f"{kv2}/"
    assert found["options"]["version"] == "2"
    assert server.send("GET", "sys/internal/ui/mounts/auth/token").json["data"]["path"] == "token/"
    every = server.send("GET", "sys/internal/ui/mounts").json["data"]
    assert f"{kv2}/" in every["secret"]
    assert "token/" in every["auth"]
    api.sys.create_or_update_policy(name, f'path "{kv2}/data/*" {{ capabilities = ["read"] }}')
    user = api.auth.token.create(policies=[name], num_uses=2)["auth"]["client_token"]
    for _ in range(5):
        assert server.send("GET", f"sys/internal/ui/mounts/{kv2}/x", token=user).status == 200
    stranger = api.auth.token.create(policies=["default"])["auth"]["client_token"]
    assert server.send("GET", f"sys/internal/ui/mounts/{kv2}", token=stranger).status == 403
    assert server.send("GET", f"sys/internal/ui/mounts/{name}").status == 403


def test_generic_is_the_old_name_of_kv(api: hvac.Client, name: str) -> None:
    """Mounted as ``generic``, it keeps secrets as KV v1."""
    api.sys.enable_secrets_engine("generic", path=name)
    api.secrets.kv.v1.create_or_update_secret("x", {"a": "1"}, mount_point=name)
    assert api.secrets.kv.v1.read_secret("x", mount_point=name)["data"] == {"a": "1"}
    api.sys.disable_secrets_engine(name)


def test_kv_v2_by_its_type(api: hvac.Client, name: str) -> None:
    """``kv-v2`` is a KV of version 2."""
    api.sys.enable_secrets_engine("kv-v2", path=name)
    api.secrets.kv.v2.create_or_update_secret("x", {"a": "1"}, mount_point=name)
    assert api.sys.list_mounted_secrets_engines()["data"][f"{name}/"]["options"] == {"version": "2"}
    api.sys.disable_secrets_engine(name)


@pytest.mark.parametrize("version", [1, 2, "2"])
def test_options_may_be_numbers(api: hvac.Client, name: str, version: int | str) -> None:
    """Scripts give the version as it comes to them; it is shown as text."""
    api.sys.enable_secrets_engine("kv", path=name, options={"version": version})
    assert api.sys.list_mounted_secrets_engines()["data"][f"{name}/"]["options"] == {"version": str(version)}
    api.sys.disable_secrets_engine(name)


def test_a_deep_mount_and_its_neighbours(api: hvac.Client, server: Server, name: str) -> None:
    """Mounts of several segments live beside each other."""
    for path in (f"{name}/a/b", f"{name}/a/c"):
        api.sys.enable_secrets_engine("kv", path=path, options={"version": "1"})
        api.secrets.kv.v1.create_or_update_secret("x", {"at": path}, mount_point=path)
    for path in (f"{name}/a/b", f"{name}/a/c"):
        assert api.secrets.kv.v1.read_secret("x", mount_point=path)["data"] == {"at": path}
        api.sys.disable_secrets_engine(path)


def test_an_auth_method_lives_from_enable_to_disable(api: hvac.Client, server: Server, name: str) -> None:
    """Enabled, listed, tuned, used, disabled; its tokens end with it."""
    api.sys.enable_auth_method(
        "userpass", path=name, description="people", config={"default_lease_ttl": "45m"}
    )
    listed = api.sys.list_auth_methods()
    assert listed[f"{name}/"] == listed["data"][f"{name}/"]
    assert listed["data"][f"{name}/"]["type"] == "userpass"
    assert listed["data"][f"{name}/"]["description"] == "people"
    assert listed["data"]["token/"]["type"] == "token"
    tuning = api.sys.read_auth_method_tuning(name)["data"]
    assert tuning["default_lease_ttl"] == 2700
    assert tuning["token_type"] == "default-service"
    api.sys.tune_auth_method(name, default_lease_ttl="20m", max_lease_ttl="40m", description="folk")
    assert api.sys.read_auth_method_tuning(name)["data"]["max_lease_ttl"] == 2400
    api.auth.userpass.create_or_update_user("ann", "secret-1", policies=["default"], mount_point=name)
    made = server.client("").auth.userpass.login("ann", "secret-1", mount_point=name)["auth"]
    assert made["lease_duration"] == 1200
    api.sys.disable_auth_method(name)
    assert server.send("GET", "auth/token/lookup-self", token=made["client_token"]).status == 403
    assert f"{name}/" not in api.sys.list_auth_methods()["data"]


def test_the_token_method_stays(server: Server) -> None:
    """auth/token is neither disabled nor enabled again."""
    assert server.send("DELETE", "sys/auth/token").status == 400
    assert server.send("POST", "sys/auth/token", {"type": "token"}).status == 400
    assert server.send("GET", "sys/auth/token/tune").json["data"]["default_lease_ttl"] == MONTH


def test_an_unknown_auth_method_is_refused(api: hvac.Client, name: str) -> None:
    """A 400 that enables nothing."""
    with pytest.raises(exceptions.InvalidRequest):
        api.sys.enable_auth_method("nonsense", path=name)
    assert f"{name}/" not in api.sys.list_auth_methods()["data"]


def test_a_move_is_done_when_it_answers(api: hvac.Client, server: Server, kv1: str, name: str) -> None:
    """What was stored is at the new path at once, and nothing at the old one; its status can be read."""
    api.secrets.kv.v1.create_or_update_secret("x", {"a": "1"}, mount_point=kv1)
    moved = api.sys.move_backend(kv1, f"moved-{name}")
    assert moved["data"]["migration_id"]
    status = server.send("GET", f"sys/remount/status/{moved['data']['migration_id']}").json["data"]
    assert status["migration_info"]["status"] in {"success", "in-progress"}
    if server.target == "secretd":
        assert status["migration_info"]["status"] == "success"
        assert api.secrets.kv.v1.read_secret("x", mount_point=f"moved-{name}")["data"] == {"a": "1"}
        assert server.send("GET", f"{kv1}/x").status == 404
    api.sys.disable_secrets_engine(f"moved-{name}")
