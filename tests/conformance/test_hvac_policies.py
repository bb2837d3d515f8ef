"""hvac: policies by their old and new paths, capabilities, password policies."""

from __future__ import annotations

import re

import hvac
import pytest
from hvac import exceptions

from conformance.servers import Server

TEXT = '# kept byte for byte\npath "kv/*"   { capabilities = ["read","list"] }\n\n'


def test_a_policy_lives_under_both_paths(api: hvac.Client, server: Server, name: str) -> None:
    """Written by the old one, read by the new one, and the other way; the text is unchanged."""
    api.sys.create_or_update_policy(name, TEXT)
    assert name in api.sys.list_policies()["data"]["policies"]
    assert name in api.sys.list_acl_policies()["data"]["keys"]
    assert api.sys.read_policy(name)["data"]["rules"] == TEXT
    assert api.sys.read_policy(name)["rules"] == TEXT
    found = api.sys.read_acl_policy(name)["data"]
    assert found["policy"] == TEXT
    assert found["name"] == name
    api.sys.create_or_update_acl_policy(f"{name}-new", {"path": {"a/b": {"capabilities": ["deny"]}}})
    assert '"deny"' in api.sys.read_policy(f"{name}-new")["data"]["rules"]
    api.sys.delete_policy(f"{name}-new")
    api.sys.delete_acl_policy(name)
    for path in (f"sys/policy/{name}", f"sys/policies/acl/{name}"):
        assert server.send("GET", path).status == 404
        assert server.send("DELETE", path).status == 204


def test_names_of_policies_do_not_know_case(api: hvac.Client, name: str) -> None:
    """They are kept in lower case."""
    api.sys.create_or_update_policy(name.upper(), TEXT)
    assert name in api.sys.list_policies()["data"]["policies"]
    assert api.sys.read_policy(name)["data"]["rules"] == TEXT


def test_a_policy_in_base64_is_decoded(server: Server, name: str) -> None:
    """As Vault's old clients send it."""
    assert (
        server.send(
            "PUT", f"sys/policy/{name}", {"policy": "cGF0aCAiYSIgeyBjYXBhYmlsaXRpZXMgPSBbInJlYWQiXSB9"}
        ).status
        == 204
    )
    assert (
        server.send("GET", f"sys/policy/{name}").json["data"]["rules"]
        == 'path "a" { capabilities = ["read"] }'
    )


def test_broken_policies_are_refused(server: Server, name: str) -> None:
    """A 400 that stores nothing."""
    for text in (
        'path "a" {',
        'path "a" { capabilities = ["fly"] }',
        'pth "a" { capabilities = ["read"] }',
        'path "a" { capabilties = ["read"] }',
        "",
        *(() if server.target == "bao" else ("{",)),
    ):
        assert server.send("PUT", f"sys/policy/{name}", {"policy": text}).status == 400, text
    assert server.send("GET", f"sys/policy/{name}").status == 404
    assert server.send("PUT", f"sys/policy/{name}", {}).status == 400


def test_root_and_default_are_protected(server: Server) -> None:
    """Root is neither written nor deleted; default is not deleted."""
    assert server.send("PUT", "sys/policy/root", {"policy": TEXT}).status == 400
    assert server.send("DELETE", "sys/policy/root").status == 400
    assert server.send("DELETE", "sys/policy/default").status == 400
    assert server.send("GET", "sys/policy/default").json["data"]["rules"]


RULES = """
path "a/*" { capabilities = ["read", "list"] }
path "a/+/c" { capabilities = ["create", "update"] }
path "a/deny*" { capabilities = ["deny"] }
path "a/deny/not" { capabilities = ["delete"] }
path "s" { capabilities = ["sudo", "patch"] }
"""


