"""auth/token/: creation, look-ups, renewal and ends, with Vault's values and texts."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from secretd.core.tokens.service import Wish
from secretd.sdk.errors import InvalidRequestError, PermissionDeniedError
from secretd.sdk.fields import Sensitive
from secretd.sdk.request import READ, UPDATE, Request

_MAKER = """
path "auth/token/create" { capabilities = ["update"] }
path "auth/token/create-orphan" { capabilities = ["update"] }
path "auth/token/revoke-orphan" { capabilities = ["update"] }
"""


async def test_root_never_ends(root: Any) -> None:
    """The root token's look-up has no expire time and TTL 0; it cannot be renewed."""
    seen = await root.read("auth/token/lookup-self")
    assert (seen["expire_time"], seen["ttl"], seen["policies"]) == (None, 0, ["root"])
    assert (seen["orphan"], seen["renewable"], seen["meta"]) == (True, False, None)
    with pytest.raises(InvalidRequestError, match="lease is not renewable"):
        await root.write("auth/token/renew-self")


async def test_a_token_is_what_was_asked_for(root: Any) -> None:
    """Every field of the wish shows in the look-up, in Vault's types."""
    spans = {"ttl": "1h", "explicit_max_ttl": "2h", "num_uses": 5}
    token = await root.new_token(policies="a,b", meta={"k": "v"}, display_name="Bob Ö.P", **spans)
    seen = await token.read("auth/token/lookup-self")
    assert seen["policies"] == ["a", "b", "default"]
    assert (seen["creation_ttl"], seen["explicit_max_ttl"], seen["num_uses"]) == (3600, 7200, 4)
    assert (seen["meta"], seen["display_name"], seen["path"]) == (
        {"k": "v"},
        "token-Bob---P",
        "auth/token/create",
    )
    assert (seen["id"], seen["type"], seen["orphan"]) == (token.token, "service", False)
    assert isinstance(seen["creation_time"], int)
    assert 3500 < seen["ttl"] <= 3600
    assert "last_renewal_time" not in seen
    assert token.token.startswith("hvs.")
    assert len(token.token) == 28


async def test_a_chosen_id_is_free_once(root: Any) -> None:
    """A token may be given its id by root, and nobody gets that id again."""
    made = await root.new_token(id="chosen")
    assert made.token == "chosen"
    with pytest.raises(InvalidRequestError, match="duplicate ID"):
        await root.write("auth/token/create", id="chosen")


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        ({"id": "mine"}, "required to specify token id"),
        ({"period": "1h"}, "required to create periodic token"),
        ({"no_parent": True}, "required to create orphan token"),
        ({"policies": ["root"]}, "root tokens may not be created"),
        ({"policies": ["other"]}, "child policies must be subset of parent"),
        ({"ttl": "-1s"}, "ttl must be positive"),
        ({"num_uses": -1}, "cannot be negative"),
        ({"type": "batch"}, "only service tokens"),
    ],
)
async def test_a_plain_token_makes_plain_tokens(root: Any, wish: dict[str, Any], text: str) -> None:
    """Without sudo, a token cannot give its children what it has not."""
    maker = await root.new_token(_MAKER)
    with pytest.raises(InvalidRequestError, match=text):
        await maker.write("auth/token/create", **wish)


async def test_the_orphans_path_is_the_right_to_it(root: Any) -> None:
    """As in Vault, update on create-orphan suffices, and the orphan outlives its maker."""
    maker = await root.new_token(_MAKER)
    grant = (await maker.ask(UPDATE, "auth/token/create-orphan", policies=["default"])).auth
    assert grant.orphan
    await maker.write("auth/token/revoke-self")
    orphan = root.as_token(grant.client_token)
    assert (await orphan.read("auth/token/lookup-self"))["path"] == "auth/token/create-orphan"


async def test_a_missing_policy_is_told(root: Any) -> None:
    """A token of a policy that is not there is made with a warning."""
    response = await root.ask(UPDATE, "auth/token/create", policies=["ghost"])
    assert response.warnings == ['Policy "ghost" does not exist']


async def test_what_cuts_a_ttl_is_named(root: Any) -> None:
    """Asking for more than the mount's maximum is a 200, cut, with the reason."""
    response = await root.ask(UPDATE, "auth/token/create", policies=["default"], ttl="9999h")
    assert response.auth.lease_duration == 2764800
    assert "max_lease_ttl" in response.warnings[0]


