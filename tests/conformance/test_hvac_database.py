"""hvac: the database engine with the real plugin on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import asyncpg
import hvac
import pytest

from conformance.postgres import Target
from conformance.servers import Server

SCRAM_DIALECT = "SCRAM-SHA-256$"


async def _until_gone(pg_target: Target, role: str) -> None:
    """OpenBao revokes beside the call that asked for it."""
    limit = time.monotonic() + 15
    while role in await pg_target.roles():
        assert time.monotonic() < limit, "the login outlives its lease"
        await asyncio.sleep(0.05)


async def test_a_login_is_leased_used_renewed_and_refused(
    api: hvac.Client, database_mount: str, pg_target: Target
) -> None:
    """The main job: it logs in while its lease lives, and neither it nor its account is there afterwards."""
    pg_target.connect(api, database_mount)
    pg_target.role(api, database_mount, default_ttl="30m", max_ttl="1h")
    made = api.secrets.database.generate_credentials("app", mount_point=database_mount)
    assert made["lease_id"].startswith(f"{database_mount}/creds/app/")
    assert made["lease_duration"] == 1800
    assert made["renewable"] is True
    assert made["auth"] is made["wrap_info"] is None
    username, password = made["data"]["username"], made["data"]["password"]
    assert username.startswith("v-")
    assert len(username) <= 63
    assert set(made["data"]) == {"username", "password"}
    assert (await pg_target.query("SELECT session_user::text AS who", login=(username, password)))[0][
        "who"
    ] == username
    renewed = api.sys.renew_lease(made["lease_id"], increment=2400)
    assert renewed["lease_duration"] == 2400
    assert renewed["lease_id"] == made["lease_id"]
    cut = api.sys.renew_lease(made["lease_id"], increment=99999)
    assert cut["lease_duration"] <= 3600
    assert cut["warnings"]
    api.sys.revoke_lease(made["lease_id"])
    await _until_gone(pg_target, username)
    with pytest.raises(asyncpg.PostgresError):
        await pg_target.query("SELECT 1", login=(username, password))


async def test_the_plugin_knows_what_to_do_without_statements(
    server: Server, api: hvac.Client, database_mount: str, pg_target: Target
) -> None:
    """Our default recipe: membership of a group role that outlives every login."""
    if server.target == "bao":
        pytest.skip("OpenBao has no default recipe")
    group = f"group_{uuid.uuid4().hex[:8]}"
    await pg_target.query(f'CREATE ROLE "{group}" NOLOGIN')
    try:
        pg_target.connect(api, database_mount)
        answer = server.send(
            "POST", f"{database_mount}/roles/app", {"db_name": "pg", "group_role": group, "default_ttl": "5m"}
        )
        assert answer.status == 204, answer.errors
        made = api.secrets.database.generate_credentials("app", mount_point=database_mount)
        login = (made["data"]["username"], made["data"]["password"])
        found = await pg_target.query(
            f"SELECT pg_has_role(session_user, '{group}', 'member') AS ok", login=login
        )
        assert found[0]["ok"] is True
        api.sys.revoke_prefix(f"{database_mount}/creds/app")
        await _until_gone(pg_target, login[0])
    finally:
        await pg_target.query(f'DROP ROLE IF EXISTS "{group}"')


async def test_the_target_never_learns_the_password_in_clear(
    server: Server, api: hvac.Client, database_mount: str, pg_target: Target
) -> None:
    """What the target stores is a SCRAM verifier, made by us."""
    pg_target.connect(api, database_mount, password_authentication="scram-sha-256")
    pg_target.role(api, database_mount, default_ttl="5m")
    made = api.secrets.database.generate_credentials("app", mount_point=database_mount)["data"]
    rows = await pg_target.query("SELECT rolpassword FROM pg_authid WHERE rolname = $1", made["username"])
    assert rows[0]["rolpassword"].startswith(SCRAM_DIALECT)
    await pg_target.query("SELECT 1", login=(made["username"], made["password"]))


def test_a_connection_is_written_read_listed_and_deleted(
    server: Server, api: hvac.Client, database_mount: str, pg_target: Target
) -> None:
    """Its password is never answered; allowed_roles is a list however it was given."""
    pg_target.connect(api, database_mount, allowed_roles="one,two", username_template="")
    found = api.secrets.database.read_connection("pg", mount_point=database_mount)["data"]
    assert found["plugin_name"] == "postgresql-database-plugin"
    assert found["allowed_roles"] == ["one", "two"]
    assert found["connection_details"]["username"] == pg_target.username
    assert found["connection_details"]["connection_url"] == pg_target.url
    assert "password" not in found["connection_details"]
    if pg_target.password:
        assert pg_target.password not in server.send("GET", f"{database_mount}/config/pg").text.decode()
    assert api.secrets.database.list_connections(mount_point=database_mount)["data"]["keys"] == ["pg"]
    assert server.send("POST", f"{database_mount}/reset/pg", {}).status == 204
    api.secrets.database.delete_connection("pg", mount_point=database_mount)
    assert server.send("GET", f"{database_mount}/config/pg").status in {400, 404}
    assert server.send("LIST", f"{database_mount}/config").status == 404


def test_a_role_is_written_read_listed_and_deleted(
    server: Server, api: hvac.Client, database_mount: str, pg_target: Target
) -> None:
    """Statements come back as a list, spans as seconds."""
    pg_target.connect(api, database_mount)
    pg_target.role(api, database_mount, default_ttl="30m", max_ttl=7200)
    found = api.secrets.database.read_role("app", mount_point=database_mount)["data"]
    assert found["db_name"] == "pg"
    assert found["default_ttl"] == 1800
    assert found["max_ttl"] == 7200
    assert found["creation_statements"] == pg_target.creation
    assert found["revocation_statements"] == found["renew_statements"] == found["rollback_statements"] == []
    assert api.secrets.database.list_roles(mount_point=database_mount)["data"]["keys"] == ["app"]
    api.secrets.database.delete_role("app", mount_point=database_mount)
    assert server.send("GET", f"{database_mount}/roles/app").status == 404
    assert server.send("LIST", f"{database_mount}/roles").status == 404
    assert server.send("GET", f"{database_mount}/creds/app").status == 400


def test_only_allowed_roles_get_logins(
    server: Server, api: hvac.Client, database_mount: str, pg_target: Target
) -> None:
    """A role that its connection does not name is refused, and none is named by default."""
    pg_target.role(api, database_mount, creation_statements=["SELECT 1"])
    missing = server.send("GET", f"{database_mount}/creds/app")
    assert missing.status in {400, 500}
    pg_target.connect(api, database_mount, allowed_roles=["other"])
    refused = server.send("GET", f"{database_mount}/creds/app")
    assert refused.status in {400, 403, 500}
    assert "lease_id" not in (refused.json or {})


def test_a_role_of_a_missing_connection_is_kept_with_a_warning(
    server: Server, api: hvac.Client, database_mount: str, pg_target: Target
) -> None:
    """Its creds say which connection is missing, with a 400."""
    if server.target == "bao":
        pytest.skip("OpenBao answers 500")
    written = server.send(
        "POST", f"{database_mount}/roles/app", {"db_name": "nothere", "creation_statements": "SELECT 1"}
    )
    assert written.status == 200
    assert written.json["warnings"]
    answer = server.send("GET", f"{database_mount}/creds/app")
    assert answer.status == 400
    assert "nothere" in answer.errors[0]


def test_a_connection_is_tried_when_it_is_written(
    server: Server, api: hvac.Client, database_mount: str, pg_target: Target
) -> None:
    """A wrong password or nobody there is an error unless verify_connection is off; the password is in no answer."""
    body: dict[str, Any] = {
        "plugin_name": "postgresql-database-plugin",
        "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:1/{pg_target.database}",
        "username": pg_target.username,
        "password": "canary-of-a-password",
        "allowed_roles": "*",
    }
    refused = server.send("POST", f"{database_mount}/config/pg", body)
    assert refused.status in {400, 502, 503, 500}
    assert b"canary" not in refused.text
    assert server.send("GET", f"{database_mount}/config/pg").status in {400, 404}
    assert (
        server.send("POST", f"{database_mount}/config/pg", body | {"verify_connection": False}).status == 204
    )


def test_wrong_connections_are_refused(server: Server, database_mount: str, pg_target: Target) -> None:
    """An unknown plugin, no plugin, no address, and an address with unknown parameters."""
    for body in (
        {"plugin_name": "nonsense-database-plugin", "connection_url": pg_target.url},
        {"connection_url": pg_target.url},
        {"plugin_name": "postgresql-database-plugin"},
    ):
        answer = server.send("POST", f"{database_mount}/config/pg", {"allowed_roles": "*"} | body)
        assert answer.status in {400, 500}, body
        assert answer.status == 400 or server.target == "bao"
    if server.target == "secretd":
        odd = {"plugin_name": "postgresql-database-plugin", "connection_url": pg_target.url + "&nonsense=1"}
        answer = server.send("POST", f"{database_mount}/config/pg", odd)
        assert answer.status == 400
        assert "nonsense" in answer.errors[0]


async def test_a_broken_creation_leaves_nothing(
    server: Server, api: hvac.Client, database_mount: str, pg_target: Target
) -> None:
    """Statements that the target refuses make no login and no lease."""
    pg_target.connect(api, database_mount)
    pg_target.role(
        api,
        database_mount,
        creation_statements=["CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}'; SELECT 1/0"],
    )
    answer = server.send("GET", f"{database_mount}/creds/app")
    assert answer.status >= 400
    limit = time.monotonic() + 30  # a target's silence may have to be waited out
    while server.send("LIST", f"sys/leases/lookup/{database_mount}/creds/app").status != 404:
        assert time.monotonic() < limit, "the lease of what never was stays"
        await asyncio.sleep(0.2)


async def test_a_password_policy_makes_the_passwords(
    server: Server, api: hvac.Client, database_mount: str, pg_target: Target, name: str
) -> None:
    """The connection's policy is asked for each login's password."""
    policy = 'length = 40\nrule "charset" { charset = "abcdefghijkmnopq" }'
    api.write_data(f"sys/policies/password/{name}", data={"policy": policy})
    pg_target.connect(api, database_mount, password_policy=name)
    pg_target.role(api, database_mount, default_ttl="5m")
    made = api.secrets.database.generate_credentials("app", mount_point=database_mount)["data"]
    assert len(made["password"]) == 40
    assert set(made["password"]) <= set("abcdefghijkmnopq")
    await pg_target.query("SELECT 1", login=(made["username"], made["password"]))


async def test_disabling_the_mount_ends_its_logins_first(
    api: hvac.Client, pg_target: Target, name: str
) -> None:
    """Every login of the mount is gone when the mount is."""
    api.sys.enable_secrets_engine("database", path=name)
    pg_target.connect(api, name)
    pg_target.role(api, name)
    users = [
        api.secrets.database.generate_credentials("app", mount_point=name)["data"]["username"]
        for _ in range(3)
    ]
    api.sys.disable_secrets_engine(name)
    for user in users:
        await _until_gone(pg_target, user)
