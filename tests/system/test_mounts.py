"""sys/mounts, sys/auth, sys/remount, and what of them a token may see."""

from __future__ import annotations

from typing import Any

import pytest

from secretd.sdk.errors import InvalidRequestError, NotFoundError, PermissionDeniedError
from secretd.sdk.request import DELETE, READ, UPDATE

_READER = 'path "kv/team/*" { capabilities = ["read"] }'


async def test_a_mount_is_usable_at_once(root: Any) -> None:
    """The request after the one that made the mount uses it, and its listing has Vault's fields."""
    await root.write("sys/mounts/a/b", type="kv", description="d", options={"version": "2"})
    await root.write("a/b/data/x", data={"k": "v"})
    shown = await root.read("sys/mounts/a/b")
    assert shown == (await root.read("sys/mounts"))["a/b/"]
    assert (shown["type"], shown["description"], shown["options"]) == ("kv", "d", {"version": "2"})
    assert shown["config"] == {"default_lease_ttl": 0, "max_lease_ttl": 0, "force_no_cache": False}
    assert shown["accessor"].startswith("kv_")


@pytest.mark.parametrize(
    ("type_", "options"),
    [("kv-v2", {"version": "2"}), ("kv-v1", {"version": "1"}), ("generic", {}), ("kv", {})],
)
async def test_names_of_kv(root: Any, type_: str, options: dict[str, str]) -> None:
    """Old and short names of kv are kv; without a version they keep none."""
    await root.write("sys/mounts/kv", type=type_)
    shown = await root.read("sys/mounts/kv")
    assert (shown["type"], shown["options"]) == ("kv", options)


@pytest.mark.parametrize(
    ("path", "data", "text"),
    [
        ("mounts/cubbyhole", {"type": "kv"}, 'cannot mount "cubbyhole/"'),
        ("mounts/sys/x", {"type": "kv"}, "cannot mount"),
        ("mounts/auth/x", {"type": "kv"}, "cannot mount"),
        ("mounts/identity", {"type": "kv"}, "cannot mount"),
        ("mounts/x", {"type": "nope"}, "plugin not found in the catalog"),
        ("mounts/x", {"type": "userpass"}, "plugin not found in the catalog"),
        ("mounts/x", {}, "backend type must be specified as a string"),
        ("mounts/x", {"type": "token"}, "is not mountable"),
        ("mounts/x", {"type": "kv", "options": {"version": "3"}}, "version 1 or 2"),
        ("mounts/x*", {"type": "kv"}, "a mount path is"),
        (
            "mounts/x",
            {"type": "kv", "config": {"default_lease_ttl": "2h", "max_lease_ttl": "1h"}},
            "greater than",
        ),
        (
            "mounts/x",
            {"type": "kv", "config": {"default_lease_ttl": "9999h"}},
            "system max lease TTL of 2764800",
        ),
        ("mounts/x", {"type": "kv", "config": {"max_lease_ttl": "soon"}}, "max_lease_ttl"),
        ("mounts/x", {"type": "kv", "config": {"max_lease_ttl": -1}}, "not negative"),
        ("auth/token", {"type": "userpass"}, "path is already in use at"),
        ("auth/x", {"type": "kv"}, "plugin not found in the catalog"),
        ("auth/x", {"type": "userpass", "config": {"token_type": "batch"}}, "token_type"),
    ],
)
async def test_what_cannot_be_mounted(root: Any, path: str, data: dict[str, Any], text: str) -> None:
    """A mount that cannot be is refused with a text that clients know, and nothing is made."""
    before = await root.read("sys/mounts"), await root.read("sys/auth")
    with pytest.raises(InvalidRequestError, match=text):
        await root.write(f"sys/{path}", **data)
    assert (await root.read("sys/mounts"), await root.read("sys/auth")) == before


@pytest.mark.parametrize("path", ["kv", "kv/below", "/kv/"])
async def test_one_path_one_mount(root: Any, path: str) -> None:
    """At, below and above a mount there is no other."""
    await root.write("sys/mounts/kv", type="kv")
    with pytest.raises(InvalidRequestError, match="path is already in use at kv/"):
        await root.write(f"sys/mounts/{path}", type="kv")


