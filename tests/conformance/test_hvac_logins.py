"""hvac: logins by userpass and approle in their plain form."""

from __future__ import annotations

from collections.abc import Iterator

import hvac
import pytest
from hvac import exceptions

from conformance.servers import Server


@pytest.fixture
def people(api: hvac.Client, name: str) -> Iterator[str]:
    """A userpass mount of this test's own."""
    api.sys.enable_auth_method("userpass", path=f"up-{name}")
    yield f"up-{name}"
    api.sys.disable_auth_method(f"up-{name}")


@pytest.fixture
def machines(api: hvac.Client, name: str) -> Iterator[str]:
    """An approle mount of this test's own."""
    api.sys.enable_auth_method("approle", path=f"ar-{name}")
    yield f"ar-{name}"
    api.sys.disable_auth_method(f"ar-{name}")


def test_a_user_is_made_logs_in_changes_and_goes(api: hvac.Client, server: Server, people: str) -> None:
    """The whole life of a user."""
    up = api.auth.userpass
    up.create_or_update_user("Ann", "first", policies=["one", "two"], mount_point=people, token_ttl="1h")
    assert up.list_user(mount_point=people)["data"]["keys"] == ["ann"]
    found = up.read_user("ann", mount_point=people)["data"]
    assert found["token_policies"] == ["one", "two"]
    assert found["token_ttl"] == 3600
    assert "password" not in found
    made = server.client("").auth.userpass.login("ann", "first", mount_point=people)["auth"]
    assert made["policies"] == ["default", "one", "two"]
    assert made["metadata"] == {"username": "ann"}
    assert made["lease_duration"] == 3600
    assert made["renewable"] is True
    client = server.client(made["client_token"])
    own = client.lookup_token()["data"]
    assert own["display_name"] == f"{people}-ann"
    assert own["path"] == f"auth/{people}/login/ann"
    assert own["orphan"] is True
    up.update_password_on_user("ann", "second", mount_point=people)
    with pytest.raises(exceptions.InvalidRequest):
        server.client("").auth.userpass.login("ann", "first", mount_point=people)
    server.client("").auth.userpass.login("ANN", "second", mount_point=people)
    assert server.send("POST", f"auth/{people}/users/ann/policies", {"token_policies": "three"}).status == 204
    assert up.read_user("ann", mount_point=people)["data"]["token_policies"] == ["three"]
    up.delete_user("ann", mount_point=people)
    assert server.send("GET", f"auth/{people}/users/ann").status == 404
    with pytest.raises(exceptions.InvalidRequest):
        server.client("").auth.userpass.login("ann", "second", mount_point=people)


def test_a_wrong_password_and_an_unknown_user_are_told_alike(
    api: hvac.Client, server: Server, people: str
) -> None:
    """400 with one text: nobody learns who exists."""
    api.auth.userpass.create_or_update_user("ann", "right", mount_point=people)
    answers = [
        server.send("POST", f"auth/{people}/login/{user}", {"password": "wrong"}, token="")
        for user in ("ann", "bob")
    ]
    assert [one.status for one in answers] == [400, 400]
    assert answers[0].errors == answers[1].errors == ["invalid username or password"]
    assert server.send("POST", f"auth/{people}/login/ann", {}, token="").status == (
        500 if server.target == "bao" else 400
    )


def test_a_login_where_nobody_logs_in_is_403(server: Server, name: str) -> None:
    """An unknown auth path is told as a missing right."""
    answer = server.send("POST", f"auth/{name}/login/ann", {"password": "x"}, token="")
    assert answer.status == 403
    assert any("permission denied" in text for text in answer.errors)


def test_users_tokens_have_their_limits(api: hvac.Client, server: Server, people: str) -> None:
    """Uses, period, explicit maximum and no-default-policy of the user hold for its tokens."""
    body = {
        "password": "x", "token_policies": ["one"], "token_no_default_policy": True, "token_num_uses": 2,
        "token_ttl": "10m", "token_max_ttl": "20m", "token_explicit_max_ttl": "30m",
    }  # fmt: skip
    assert server.send("POST", f"auth/{people}/users/ann", body).status == 204
    made = server.client("").auth.userpass.login("ann", "x", mount_point=people)["auth"]
    assert made["policies"] == ["one"]
    assert made["lease_duration"] == 600
    found = api.auth.token.lookup(made["client_token"])["data"]
    assert found["num_uses"] == 2
    assert found["explicit_max_ttl"] == 1800


