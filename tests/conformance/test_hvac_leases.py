"""hvac: leases looked up, listed, renewed, revoked in all ways, tidied."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import hvac
import pytest
from hvac import exceptions

from conformance.postgres import Target
from conformance.servers import Server

NO_OLD_PATHS = "OpenBao has given up Vault's old paths"


@pytest.fixture
def lease(api: hvac.Client, database_mount: str, pg_target: Target) -> Callable[[], dict]:
    """A function that leases a login of half an hour."""
    pg_target.connect(api, database_mount)
    pg_target.role(api, database_mount, default_ttl="30m", max_ttl="1h")
    return lambda: api.secrets.database.generate_credentials("app", mount_point=database_mount)


async def _until_gone(server: Server, pg_target: Target, *leases: dict) -> None:
    """OpenBao ends leases beside the call that asked for it."""
    limit = time.monotonic() + 20
    for one in leases:
        while server.send("PUT", "sys/leases/lookup", {"lease_id": one["lease_id"]}).status == 200:
            assert time.monotonic() < limit
            await asyncio.sleep(0.05)
    while {one["data"]["username"] for one in leases} & await pg_target.roles():
        assert time.monotonic() < limit
        await asyncio.sleep(0.05)


def test_a_lease_is_looked_up(api: hvac.Client, server: Server, lease: Callable[[], dict]) -> None:
    """Times, renewability and what is left of it."""
    made = lease()
    found = api.sys.read_lease(made["lease_id"])["data"]
    assert found["id"] == made["lease_id"]
    assert 1790 < found["ttl"] <= 1800
    assert found["renewable"] is True
    assert found["last_renewal"] is None
    assert found["issue_time"] < found["expire_time"]
    api.sys.renew_lease(made["lease_id"])
    assert api.sys.read_lease(made["lease_id"])["data"]["last_renewal"]


def test_leases_are_listed_by_prefix(api: hvac.Client, server: Server, lease: Callable[[], dict]) -> None:
    """As folders down to the leases; an empty prefix is 404."""
    prefix, _, last = lease()["lease_id"].rpartition("/")
    mount = prefix.split("/")[0]
    assert last in api.sys.list_leases(prefix)["data"]["keys"]
    assert api.sys.list_leases(mount)["data"]["keys"] == ["creds/"]
    assert f"{mount}/" in server.send("LIST", "sys/leases/lookup").json["data"]["keys"]
    with pytest.raises(exceptions.InvalidPath):
        api.sys.list_leases(f"{mount}/creds/other")


def test_a_lease_is_renewed_by_all_its_paths(
    api: hvac.Client, server: Server, lease: Callable[[], dict]
) -> None:
    """The old path and the new one, the id in the body and in the path."""
    if server.target == "bao":
        pytest.skip(NO_OLD_PATHS)
    lease_id = lease()["lease_id"]
    for path, body in (
        ("sys/leases/renew", {"lease_id": lease_id, "increment": 1900}),
        ("sys/renew", {"lease_id": lease_id, "increment": "1900s"}),
        (f"sys/renew/{lease_id}", {"increment": 1900}),
        (f"sys/leases/renew/{lease_id}", {"increment": 1900}),
    ):
        answer = server.send("PUT", path, body)
        assert answer.status == 200, path
        assert answer.json["lease_duration"] == 1900, path


def test_what_is_not_there_is_neither_renewed_nor_found(server: Server, lease: Callable[[], dict]) -> None:
    """A 400 with a text that clients know."""
    prefix = lease()["lease_id"].rpartition("/")[0]
    body = {"lease_id": f"{prefix}/nothing"}
    renewed = server.send("PUT", "sys/leases/renew", body)
    assert renewed.status == 400
    assert "lease not found" in renewed.errors[0]
    found = server.send("PUT", "sys/leases/lookup", body)
    assert found.status == 400
    assert "invalid lease" in found.errors[0]
    assert server.send("PUT", "sys/leases/revoke", body).status == 204
    for path in ("lookup", "renew", "revoke"):
        assert server.send("PUT", f"sys/leases/{path}", {}).status == 400, path


async def test_a_lease_is_revoked_by_all_its_paths(
    server: Server, lease: Callable[[], dict], pg_target: Target
) -> None:
    """204 each, and the login is gone; with ``sync`` it is gone when the answer comes."""
    if server.target == "bao":
        pytest.skip(NO_OLD_PATHS)
    made = [lease() for _ in range(5)]
    ids = [one["lease_id"] for one in made]
    assert server.send("PUT", "sys/leases/revoke", {"lease_id": ids[0]}).status == 204
    assert server.send("PUT", f"sys/leases/revoke/{ids[1]}").status == 204
    assert server.send("PUT", "sys/revoke", {"lease_id": ids[2]}).status == 204
    assert server.send("PUT", f"sys/revoke/{ids[3]}").status == 204
    assert server.send("PUT", "sys/leases/revoke", {"lease_id": ids[4], "sync": True}).status == 204
    assert made[4]["data"]["username"] not in await pg_target.roles()
    await _until_gone(server, pg_target, *made)


async def test_prefixes_are_revoked(
    api: hvac.Client, server: Server, lease: Callable[[], dict], pg_target: Target
) -> None:
    """Every lease below goes; force goes even where the target is silent."""
    made = [lease() for _ in range(3)]
    prefix = made[0]["lease_id"].rpartition("/")[0]
    api.sys.revoke_prefix(prefix)
    await _until_gone(server, pg_target, *made)
    made = [lease()]
    assert server.send("PUT", f"sys/leases/revoke-prefix/{prefix}", {"sync": True}).status == 204
    assert made[0]["data"]["username"] not in await pg_target.roles()
    made = [lease()]
    api.sys.revoke_force(prefix)
    assert server.send("LIST", f"sys/leases/lookup/{prefix}").status == 404


async def test_a_token_takes_its_leases_with_it(
    api: hvac.Client, server: Server, lease: Callable[[], dict], pg_target: Target, name: str
) -> None:
    """Revoking the token that asked ends what it was given."""
    path = lease()["lease_id"].rpartition("/")[0]
    api.sys.create_or_update_policy(name, f'path "{path}" {{ capabilities = ["read"] }}')
    token = api.auth.token.create(policies=[name])["auth"]["client_token"]
    made = server.send("GET", path, token=token).json
    api.auth.token.revoke(token)
    await _until_gone(server, pg_target, made)


def test_a_lease_ends_no_later_than_its_token(
    api: hvac.Client, server: Server, lease: Callable[[], dict], name: str
) -> None:
    """The duration is the true minimum of all limits, and a warning names the one that binds."""
    if server.target == "bao":
        pytest.skip("OpenBao answers the role's TTL and says nothing")
    path = lease()["lease_id"].rpartition("/")[0]
    api.sys.create_or_update_policy(name, f'path "{path}" {{ capabilities = ["read"] }}')
    token = api.auth.token.create(policies=[name], ttl="5m", renewable=False)["auth"]["client_token"]
    made = server.send("GET", path, token=token).json
    assert made["lease_duration"] <= 300
    assert made["warnings"]


def test_leases_are_counted_and_tidied(server: Server, lease: Callable[[], dict]) -> None:
    """By type, the irrevocable ones separately; tidy is accepted."""
    lease()
    counted = server.send("GET", "sys/leases/count?type=irrevocable").json["data"]
    assert counted["lease_count"] == 0
    shown = server.send("GET", "sys/leases?type=irrevocable").json["data"]
    assert shown["lease_count"] == 0
    assert server.send("POST", "sys/leases/tidy").status in {200, 202}


def test_revocation_by_prefix_needs_sudo(api: hvac.Client, server: Server, name: str) -> None:
    """A right to update is not enough."""
    rules = 'path "sys/leases/*" { capabilities = ["update", "list"] } path "sys/revoke*" { capabilities = ["update"] }'
    api.sys.create_or_update_policy(name, rules)
    token = api.auth.token.create(policies=[name])["auth"]["client_token"]
    old = () if server.target == "bao" else ("sys/revoke-prefix/x", "sys/revoke-force/x")
    for path in ("sys/leases/revoke-prefix/x", "sys/leases/revoke-force/x", *old):
        assert server.send("PUT", path, token=token).status == 403, path
    assert server.send("LIST", "sys/leases/lookup/x", token=token).status == 403
