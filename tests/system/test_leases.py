"""sys/leases: look-ups, lists, renewals and ends of promises."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from secretd.sdk.errors import InvalidRequestError, NotFoundError, PermissionDeniedError, UnavailableError
from secretd.sdk.request import READ, UPDATE


@pytest.fixture
async def names(root: Any) -> Any:
    """A mount that leases names for an hour."""
    await root.write("sys/mounts/names", type="lender")
    await root.write("names/roles/r", ttl="1h")
    return root


async def _end_now(root: Any) -> None:
    """Let the revoker do what is due, without waiting for its turn."""
    while await root.core.parts.revoker.run_once():
        continue


async def test_a_lease_can_be_looked_at(names: Any) -> None:
    """The look-up has Vault's fields; last_renewal is null until there was one."""
    lease_id = await names.lease("names/creds/r")
    seen = await names.write("sys/leases/lookup", lease_id=lease_id)
    assert (seen["id"], seen["renewable"], seen["last_renewal"]) == (lease_id, True, None)
    assert 3500 < seen["ttl"] <= 3600
    assert seen["issue_time"] < seen["expire_time"]
    await names.write("sys/leases/renew", lease_id=lease_id)
    assert (await names.write("sys/leases/lookup", lease_id=lease_id))["last_renewal"]


@pytest.mark.parametrize("path", ["sys/leases/renew", "sys/renew"])
@pytest.mark.parametrize("in_path", [True, False])
async def test_renewal_by_all_paths(names: Any, path: str, in_path: bool) -> None:  # noqa: FBT001 -- a parameter
    """Old and new path, id in the path or in the body: the same renewal."""
    lease_id = await names.lease("names/creds/r")
    path, data = (f"{path}/{lease_id}", {}) if in_path else (path, {"lease_id": lease_id})
    renewed = await names.ask(UPDATE, path, increment="2h", **data)
    assert (renewed.lease.id, renewed.lease.duration, renewed.lease.renewable) == (lease_id, 7200, True)
    assert renewed.data is None


async def test_renewal_past_the_maximum_is_cut(names: Any) -> None:
    """Renewing beyond the maximum is no error; the warning names the limit."""
    lease_id = await names.lease("names/creds/r")
    renewed = await names.ask(UPDATE, "sys/leases/renew", lease_id=lease_id, increment="99999h")
    assert renewed.lease.duration <= 2764800
    assert "max_ttl" in renewed.warnings[0]


@pytest.mark.parametrize(
    ("path", "text"),
    [("leases/lookup", "invalid lease"), ("leases/renew", "lease not found"), ("renew", "lease not found")],
)
async def test_what_is_over_is_not_there(names: Any, path: str, text: str) -> None:
    """A revoked lease and one that never was get the same text, the one that clients look for."""
    lease_id = await names.lease("names/creds/r")
    await names.write("sys/leases/revoke", lease_id=lease_id, sync=False)
    for gone in (lease_id, "names/creds/r/never"):
        with pytest.raises(InvalidRequestError, match=text):
            await names.write(f"sys/{path}", lease_id=gone)
    with pytest.raises(InvalidRequestError, match="lease_id must be specified"):
        await names.write(f"sys/{path}")


@pytest.mark.parametrize("path", ["sys/leases/revoke", "sys/revoke"])
async def test_a_synchronous_end_is_proved(names: Any, lender: Any, path: str) -> None:
    """Revoking waits by default: when it has answered the account is gone, and again is no error."""
    lease_id, other = await names.lease("names/creds/r"), await names.lease("names/creds/r")
    await names.write(path, lease_id=lease_id)
    assert len(lender.accounts) == 1
    await names.write(f"{path}/{other}")
    await names.write(path, lease_id=other)
    assert not lender.accounts


async def test_a_failing_end_is_told_and_tried_again(names: Any, lender: Any) -> None:
    """A synchronous caller learns that the end failed; the lease is visible; asking again does not wait."""
    lease_id = await names.lease("names/creds/r")
    lender.is_broken = True
    with pytest.raises(UnavailableError, match="could not be ended yet"):
        await names.write("sys/leases/revoke", lease_id=lease_id)
    seen = await names.write("sys/leases/lookup", lease_id=lease_id)
    assert (seen["renewable"], seen["ttl"]) == (False, 0)
    lender.is_broken = False
    await names.write("sys/leases/revoke", lease_id=lease_id, sync=False)
    await _end_now(names)
    assert not lender.accounts


