"""hvac: tokens in all their variants, lookup, renewal, revocation, accessors."""

from __future__ import annotations

import datetime as dt
from typing import Any

import hvac
import pytest
from hvac import exceptions

from conformance.servers import Server

MONTH = 2764800  # seconds: the default and the greatest TTL


@pytest.fixture
def policy(api: hvac.Client, name: str) -> str:
    """A policy's name that exists."""
    api.sys.create_or_update_policy(name, 'path "cubbyhole/*" { capabilities = ["read"] }')
    return name


def _data(api: hvac.Client, token: str) -> dict[str, Any]:
    return api.auth.token.lookup(token)["data"]


def test_a_token_of_root_without_wishes(api: hvac.Client) -> None:
    """It inherits root and never expires."""
    made = api.auth.token.create()["auth"]
    assert made["policies"] == made["token_policies"] == ["root"]
    assert made["lease_duration"] == 0
    assert made["renewable"] is False
    assert made["orphan"] is False
    assert made["client_token"].split(".")[0] in {"s", "hvs"}
    assert made["accessor"]
    found = _data(api, made["client_token"])
    assert found["ttl"] == 0
    assert found["expire_time"] is None


def test_wishes_of_a_token_are_kept(api: hvac.Client, policy: str) -> None:
    """TTL, explicit maximum, uses, metadata, name and policies show in its lookup."""
    made = api.auth.token.create(
        policies=[policy], ttl="1h", explicit_max_ttl="2h", num_uses=7, meta={"team": "a"}, display_name="Bob"
    )["auth"]
    assert made["policies"] == sorted(["default", policy])
    assert made["lease_duration"] == 3600
    assert made["renewable"] is True
    found = _data(api, made["client_token"])
    assert found["id"] == made["client_token"]
    assert found["accessor"] == made["accessor"]
    assert 3590 < found["ttl"] <= 3600
    assert found["creation_ttl"] == 3600
    assert found["explicit_max_ttl"] == 7200
    assert found["num_uses"] == 7
    assert found["meta"] == {"team": "a"}
    assert found["display_name"] == "token-Bob"
    assert found["policies"] == sorted(["default", policy])
    assert found["orphan"] is False
    assert found["path"] == "auth/token/create"
    assert found["type"] == "service"
    assert found["entity_id"] == ""
    assert dt.datetime.fromisoformat(found["expire_time"].replace("Z", "+00:00"))
    assert "last_renewal_time" not in found


def test_no_default_policy_leaves_it_out(api: hvac.Client, policy: str) -> None:
    """Otherwise ``default`` is among every token's policies."""
    made = api.auth.token.create(policies=[policy], no_default_policy=True)["auth"]
    assert made["policies"] == [policy]


def test_a_chosen_id_is_the_token(api: hvac.Client, server: Server, name: str) -> None:
    """Root may choose an id once; the same id again is a 400."""
    assert api.auth.token.create(id=name, policies=["default"])["auth"]["client_token"] == name
    assert server.client(name).lookup_token()["data"]["policies"] == ["default"]
    assert server.send("POST", "auth/token/create", {"id": name}).status == 400


def test_an_id_with_a_dot_or_a_reserved_beginning_is_refused(server: Server) -> None:
    """Such ids would be taken for tokens of our own."""
    for wrong in ("hvs.mine", "hvb.mine", "s.mine", "a.b"):
        answer = server.send("POST", "auth/token/create", {"id": wrong, "policies": ["default"]})
        assert answer.status == 400, wrong


def test_a_periodic_token_renews_for_ever(api: hvac.Client, server: Server) -> None:
    """Each renewal gives the whole period."""
    made = api.auth.token.create(policies=["default"], period="10m")["auth"]
    assert made["lease_duration"] == 600
    assert _data(api, made["client_token"])["period"] == 600
    again = server.client(made["client_token"]).auth.token.renew_self(increment="5h")
    assert again["auth"]["lease_duration"] == 600