def test_a_role_logs_in_by_its_two_ids(api: hvac.Client, server: Server, machines: str) -> None:
    """The whole life of an approle."""
    ar = api.auth.approle
    ar.create_or_update_approle(
        "app", token_policies=["one"], token_ttl="30m", token_max_ttl="1h", mount_point=machines
    )
    assert ar.list_roles(mount_point=machines)["data"]["keys"] == ["app"]
    found = ar.read_role("app", mount_point=machines)["data"]
    assert found["token_policies"] == ["one"]
    assert found["token_ttl"] == 1800
    assert found["bind_secret_id"] is True
    role_id = ar.read_role_id("app", mount_point=machines)["data"]["role_id"]
    made = ar.generate_secret_id("app", metadata={"host": "h"}, mount_point=machines)["data"]
    assert {"secret_id", "secret_id_accessor", "secret_id_ttl", "secret_id_num_uses"} <= set(made)
    login = server.client("").auth.approle.login(role_id, made["secret_id"], mount_point=machines)["auth"]
    assert login["policies"] == ["default", "one"]
    assert login["metadata"]["role_name"] == "app"
    assert login["metadata"]["host"] == "h"
    assert login["lease_duration"] == 1800
    assert server.client(login["client_token"]).is_authenticated()
    shown = ar.read_secret_id("app", made["secret_id"], mount_point=machines)["data"]
    assert shown["secret_id_accessor"] == made["secret_id_accessor"]
    assert shown["metadata"] == {"host": "h"}
    assert "secret_id" not in shown
    by_accessor = ar.read_secret_id_accessor("app", made["secret_id_accessor"], mount_point=machines)["data"]
    assert by_accessor["metadata"] == {"host": "h"}
    assert ar.list_secret_id_accessors("app", mount_point=machines)["data"]["keys"] == [
        made["secret_id_accessor"]
    ]
    ar.destroy_secret_id("app", made["secret_id"], mount_point=machines)
    with pytest.raises(exceptions.InvalidRequest, match="invalid role or secret ID"):
        server.client("").auth.approle.login(role_id, made["secret_id"], mount_point=machines)
    ar.delete_role("app", mount_point=machines)
    assert server.send("GET", f"auth/{machines}/role/app").status == 404


def test_chosen_ids_work(api: hvac.Client, server: Server, machines: str, name: str) -> None:
    """A role id and a secret id of the operator's choice; destroyed by accessor."""
    ar = api.auth.approle
    ar.create_or_update_approle("app", mount_point=machines)
    ar.update_role_id("app", f"role-{name}", mount_point=machines)
    made = ar.create_custom_secret_id("app", f"secret-{name}", mount_point=machines)["data"]
    assert made["secret_id"] == f"secret-{name}"
    server.client("").auth.approle.login(f"role-{name}", f"secret-{name}", mount_point=machines)
    ar.destroy_secret_id_accessor("app", made["secret_id_accessor"], mount_point=machines)
    refused = server.send(
        "POST", f"auth/{machines}/login", {"role_id": f"role-{name}", "secret_id": f"secret-{name}"}, token=""
    )
    assert refused.status == 400
    assert refused.errors == ["invalid role or secret ID"]


def test_a_secret_id_is_used_up(api: hvac.Client, server: Server, machines: str) -> None:
    """After its last use it is refused."""
    ar = api.auth.approle
    ar.create_or_update_approle("app", secret_id_num_uses=1, secret_id_ttl="10m", mount_point=machines)
    role_id = ar.read_role_id("app", mount_point=machines)["data"]["role_id"]
    made = ar.generate_secret_id("app", mount_point=machines)["data"]
    assert (made["secret_id_num_uses"], made["secret_id_ttl"]) == (1, 600)
    server.client("").auth.approle.login(role_id, made["secret_id"], mount_point=machines)
    with pytest.raises(exceptions.InvalidRequest):
        server.client("").auth.approle.login(role_id, made["secret_id"], mount_point=machines)


def test_wrong_ids_are_told_alike(api: hvac.Client, server: Server, machines: str) -> None:
    """An unknown role, a wrong secret and an unknown one: 400, one text."""
    ar = api.auth.approle
    ar.create_or_update_approle("app", mount_point=machines)
    role_id = ar.read_role_id("app", mount_point=machines)["data"]["role_id"]
    for body in ({"role_id": role_id, "secret_id": "x"}, {"role_id": "x", "secret_id": "x"}):
        answer = server.send("POST", f"auth/{machines}/login", body, token="")
        assert answer.status == 400
        assert answer.errors == ["invalid role or secret ID"]
    assert server.send("POST", f"auth/{machines}/login", {}, token="").status == (
        500 if server.target == "bao" else 400
    )


def test_a_role_without_any_constraint_is_refused(server: Server, machines: str) -> None:
    """A role id alone is no secret: bind_secret_id off is a 400 where nothing else binds (OpenBao: 500)."""
    refused = server.send("POST", f"auth/{machines}/role/app", {"bind_secret_id": False})
    assert refused.status == (500 if server.target == "bao" else 400)
    assert server.send("GET", f"auth/{machines}/role/app").status == 404