@pytest.mark.parametrize("path", ["sys/leases/revoke-prefix", "sys/revoke-prefix"])
@pytest.mark.parametrize("prefix", ["names", "names/", "names/creds/r", "names/creds/*", "names/creds/r/"])
async def test_a_prefix_ends_all_below(names: Any, lender: Any, path: str, prefix: str) -> None:
    """Every spelling of the folder ends its leases; what only begins with the same letters lives."""
    await names.write("names/roles/rest", ttl="1h")
    await asyncio.gather(*(names.lease("names/creds/r") for _ in range(3)))
    await names.lease("names/creds/rest")
    await names.write(f"{path}/{prefix}")
    assert len(lender.accounts) == (1 if "/r" in prefix else 0)


async def test_a_lease_id_is_a_prefix_of_one(names: Any, lender: Any) -> None:
    """revoke-prefix with a whole lease id ends that lease alone."""
    lease_id = await names.lease("names/creds/r")
    await names.lease("names/creds/r")
    await names.write(f"sys/leases/revoke-prefix/{lease_id}")
    assert len(lender.accounts) == 1


@pytest.mark.parametrize("path", ["sys/leases/revoke-force", "sys/revoke-force"])
async def test_force_leaves_a_tombstone(names: Any, lender: Any, path: str) -> None:
    """Force gives up a lease whose target is gone: nobody holds it, its row still names the account."""
    lease_id = await names.lease("names/creds/r")
    lender.is_broken = True
    await names.write(f"{path}/names/creds")
    assert await names.list("sys/leases/lookup") == []
    assert (await names.core.parts.leases.find_state(lease_id))["state"] == "abandoned"
    with pytest.raises(InvalidRequestError, match="invalid lease"):
        await names.write("sys/leases/lookup", lease_id=lease_id)


async def test_the_list_is_a_tree(names: Any) -> None:
    """Lease ids are listed part by part, with or without slashes at the ends."""
    lease_id = await names.lease("names/creds/r")
    assert await names.list("sys/leases/lookup") == ["names/"]
    for prefix in ("names/creds", "names/creds/", "/names/creds"):
        assert await names.list(f"sys/leases/lookup/{prefix}") == ["r/"]
    assert await names.list("sys/leases/lookup/names/creds/r") == [lease_id.rpartition("/")[2]]
    assert await names.list("sys/leases/lookup/nothing") == []


async def test_leases_are_counted_by_mount(names: Any, lender: Any) -> None:
    """The count is by mount accessor; irrevocable ones are those whose end failed six times."""
    await names.lease("names/creds/r")
    accessor = (await names.read("sys/mounts/names"))["accessor"]
    assert await names.read("sys/leases/count") == {"lease_count": 1, "counts": {accessor: 1}}
    assert (await names.read("sys/leases/count", type="irrevocable"))["lease_count"] == 0
    lender.is_broken = True
    for _ in range(100):  # the revoker's own task makes some of the attempts
        await names.write("sys/leases/revoke-prefix/names", sync=False)
        await _end_now(names)
        found = await names.read("sys/leases", type="irrevocable")
        if found["lease_count"]:
            break
    assert (found["leases"][0]["mount_id"], found["leases"][0]["error"]) == (accessor, "out_of_order")


@pytest.mark.parametrize("path", ["sys/leases", "sys/leases/count"])
async def test_other_kinds_of_leases_are_not_there(root: Any, path: str) -> None:
    """Only ``irrevocable`` is a type of lease."""
    with pytest.raises(NotFoundError):
        await root.read(path, type="nope")


@pytest.mark.parametrize(
    "path",
    [
        "leases/revoke-prefix/names", "leases/revoke-force/names", "revoke-prefix/names", "revoke-force/names",
    ],
)  # fmt: skip
async def test_prefixes_need_sudo(names: Any, lender: Any, path: str) -> None:
    """Update on a prefix path, old or new, ends nothing without sudo."""
    await names.lease("names/creds/r")
    weak = await names.new_token('path "sys/*" { capabilities = ["update", "list"] }')
    with pytest.raises(PermissionDeniedError):
        await weak.write(f"sys/{path}")
    with pytest.raises(PermissionDeniedError):
        await weak.list("sys/leases/lookup/names")
    assert lender.accounts