def test_an_orphan_outlives_its_maker(api: hvac.Client, server: Server) -> None:
    """create-orphan and no_parent by root make orphans; a child dies with its parent."""
    parent = api.auth.token.create(policies=["root"], ttl="1h")["auth"]["client_token"]
    maker = server.client(parent)
    orphan = maker.auth.token.create_orphan(policies=["default"])["auth"]
    no_parent = maker.auth.token.create(policies=["default"], no_parent=True)["auth"]
    child = maker.auth.token.create(policies=["default"])["auth"]
    assert orphan["orphan"] is no_parent["orphan"] is True
    api.auth.token.revoke(parent)
    assert _data(api, orphan["client_token"])["orphan"] is True
    assert _data(api, no_parent["client_token"])["orphan"] is True
    with pytest.raises(exceptions.Forbidden):
        api.auth.token.lookup(child["client_token"])


def test_revoking_an_orphaning_parent_leaves_children(api: hvac.Client, server: Server) -> None:
    """revoke-orphan ends one token; its children live on as orphans."""
    parent = api.auth.token.create(policies=["root"], ttl="1h")["auth"]["client_token"]
    child = server.client(parent).auth.token.create(policies=["default"])["auth"]["client_token"]
    api.auth.token.revoke_and_orphan_children(parent)
    with pytest.raises(exceptions.Forbidden):
        api.auth.token.lookup(parent)
    assert _data(api, child)["orphan"] is True


def test_the_tree_dies_to_its_last_leaf(api: hvac.Client, server: Server) -> None:
    """Grandchildren end with the grandparent."""
    line = [api.auth.token.create(policies=["root"], ttl="1h")["auth"]["client_token"]]
    for _ in range(3):
        line.append(
            server.client(line[-1]).auth.token.create(policies=["root"], ttl="1h")["auth"]["client_token"]
        )
    api.auth.token.revoke(line[0])
    for token in line:
        assert server.send("GET", "auth/token/lookup-self", token=token).status == 403


def test_uses_are_counted_down(api: hvac.Client, server: Server) -> None:
    """A token of two uses answers twice and is refused afterwards."""
    token = api.auth.token.create(policies=["default"], num_uses=2)["auth"]["client_token"]
    uses = [server.send("GET", "auth/token/lookup-self", token=token) for _ in range(3)]
    assert [one.status for one in uses] == [200, 200, 403]
    assert uses[0].json["data"]["num_uses"] == 1


def test_accessors_look_up_renew_and_revoke(api: hvac.Client, server: Server) -> None:
    """An accessor does all but speak for the token; its lookup does not tell the token."""
    made = api.auth.token.create(policies=["default"], ttl="1h")["auth"]
    accessor = made["accessor"]
    assert accessor in api.auth.token.list_accessors()["data"]["keys"]
    found = api.auth.token.lookup_accessor(accessor)["data"]
    assert found["id"] == ""
    assert found["accessor"] == accessor
    renewed = api.auth.token.renew_accessor(accessor, increment="2h")["auth"]
    assert renewed["lease_duration"] == 7200
    assert renewed["client_token"] == ""
    api.auth.token.revoke_accessor(accessor)
    assert server.send("GET", "auth/token/lookup-self", token=made["client_token"]).status == 403
    assert server.send("POST", "auth/token/lookup-accessor", {"accessor": accessor}).status in {400, 403, 404}
    assert accessor not in api.auth.token.list_accessors()["data"]["keys"]


def test_renewals_and_their_limits(api: hvac.Client, server: Server) -> None:
    """An increment is granted up to the maximum; then the answer is 200, cut, with a warning."""
    token = api.auth.token.create(policies=["default"], ttl="10m", explicit_max_ttl="1h")["auth"][
        "client_token"
    ]
    assert "last_renewal_time" not in _data(api, token)
    assert api.auth.token.renew(token, increment="20m")["auth"]["lease_duration"] == 1200
    assert _data(api, token)["last_renewal_time"]
    assert server.send("POST", "auth/token/renew", {"token": token, "increment": -5}).status == 400
    cut = server.client(token).auth.token.renew_self(increment="99h")
    assert 3590 < cut["auth"]["lease_duration"] <= 3600
    assert cut["warnings"]