async def test_look_ups_agree(root: Any) -> None:
    """By token, by accessor and by itself a token is the same; by accessor its id is empty."""
    token = await root.new_token(policies=["default"])
    own = await token.read("auth/token/lookup-self")
    by_token = await root.write("auth/token/lookup", token=token.token)
    by_accessor = await root.write("auth/token/lookup-accessor", accessor=own["accessor"])
    assert by_token | {"ttl": 0} == own | {"ttl": 0}
    assert by_accessor | {"ttl": 0} == own | {"id": "", "ttl": 0}
    assert (await root.write("auth/token/lookup"))["id"] == root.token
    assert own["accessor"] in await root.list("auth/token/accessors")


async def test_renewal_moves_the_end(root: Any) -> None:
    """A renewal by any of the three paths counts from now and is remembered; only the token itself is told."""
    token = await root.new_token(policies=["default"], ttl="1h")
    accessor = (await token.read("auth/token/lookup-self"))["accessor"]
    own = (await token.ask(UPDATE, "auth/token/renew-self", increment="10m")).auth
    other = (await root.ask(UPDATE, "auth/token/renew", token=token.token, increment=1200)).auth
    handle = (await root.ask(UPDATE, "auth/token/renew-accessor", accessor=accessor)).auth
    assert [own.lease_duration, other.lease_duration, handle.lease_duration] == [600, 1200, 3600]
    assert [own.client_token, other.client_token, handle.client_token] == [token.token, token.token, ""]
    seen = await token.read("auth/token/lookup-self")
    assert isinstance(seen["last_renewal_time"], int)
    assert seen["last_renewal"].endswith("Z")


@pytest.mark.parametrize(
    ("path", "data", "error", "text"),
    [
        ("lookup", {"token": "x"}, PermissionDeniedError, "bad token"),
        ("lookup-accessor", {"accessor": "x"}, InvalidRequestError, "invalid accessor"),
        ("lookup-accessor", {}, InvalidRequestError, "missing accessor"),
        ("renew", {"token": "x"}, InvalidRequestError, "token not found"),
        ("renew", {}, InvalidRequestError, "missing token ID"),
        ("renew-accessor", {"accessor": "x"}, InvalidRequestError, "invalid accessor"),
        ("revoke", {}, InvalidRequestError, "missing token ID"),
        ("revoke-accessor", {}, InvalidRequestError, "missing accessor"),
        ("revoke-orphan", {"token": "x"}, InvalidRequestError, "token to revoke not found"),
        ("create/role", {}, InvalidRequestError, "not supported yet"),
    ],
)
async def test_unknown_tokens(
    root: Any, path: str, data: dict[str, str], error: type[Exception], text: str
) -> None:
    """What is not there is refused with the text that clients look for."""
    with pytest.raises(error, match=text):
        await root.write(f"auth/token/{path}", **data)


async def test_revoking_the_unknown_is_no_error(root: Any) -> None:
    """Revoking what is gone succeeds; by accessor with a warning."""
    assert (await root.ask(UPDATE, "auth/token/revoke", token="x")).is_empty  # noqa: S106 -- no token
    assert (await root.ask(UPDATE, "auth/token/revoke-accessor", accessor="x")).warnings


@pytest.mark.parametrize("by", ["revoke", "revoke-accessor", "revoke-self"])
async def test_an_end_ends_the_tree(root: Any, by: str) -> None:
    """By whatever path a token ends, its children end with it, and a look-up says bad token."""
    parent = await root.new_token(_MAKER)
    child = root.as_token((await parent.ask(UPDATE, "auth/token/create")).auth.client_token)
    accessor = (await parent.read("auth/token/lookup-self"))["accessor"]
    asker = parent if by == "revoke-self" else root
    await asker.write(f"auth/token/{by}", token=parent.token, accessor=accessor)
    with pytest.raises(PermissionDeniedError):
        await child.read("auth/token/lookup-self")
    with pytest.raises(PermissionDeniedError, match="bad token"):
        await root.write("auth/token/lookup", token=parent.token)


async def test_revoke_orphan_spares_the_children(root: Any) -> None:
    """Revoking a token alone leaves its child, without a parent; it needs sudo."""
    parent = await root.new_token(_MAKER)
    child = root.as_token((await parent.ask(UPDATE, "auth/token/create")).auth.client_token)
    with pytest.raises(PermissionDeniedError):
        await parent.write("auth/token/revoke-orphan", token=child.token)
    await root.write("auth/token/revoke-orphan", token=parent.token)
    assert (await child.read("auth/token/lookup-self"))["orphan"] is True