@pytest.mark.parametrize(
    "path", ["sys/leases/revoke-prefix/", "sys/leases/revoke-force/", "sys/leases/revoke-force/*"]
)
async def test_no_prefix_is_not_every_prefix(names: Any, lender: Any, path: str) -> None:
    """An empty prefix is refused: nobody ends everything by a forgotten word."""
    await names.lease("names/creds/r")
    with pytest.raises((InvalidRequestError, NotFoundError)):
        await names.write(path)
    assert lender.accounts


async def test_part_of_an_id_is_not_a_lease(names: Any, lender: Any) -> None:
    """Revoke by id takes no prefix, whatever is stored under it, even one whose end fails."""
    lease_id = await names.lease("names/creds/r")
    lender.is_broken = True
    with pytest.raises(UnavailableError):
        await names.write("sys/leases/revoke", lease_id=lease_id)
    other = await names.lease("names/creds/r")
    for part in ("n", "names/creds/r/", other[:-1]):
        await names.write("sys/leases/revoke", lease_id=part)
    assert (await names.write("sys/leases/lookup", lease_id=other))["renewable"] is True


@pytest.mark.parametrize("prefix", ["auth/up/login/bob", "auth/up/login/", "auth/up", "auth/up/*"])
async def test_an_auth_prefix_ends_logins(root: Any, prefix: str) -> None:
    """revoke-prefix below an auth mount ends the tokens that logins there gave out, and no others."""
    await root.write("sys/auth/up", type="userpass")
    tokens = {}
    for name in ("bob", "bobby"):
        await root.write(f"auth/up/users/{name}", password="a-long-password")  # noqa: S106 -- of a test
        login = await root.as_token("").ask(UPDATE, f"auth/up/login/{name}", password="a-long-password")  # noqa: S106
        tokens[name] = root.as_token(login.auth.client_token)
    await root.write(f"sys/leases/revoke-prefix/{prefix}")
    with pytest.raises(PermissionDeniedError):
        await tokens["bob"].read("auth/token/lookup-self")
    if prefix.endswith("bob"):
        assert await tokens["bobby"].read("auth/token/lookup-self")


@pytest.mark.parametrize("prefix", ["auth/token", "auth/token/create", "auth/nope", "auth"])
async def test_not_every_auth_prefix_has_logins(root: Any, prefix: str) -> None:
    """Tokens that were made and not logged in for are not ended by a prefix: the caller is told, not fooled."""
    token = await root.new_token(policies=["default"])
    with pytest.raises((InvalidRequestError, NotFoundError)):
        await root.write(f"sys/leases/revoke-prefix/{prefix}")
    assert await token.read("auth/token/lookup-self")


async def test_tidy_keeps_what_lives(names: Any) -> None:
    """Tidy answers, and the live lease is still there."""
    lease_id = await names.lease("names/creds/r")
    assert (await names.ask(UPDATE, "sys/leases/tidy")).warnings
    assert await names.write("sys/leases/lookup", lease_id=lease_id)


async def test_metrics_count_leases_by_state(names: Any) -> None:
    """A scrape shows the leases of all daemons, and no label holds a path or an id."""
    await names.lease("names/creds/r")
    text, kind = (await names.ask(READ, "sys/metrics")).raw
    assert kind.startswith("text/plain")
    assert b'secretd_leases{state="active"} 1.0' in text
    assert b"secretd_unsealed 1.0" in text
    assert b"creds" not in text


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
async def test_a_moment_at_the_edge_of_time_is_the_callers_error(root: Any, moment: str) -> None:
    """A moment whose UTC is no year that storage's driver knows is a 400."""
    with pytest.raises(InvalidRequestError):
        await root.write("sys/leases/revoke", lease_id="a/b", at=moment)


async def test_an_endless_limit_is_a_limit(root: Any) -> None:
    """Thousands of digits are a whole number, and cost nothing."""
    seen = await root.read("sys/leases", type="irrevocable", limit="9" * 5000)
    assert seen["lease_count"] == 0