def test_capabilities_say_what_a_token_may(api: hvac.Client, server: Server, name: str) -> None:
    """By token, by accessor and for the caller itself, one path or several."""
    api.sys.create_or_update_policy(name, RULES)
    made = api.auth.token.create(policies=[name], no_default_policy=True)["auth"]
    expected = {
        "a/x": ["list", "read"],
        "a/b/c": ["create", "update"],
        "a/deny": ["deny"],
        "a/denyall": ["deny"],
        "a/deny/not": ["delete"],
        "s": ["patch", "sudo"],
        "other": ["deny"],
    }
    paths = list(expected)
    for found in (
        api.sys.get_capabilities(paths, token=made["client_token"]),
        api.sys.get_capabilities(paths, accessor=made["accessor"]),
    ):
        assert {path: sorted(found["data"][path]) for path in paths} == expected
    one = api.sys.get_capabilities(["a/x"], token=made["client_token"])
    assert sorted(one["capabilities"]) == sorted(one["data"]["capabilities"]) == ["list", "read"]
    assert api.sys.get_capabilities(["a/x"])["data"]["a/x"] == ["root"]
    self_ = server.send("POST", "sys/capabilities-self", {"paths": ["s"]}, token=made["client_token"])
    assert self_.status == 403, "the default policy gives this right, and was left out"


def test_rights_are_held_by_requests(api: hvac.Client, server: Server, kv1: str, name: str) -> None:
    """Reading is allowed where the policy says so, and writing is refused."""
    api.sys.create_or_update_policy(name, f'path "{kv1}/open/*" {{ capabilities = ["read", "list"] }}')
    api.secrets.kv.v1.create_or_update_secret("open/x", {"a": "1"}, mount_point=kv1)
    api.secrets.kv.v1.create_or_update_secret("shut/x", {"a": "1"}, mount_point=kv1)
    client = server.client(api.auth.token.create(policies=[name])["auth"]["client_token"])
    assert client.secrets.kv.v1.read_secret("open/x", mount_point=kv1)["data"] == {"a": "1"}
    assert client.secrets.kv.v1.list_secrets("open", mount_point=kv1)["data"]["keys"] == ["x"]
    for call in (
        lambda: client.secrets.kv.v1.read_secret("shut/x", mount_point=kv1),
        lambda: client.secrets.kv.v1.create_or_update_secret("open/x", {"a": "2"}, mount_point=kv1),
        lambda: client.secrets.kv.v1.delete_secret("open/x", mount_point=kv1),
        lambda: client.sys.list_mounted_secrets_engines(),
    ):
        with pytest.raises(exceptions.Forbidden):
            call()


def test_a_changed_policy_binds_the_next_request(
    api: hvac.Client, server: Server, kv1: str, name: str
) -> None:
    """Tokens that were made before are judged by the new text."""
    api.sys.create_or_update_policy(name, f'path "{kv1}/x" {{ capabilities = ["read"] }}')
    api.secrets.kv.v1.create_or_update_secret("x", {"a": "1"}, mount_point=kv1)
    token = api.auth.token.create(policies=[name])["auth"]["client_token"]
    assert server.send("GET", f"{kv1}/x", token=token).status == 200
    api.sys.create_or_update_policy(name, f'path "{kv1}/x" {{ capabilities = ["deny"] }}')
    assert server.send("GET", f"{kv1}/x", token=token).status == 403


PASSWORDS = (
    'length = 24\nrule "charset" { charset = "abcdef" }\nrule "charset" { charset = "0123" min-chars = 3 }\n'
)


def test_password_policies_make_passwords(api: hvac.Client, server: Server, name: str) -> None:
    """Written, listed, read, asked for a password, deleted."""
    path = f"sys/policies/password/{name}"
    assert server.send("PUT", path, {"policy": PASSWORDS}).status == 204
    assert name in server.send("LIST", "sys/policies/password").json["data"]["keys"]
    assert api.read(path)["data"]["policy"] == PASSWORDS
    made = {api.read(f"{path}/generate")["data"]["password"] for _ in range(3)}
    assert len(made) == 3
    for password in made:
        assert re.fullmatch("[abcdef0123]{24}", password)
        assert len(re.findall("[0123]", password)) >= 3
    assert server.send("DELETE", path).status == 204
    assert server.send("GET", path).status == 404
    assert server.send("GET", f"{path}/generate").status == 404


def test_impossible_password_policies_are_refused(server: Server, name: str) -> None:
    """Too short, too demanding, no rule, or no policy language at all."""
    for text in (
        "",
        "length = 2",
        'length = 20\nrule "charset" { charset = "" }',
        'length = 4\nrule "charset" { charset = "ab" min-chars = 9 }',
        'length = "x"\nrule "charset" { charset = "ab" }',
        "{{",
    ):
        assert server.send("PUT", f"sys/policies/password/{name}", {"policy": text}).status == 400, text
    assert server.send("GET", f"sys/policies/password/{name}").status == 404