async def test_accessors_need_sudo(root: Any) -> None:
    """The list of all accessors takes more than the capability list."""
    token = await root.new_token('path "auth/token/accessors" { capabilities = ["list"] }')
    with pytest.raises(PermissionDeniedError):
        await token.list("auth/token/accessors")


async def test_uses_are_counted(root: Any) -> None:
    """A token of two uses shows what is left, and is gone after the second."""
    token = await root.new_token(policies=["default"], num_uses=2)
    assert (await token.read("auth/token/lookup-self"))["num_uses"] == 1
    assert (await token.read("auth/token/lookup-self"))["num_uses"] == 0
    with pytest.raises(PermissionDeniedError):
        await token.read("auth/token/lookup-self")


async def test_tidy_removes_what_is_long_over(root: Any) -> None:
    """Tidy answers, and harms no living token."""
    token = await root.new_token(policies=["default"])
    assert (await root.ask(UPDATE, "auth/token/tidy")).warnings
    assert await token.read("auth/token/lookup-self")


async def test_a_token_in_its_last_second_makes_none(root: Any) -> None:
    """No time is left for a child: it must not become one that never ends, least of all root's."""
    maker = await root.new_token(policies=["root"], ttl="1h")
    parts = root.core.parts
    row = await parts.tokens.find(parts.keys.hash_token(maker.token))
    dying = dataclasses.replace(row, ttl=0.4)
    mount = parts.caches.router.by_path("auth/token/").mount
    for wish in (Wish(policies=("root",), ttl=3600), Wish(policies=("a",))):
        with pytest.raises(InvalidRequestError, match="no time is left"):
            await parts.token_service.create(dying, wish, mount=mount, has_sudo=True)


async def test_the_last_use_ends_a_token_whoever_else_uses_it(
    root: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two requests at once one has the last use: the token is over after both."""
    token = await root.new_token(num_uses=2)
    parts = root.core.parts
    both, look = asyncio.Barrier(2), parts.tokens.look

    async def look_together(*args: Any) -> Any:
        found = await look(*args)
        await both.wait()
        return found

    monkeypatch.setattr(parts.tokens, "look", look_together)
    await asyncio.gather(*(token.read("auth/token/lookup-self") for _ in range(2)))
    assert await parts.tokens.find(parts.keys.hash_token(token.token)) is None


async def test_a_last_use_that_is_refused_ends_the_token_too(root: Any) -> None:
    """A request that is refused after its use was counted leaves no used-up token with its leases."""
    token = await root.new_token(num_uses=1)
    parts = root.core.parts
    wrapped = Request("r", READ, "auth/token/lookup-self", {}, token=Sensitive(token.token), wrap_ttl=60)
    with pytest.raises(InvalidRequestError, match="wrapping"):
        await root.core.pipeline.handle(wrapped)
    assert await parts.tokens.find(parts.keys.hash_token(token.token)) is None


async def test_default_is_given_by_those_who_have_it(root: Any) -> None:
    """A token without the default policy cannot give it to a child, said or unsaid."""
    maker = await root.new_token(_MAKER, no_default_policy=True)
    name = (await root.read("auth/token/lookup", token=maker.token))["policies"]
    child = await maker.new_token(policies=name)
    assert (await root.read("auth/token/lookup", token=child.token))["policies"] == name
    with pytest.raises(InvalidRequestError, match="subset of parent"):
        await maker.new_token(policies=[*name, "default"])


@pytest.mark.parametrize("wish", [{"num_uses": 2**31}, {"display_name": "x" * 3000}])
async def test_a_wish_beyond_storage_is_the_callers_error(root: Any, wish: dict[str, Any]) -> None:
    """What no column or index holds is a 400 before storage is asked."""
    with pytest.raises(InvalidRequestError):
        await root.new_token(**wish)


async def test_listing_and_sudo_are_of_one_rule(root: Any) -> None:
    """The rule that decides about a LIST is the one that must have sudo, with its closing slash or without."""
    path = "auth/token/accessors"
    good = await root.new_token(f'path "{path}/" {{ capabilities = ["list", "sudo"] }}')
    assert await good.list(path)
    split = f'path "{path}/" {{ capabilities = ["list"] }} path "{path}" {{ capabilities = ["sudo"] }}'
    with pytest.raises(PermissionDeniedError):
        await (await root.new_token(split)).list(path)


async def test_who_may_not_write_learns_nothing_of_the_row(root: Any) -> None:
    """Without create and update the engine is not asked whether something is there."""
    await root.write("sys/auth/userpass", type="userpass")
    token = await root.new_token(policies=["default"])
    with pytest.raises(PermissionDeniedError):
        await token.write("auth/userpass/users/no name", password="x")