async def test_tuning_adds_up(root: Any) -> None:
    """A tune changes what it says and nothing else; ``system`` and 0 give a span back."""
    await root.write("sys/mounts/kv", type="kv", config={"default_lease_ttl": "10m", "max_lease_ttl": 3600})
    await root.write("sys/mounts/kv/tune", description="new", listing_visibility="unauth")
    tuned = await root.read("sys/mounts/kv/tune")
    assert (tuned["default_lease_ttl"], tuned["max_lease_ttl"], tuned["description"]) == (600, 3600, "new")
    assert tuned["listing_visibility"] == "unauth"
    with pytest.raises(InvalidRequestError):
        await root.write("sys/mounts/kv/tune", default_lease_ttl="2h")
    await root.write("sys/mounts/kv/tune", max_lease_ttl=0, default_lease_ttl="system")
    tuned = await root.read("sys/mounts/kv/tune")
    assert (tuned["default_lease_ttl"], tuned["max_lease_ttl"]) == (2764800, 2764800)


async def test_an_auth_mount_has_two_tuning_paths(root: Any) -> None:
    """sys/auth/x/tune and sys/mounts/auth/x/tune are the same."""
    await root.write("sys/auth/up", type="userpass")
    await root.write("sys/mounts/auth/up/tune", max_lease_ttl="30h")
    tuned = await root.read("sys/auth/up/tune")
    assert tuned == await root.read("sys/mounts/auth/up/tune")
    assert (tuned["max_lease_ttl"], tuned["token_type"]) == (108000, "default-service")


async def test_a_kv_mount_gets_versions_only_while_empty(root: Any) -> None:
    """Version 1 becomes 2 without secrets, not with them, and never goes back."""
    await root.write("sys/mounts/kv", type="kv")
    await root.write("kv/x", k="v")
    with pytest.raises(InvalidRequestError, match="holds secrets"):
        await root.write("sys/mounts/kv/tune", options={"version": "2"})
    await root.delete("kv/x")
    await root.write("sys/mounts/kv/tune", options={"version": "2"})
    await root.write("kv/data/x", data={"k": "v"})
    with pytest.raises(InvalidRequestError, match="cannot downgrade mount from version 2"):
        await root.write("sys/mounts/kv/tune", options={"version": "1"})


@pytest.mark.parametrize("path", ["mounts/nope", "mounts/nope/tune", "auth/nope", "auth/nope/tune"])
async def test_a_missing_mount(root: Any, path: str) -> None:
    """Reading a mount that is not there is a 400, disabling it is no error."""
    with pytest.raises(InvalidRequestError):
        await root.read(f"sys/{path}")
    if not path.endswith("tune"):
        assert await root.delete(f"sys/{path}") == {}


@pytest.mark.parametrize("path", ["mounts/sys", "mounts/cubbyhole", "auth/token", "mounts/auth/token"])
async def test_fixed_mounts_stay(root: Any, path: str) -> None:
    """What secretd cannot be without is not disabled."""
    with pytest.raises(InvalidRequestError, match="cannot"):
        await root.delete(f"sys/{path}")


async def test_disabling_ends_leases_first(root: Any, lender: Any) -> None:
    """When the call has answered, no account is left, and nothing of the mount is."""
    await root.write("sys/mounts/names", type="lender")
    await root.write("names/roles/r", ttl="1h")
    lease = await root.lease("names/creds/r")
    assert lender.accounts
    await root.delete("sys/mounts/names")
    assert not lender.accounts
    assert "names/" not in await root.read("sys/mounts")
    with pytest.raises(InvalidRequestError, match="invalid lease"):
        await root.write("sys/leases/lookup", lease_id=lease)


async def test_a_mount_whose_leases_live_on_is_not_gone(root: Any, lender: Any) -> None:
    """If an end fails, the caller is told, nothing is born there any more, and asking again finishes it."""
    await root.write("sys/mounts/names", type="lender")
    await root.write("names/roles/r", ttl="1h")
    await root.lease("names/creds/r")
    lender.is_broken = True
    answer = await root.ask(DELETE, "sys/mounts/names")
    assert "could not be ended yet" in answer.warnings[0]
    with pytest.raises(NotFoundError):
        await root.read("names/creds/r")
    with pytest.raises(InvalidRequestError, match="already in use"):
        await root.write("sys/mounts/names", type="kv")
    lender.is_broken = False
    await root.write("sys/leases/revoke-prefix/names")
    await root.delete("sys/mounts/names")
    assert not lender.accounts