def test_a_token_that_is_not_renewable_is_not_renewed(api: hvac.Client) -> None:
    """Renewing it is a 400."""
    token = api.auth.token.create(policies=["default"], ttl="10m", renewable=False)["auth"]["client_token"]
    assert _data(api, token)["renewable"] is False
    with pytest.raises(exceptions.InvalidRequest):
        api.auth.token.renew(token)


def test_revoke_self_ends_the_caller(api: hvac.Client, server: Server) -> None:
    """Afterwards it is refused everywhere, and revoking what is gone is no error."""
    token = api.auth.token.create(policies=["default"])["auth"]["client_token"]
    server.client(token).auth.token.revoke_self()
    assert server.send("GET", "auth/token/lookup-self", token=token).status == 403
    assert server.send("POST", "auth/token/revoke", {"token": token}).status in {200, 204}


def test_a_child_has_no_more_than_its_parent(api: hvac.Client, server: Server, policy: str) -> None:
    """Policies outside the parent's, root, periods and ids need sudo."""
    api.sys.create_or_update_policy(
        f"{policy}-maker", 'path "auth/token/create" { capabilities = ["update"] }'
    )
    token = api.auth.token.create(policies=[f"{policy}-maker"])["auth"]["client_token"]
    for body in (
        {"policies": ["root"]},
        {"policies": [policy]},
        {"period": "1h"},
        {"id": "chosen"},
        {"no_parent": True},
    ):
        assert server.send("POST", "auth/token/create", body, token=token).status in {400, 403}, body
    assert server.send("POST", "auth/token/create-orphan", {}, token=token).status in {400, 403}
    made = server.client(token).auth.token.create(policies=[f"{policy}-maker"])["auth"]
    assert made["policies"] == sorted(["default", f"{policy}-maker"])


def test_a_missing_wrong_or_ended_token_is_403(server: Server, api: hvac.Client) -> None:
    """Also on paths that do not exist: nobody learns what is there."""
    ended = api.auth.token.create(policies=["default"])["auth"]["client_token"]
    api.auth.token.revoke(ended)
    for token in ("", "nonsense", "hvs.CAESIwrong", ended, "s." + "a" * 24, "x" * 5000):
        for path in ("sys/mounts", "auth/token/lookup-self", "no/such/mount"):
            answer = server.send("GET", path, token=token)
            assert answer.status == 403, (token[:20], path)
            assert any("permission denied" in text for text in answer.errors)


def test_a_token_in_the_authorization_header_works(server: Server) -> None:
    """``Bearer`` is the other way to give it."""
    given = {"Authorization": f"Bearer {server.root_token}"}
    assert server.send("GET", "auth/token/lookup-self", token="", headers=given).status == 200


def test_wrong_wishes_are_refused(server: Server) -> None:
    """A 400 each, with nothing made."""
    before = len(server.send("LIST", "auth/token/accessors").json["data"]["keys"])
    for body in (
        {"ttl": "soon"},
        {"ttl": "-1h"},
        {"explicit_max_ttl": "x"},
        {"period": "x"},
        {"num_uses": -1},
        {"num_uses": "many"},
        {"meta": "text"},
        {"type": "odd"},
        {"policies": {"a": 1}},
    ):
        assert server.send("POST", "auth/token/create", body).status == 400, body
    assert len(server.send("LIST", "auth/token/accessors").json["data"]["keys"]) == before


def test_only_root_makes_root(api: hvac.Client, server: Server, name: str) -> None:
    """A token with every right of every path is not root, and makes none; an expiring root makes no lasting one."""
    rules = 'path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }'
    api.sys.create_or_update_policy(name, rules)
    mighty = api.auth.token.create(policies=[name])["auth"]["client_token"]
    answer = server.send("POST", "auth/token/create", {"policies": ["root"]}, token=mighty)
    assert answer.status in {400, 403}
    expiring = api.auth.token.create(policies=["root"], ttl="1h")["auth"]["client_token"]
    assert server.send("POST", "auth/token/create", {}, token=expiring).status == 400
    assert server.send("POST", "auth/token/create", {"ttl": "10m"}, token=expiring).json["auth"][
        "policies"
    ] == ["root"]
