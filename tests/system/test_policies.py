"""sys/policies, sys/policy and sys/capabilities: texts, names, and what tokens may do."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from secretd.sdk.errors import InvalidRequestError, NotFoundError, PermissionDeniedError
from secretd.sdk.request import LIST, READ, UPDATE

_TEXT = '# kept byte for byte\r\npath "kv/*" {\tcapabilities = ["read"] }\n'
_PASSWORD = 'length = 20\nrule "charset" { charset = "abcdefghij" }\n'


async def test_a_text_is_kept_byte_for_byte(root: Any) -> None:
    """Both shapes show the same text; the new one has name and policy and nothing more."""
    await root.write("sys/policies/acl/P1", policy=_TEXT)
    assert await root.read("sys/policies/acl/p1") == {"name": "p1", "policy": _TEXT}
    assert await root.read("sys/policy/p1") == {"name": "p1", "rules": _TEXT}
    assert (await root.ask(READ, "sys/policy/p1")).spread
    assert not (await root.ask(READ, "sys/policies/acl/p1")).spread


async def test_old_and_new_write_the_same(root: Any) -> None:
    """``rules`` at the old path, and base64 anywhere, are the text."""
    assert (await root.ask(UPDATE, "sys/policy/p", rules=_TEXT)).warnings
    assert (await root.read("sys/policies/acl/p"))["policy"] == _TEXT
    await root.write("sys/policies/acl/p", policy=base64.b64encode(_TEXT.encode() + b"\n").decode())
    assert (await root.read("sys/policy/p"))["rules"] == _TEXT + "\n"


async def test_lists(root: Any) -> None:
    """The lists hold root and default; the old one under two names, for GET and for LIST."""
    assert await root.list("sys/policies/acl") == ["default", "root"]
    for operation in (READ, LIST):
        old = await root.ask(operation, "sys/policy")
        assert old.data == {"keys": ["default", "root"], "policies": ["default", "root"]}
        assert old.spread


async def test_root_has_no_text(root: Any) -> None:
    """The root policy can be read, and says nothing."""
    assert await root.read("sys/policies/acl/root") == {"name": "root", "policy": ""}


@pytest.mark.parametrize("kind", ["policies/acl", "policy"])
async def test_what_cannot_be_written_or_removed(root: Any, kind: str) -> None:
    """Root and default stay, nonsense is refused, what is not there is 404 and its removal no error."""
    with pytest.raises(InvalidRequestError, match='cannot update "root" policy'):
        await root.write(f"sys/{kind}/root", policy=_TEXT)
    with pytest.raises(InvalidRequestError, match='cannot delete "root" policy'):
        await root.delete(f"sys/{kind}/root")
    with pytest.raises(InvalidRequestError, match="cannot delete default policy"):
        await root.delete(f"sys/{kind}/Default")
    await root.delete(f"sys/{kind}/['no', 'name']")
    with pytest.raises(NotFoundError):
        await root.read(f"sys/{kind}/['no', 'name']")
    with pytest.raises(InvalidRequestError, match="'policy' parameter not supplied or empty"):
        await root.write(f"sys/{kind}/p")
    with pytest.raises(InvalidRequestError, match="failed to parse policy"):
        await root.write(f"sys/{kind}/p", policy="nonsense {{")
    with pytest.raises(NotFoundError):
        await root.read(f"sys/{kind}/p")
    await root.delete(f"sys/{kind}/p")


async def test_a_policy_counts_for_the_next_request(root: Any) -> None:
    """Writing and removing a policy changes what a token may do at once."""
    token = await root.new_token(policies=["later"])
    with pytest.raises(PermissionDeniedError):
        await token.read("sys/mounts")
    await root.write("sys/policies/acl/later", policy='path "sys/mounts" { capabilities = ["read"] }')
    assert await token.read("sys/mounts")
    await root.delete("sys/policies/acl/later")
    with pytest.raises(PermissionDeniedError):
        await token.read("sys/mounts")


async def test_two_cores_agree_on_the_next_request(root: Any, compose: Any) -> None:
    """What one daemon writes of policies, mounts and tokens counts for the next request of another."""
    made = root.core.parts
    token = await root.new_token(policies=["shared"])
    async with compose() as core:
        await core.parts.lifecycle._open(made.barrier._root_key)
        other = type(root)(core, token.token)
        with pytest.raises(PermissionDeniedError):
            await other.read("sys/mounts")
        await root.write(
            "sys/policies/acl/shared", policy='path "*" { capabilities = ["read", "update", "create"] }'
        )
        await root.write("sys/mounts/kv", type="kv")
        await other.write("kv/x", k="v")
        await root.write("sys/rotate")
        await root.write("kv/x", k="w")
        assert await other.read("kv/x") == {"k": "w"}
        await root.write("auth/token/revoke", token=token.token)
        with pytest.raises(PermissionDeniedError):
            await other.read("kv/x")


async def test_password_policies(root: Any) -> None:
    """A password policy is kept, listed, used and removed."""
    await root.write("sys/policies/password/pw", policy=_PASSWORD)
    assert await root.read("sys/policies/password/pw") == {"policy": _PASSWORD}
    assert await root.list("sys/policies/password") == ["pw"]
    password = (await root.read("sys/policies/password/pw/generate"))["password"]
    assert len(password) == 20
    assert set(password) <= set("abcdefghij")
    await root.delete("sys/policies/password/pw")
    for path in ("pw", "pw/generate"):
        with pytest.raises(NotFoundError, match="policy does not exist"):
            await root.read(f"sys/policies/password/{path}")


@pytest.mark.parametrize("text", ["", "length = 2", "nonsense {"])
async def test_impossible_passwords(root: Any, text: str) -> None:
    """A password policy that no password can satisfy is not stored."""
    with pytest.raises(InvalidRequestError):
        await root.write("sys/policies/password/pw", policy=text)
    assert await root.list("sys/policies/password") == []


async def test_capabilities_by_all_three_paths(root: Any) -> None:
    """By token, by accessor and by itself the same is granted; one path is told under its old name, too."""
    token = await root.new_token('path "kv/*" { capabilities = ["read", "list"] }')
    accessor = (await token.read("auth/token/lookup-self"))["accessor"]
    one = {"kv/x": ["list", "read"], "capabilities": ["list", "read"]}
    assert await token.write("sys/capabilities-self", path="kv/x") == one
    assert await root.write("sys/capabilities", token=token.token, paths=["kv/x"]) == one
    assert await root.write("sys/capabilities-accessor", accessor=accessor, path="kv/x") == one
    two = await token.write("sys/capabilities-self", paths="kv/x,/other")
    assert two == {"kv/x": ["list", "read"], "/other": ["deny"]}
    assert await root.write("sys/capabilities-self", path="any") == {
        "any": ["root"],
        "capabilities": ["root"],
    }


@pytest.mark.parametrize(
    ("path", "data", "text"),
    [
        ("capabilities-self", {}, "paths must be supplied"),
        ("capabilities", {"path": "x"}, "no token found"),
        ("capabilities", {"path": "x", "token": "y"}, "invalid token"),
        ("capabilities-accessor", {"path": "x"}, "missing accessor"),
        ("capabilities-accessor", {"path": "x", "accessor": "y"}, "invalid accessor"),
    ],
)
async def test_capabilities_of_nobody(root: Any, path: str, data: dict[str, str], text: str) -> None:
    """What is missing or unknown is named."""
    with pytest.raises(InvalidRequestError, match=text):
        await root.write(f"sys/{path}", **data)