async def test_disabling_an_auth_mount_ends_its_logins(root: Any) -> None:
    """Tokens of the mount are over when the call has answered."""
    await root.write("sys/auth/up", type="userpass")
    await root.write("auth/up/users/bob", password="a-long-password", policies="default")  # noqa: S106 -- of a test
    grant = (await root.as_token("").ask(UPDATE, "auth/up/login/bob", password="a-long-password")).auth  # noqa: S106
    bob = root.as_token(grant.client_token)
    assert await bob.read("auth/token/lookup-self")
    await root.delete("sys/auth/up")
    with pytest.raises(PermissionDeniedError):
        await bob.read("auth/token/lookup-self")


async def test_a_move_is_done_when_it_answers(root: Any) -> None:
    """Storage goes with the mount, the old path is free, and the status path says success."""
    await root.write("sys/mounts/old", type="kv")
    await root.write("old/x", k="v")
    moved = await root.write("sys/remount", **{"from": "old", "to": "new/place"})
    assert await root.read("new/place/x") == {"k": "v"}
    with pytest.raises(NotFoundError):
        await root.read("old/x")
    status = await root.read(f"sys/remount/status/{moved['migration_id']}")
    assert status["migration_info"] == {
        "source_mount": "old/",
        "target_mount": "new/place/",
        "status": "success",
    }


@pytest.mark.parametrize(
    ("source", "target", "text"),
    [
        ("", "x", "must be specified"),
        ("nope", "x", 'no matching mount at "nope/"'),
        ("kv", "up", "path is already in use at up/"),
        ("sys", "x", 'cannot remount "sys/"'),
        ("kv", "sys/x", "cannot remount"),
        ("auth/login", "x", "non-auth mount"),
        ("kv", "auth/x", "cannot remount"),
    ],
)
async def test_what_cannot_move(root: Any, source: str, target: str, text: str) -> None:
    """A move that cannot be leaves everything where it was."""
    await root.write("sys/mounts/kv", type="kv")
    await root.write("sys/mounts/up", type="kv")
    await root.write("sys/auth/login", type="userpass")
    with pytest.raises(InvalidRequestError, match=text):
        await root.write("sys/remount", **{"from": source, "to": target})
    assert {"kv/", "up/"} <= set(await root.read("sys/mounts"))


async def test_mounts_are_seen_by_who_may_use_them(root: Any) -> None:
    """The CLI's first question needs no policy of its own, costs no use, and is 403 elsewhere."""
    await root.write("sys/mounts/kv", type="kv", options={"version": "2"})
    await root.write("sys/mounts/other", type="kv")
    reader = await root.new_token(_READER, num_uses=1, no_default_policy=True)
    seen = await reader.read("sys/internal/ui/mounts/kv/team/x")
    assert (seen["type"], seen["path"], seen["options"]) == ("kv", "kv/", {"version": "2"})
    for path in ("other/x", "nope/x"):
        with pytest.raises(PermissionDeniedError):
            await reader.read(f"sys/internal/ui/mounts/{path}")
    assert list((await reader.read("sys/internal/ui/mounts"))["secret"]) == ["kv/"]
    with pytest.raises(PermissionDeniedError):
        await reader.read("sys/mounts")


async def test_without_a_token_only_what_is_shown_to_all(root: Any) -> None:
    """Nobody sees the mounts that listing_visibility shows, and no path; a bad token sees nothing at all."""
    await root.write("sys/mounts/open", type="kv", config={"listing_visibility": "unauth"})
    nobody, stranger = root.as_token(""), root.as_token("hvs.stranger")
    seen = await nobody.read("sys/internal/ui/mounts")
    assert seen == {"secret": {"open/": {"type": "kv", "description": "", "options": {}}}, "auth": {}}
    for client in (nobody, stranger):
        with pytest.raises(PermissionDeniedError):
            await client.read("sys/internal/ui/mounts/open/x")


async def test_auth_mounts_need_sudo(root: Any) -> None:
    """As in Vault, update on sys/auth/x alone enables nothing."""
    token = await root.new_token('path "sys/auth/*" { capabilities = ["create", "update", "delete"] }')
    with pytest.raises(PermissionDeniedError):
        await token.write("sys/auth/up", type="userpass")


async def test_lists_are_at_top_level_too(root: Any) -> None:
    """Old clients read the mounts at top level, new ones under data."""
    for path in ("sys/mounts", "sys/auth", "sys/mounts/sys", "sys/mounts/sys/tune"):
        assert (await root.ask(READ, path)).spread
