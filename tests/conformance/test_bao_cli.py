"""Other people's command line: ``bao``, unmodified, against the server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.cli import Bao
from conformance.postgres import Target
from conformance.servers import Server

POLICY = 'path "kv/*" { capabilities = ["read"] }\n'


@pytest.fixture
def bao(server: Server, tmp_path: Path) -> Bao:
    """The root's command line."""
    return Bao(server.url, server.root_token, tmp_path)


@pytest.fixture
def as_token(server: Server, tmp_path: Path) -> Callable[[str], Bao]:
    """A command line with another token."""
    return lambda token: Bao(server.url, token, tmp_path)


def test_kv_version_2(bao: Bao, kv2: str) -> None:
    """put, get, patch, list, versions, delete, undelete, destroy, rollback, metadata."""
    put = bao.json("kv", "put", f"-mount={kv2}", "a/x", "one=1", "two=zwei")
    assert put["data"]["version"] == 1
    assert bao("kv", "get", "-field=two", f"{kv2}/a/x") == "zwei"
    assert bao.json("kv", "get", f"-mount={kv2}", "a/x")["data"]["data"] == {"one": "1", "two": "zwei"}
    bao("kv", "patch", f"-mount={kv2}", "a/x", "three=3")
    bao("kv", "patch", "-method=rw", f"-mount={kv2}", "a/x", "four=4")
    assert bao.json("kv", "get", f"-mount={kv2}", "a/x")["data"]["data"]["four"] == "4"
    assert bao.json("kv", "list", f"-mount={kv2}", "a") == ["x"]
    assert bao.json("kv", "list", kv2) == ["a/"]
    bao("kv", "delete", f"-mount={kv2}", "a/x")
    assert bao.run("kv", "get", f"-mount={kv2}", "-field=one", "a/x").code != 0
    bao("kv", "undelete", "-versions=3", f"-mount={kv2}", "a/x")
    bao("kv", "destroy", "-versions=1", f"-mount={kv2}", "a/x")
    assert bao.run("kv", "get", "-version=1", "-field=one", f"-mount={kv2}", "a/x").code != 0
    bao("kv", "rollback", "-version=2", f"-mount={kv2}", "a/x")
    bao("kv", "metadata", "put", "-max-versions=7", "-custom-metadata=owner=me", f"-mount={kv2}", "a/x")
    bao("kv", "metadata", "patch", "-custom-metadata=team=b", f"-mount={kv2}", "a/x")
    shown = bao("kv", "metadata", "get", f"-mount={kv2}", "a/x")
    assert "owner" in shown
    assert "team" in shown
    assert "Version 4" in shown
    assert bao.run("kv", "put", "-cas=1", f"-mount={kv2}", "a/x", "a=b").code == 2
    bao("kv", "metadata", "delete", f"-mount={kv2}", "a/x")
    assert bao.run("kv", "list", kv2).code == 2


def test_kv_version_1(bao: Bao, kv1: str) -> None:
    """The same words where nothing is versioned."""
    bao("kv", "put", f"{kv1}/x", "a=1")
    assert bao("kv", "get", "-field=a", f"{kv1}/x") == "1"
    assert bao.json("kv", "list", kv1) == ["x"]
    bao("kv", "delete", f"{kv1}/x")
    assert bao.run("kv", "get", f"{kv1}/x").code == 2


def test_read_write_list_delete(bao: Bao, kv1: str) -> None:
    """The plain verbs; values from standard input."""
    bao("write", f"{kv1}/x", "a=1", "b=2")
    assert bao.json("read", f"{kv1}/x")["data"] == {"a": "1", "b": "2"}
    bao("write", f"{kv1}/y", "-", given='{"from": "stdin"}')
    assert bao("read", "-field=from", f"{kv1}/y") == "stdin"
    assert bao.json("list", kv1) == ["x", "y"]
    bao("delete", f"{kv1}/x")
    assert bao.run("read", f"{kv1}/x").code == 2


def test_secrets(bao: Bao, name: str) -> None:
    """enable, list, tune, disable."""
    bao("secrets", "enable", f"-path={name}", "-description=of a test", "-default-lease-ttl=30m", "kv-v2")
    bao("secrets", "tune", "-max-lease-ttl=1h", name)
    listed = bao.json("secrets", "list")
    assert listed[f"{name}/"]["description"] == "of a test"
    assert listed[f"{name}/"]["config"]["max_lease_ttl"] == 3600
    assert listed[f"{name}/"]["config"]["default_lease_ttl"] == 1800, (
        "a flag that was not given changes nothing"
    )
    assert f"{name}/" in bao("secrets", "list", "-detailed")
    bao("kv", "put", f"-mount={name}", "x", "a=1")
    bao("secrets", "disable", name)
    assert f"{name}/" not in bao.json("secrets", "list")


def test_policy(bao: Bao, name: str) -> None:
    """write, read, list, delete; fmt stays local."""
    bao("policy", "write", name, "-", given=POLICY)
    assert bao("policy", "read", name).strip() == POLICY.strip()
    assert name in bao.json("policy", "list")
    bao("policy", "delete", name)
    assert bao.run("policy", "read", name).code == 2


def test_token(bao: Bao, as_token: Callable[[str], Bao], name: str) -> None:
    """create, lookup, renew, capabilities, revoke, by token and by accessor."""
    bao("policy", "write", name, "-", given=POLICY)
    made = bao.json(
        "token", "create", f"-policy={name}", "-ttl=1h", "-display-name=cli", "-metadata=a=b", "-use-limit=50"
    )["auth"]
    token, accessor = made["client_token"], made["accessor"]
    found = bao.json("token", "lookup", token)["data"]
    assert found["display_name"] == "token-cli"
    assert found["meta"] == {"a": "b"}
    assert bao.json("token", "lookup", "-accessor", accessor)["data"]["accessor"] == accessor
    assert bao("token", "capabilities", token, "kv/x").strip() == "read"
    assert as_token(token)("token", "capabilities", "kv/x").strip() == "read"
    assert bao.json("token", "renew", "-increment=30m", token)["auth"]["lease_duration"] == 1800
    assert as_token(token).json("token", "lookup")["data"]["id"] == token
    bao("token", "revoke", token)
    assert as_token(token).run("token", "lookup").code == 2
    other = bao.json("token", "create", "-orphan", "-period=10m")["auth"]
    bao("token", "revoke", "-accessor", other["accessor"])
    last = bao.json("token", "create", "-policy=default")["auth"]["client_token"]
    as_token(last)("token", "revoke", "-self")
    bao("policy", "delete", name)


async def test_a_login_is_read_renewed_and_revoked(bao: Bao, database_mount: str, pg_target: Target) -> None:
    """write database/config and roles, read database/creds, lease lookup, renew and revoke."""
    db = database_mount
    bao(
        "write", f"{db}/config/pg", "plugin_name=postgresql-database-plugin", "allowed_roles=*",
        f"connection_url={pg_target.url}", f"username={pg_target.username}", f"password={pg_target.password}",
    )  # fmt: skip
    bao(
        "write",
        f"{db}/roles/app",
        "db_name=pg",
        f"creation_statements={pg_target.creation[0]}",
        "default_ttl=10m",
    )
    made = bao.json("read", f"{db}/creds/app")
    login = (made["data"]["username"], made["data"]["password"])
    await pg_target.query("SELECT 1", login=login)
    assert made["lease_duration"] == 600
    assert bao.json("lease", "lookup", made["lease_id"])["data"]["ttl"] > 590
    assert bao.json("lease", "renew", "-increment=1200", made["lease_id"])["lease_duration"] == 1200
    assert bao.json("list", f"sys/leases/lookup/{db}/creds/app") == [made["lease_id"].rpartition("/")[2]]
    bao("lease", "revoke", "-sync", made["lease_id"])
    assert login[0] not in await pg_target.roles()
    again = bao.json("read", f"{db}/creds/app")
    bao("lease", "revoke", "-prefix", "-sync", f"{db}/creds/app")
    assert again["data"]["username"] not in await pg_target.roles()
    assert bao.run("lease", "lookup", made["lease_id"]).code == 2


def test_audit(bao: Bao, server: Server, name: str) -> None:
    """enable, list, disable."""
    path = server.audit_folder / f"{name}.log"
    bao("audit", "enable", f"-path={name}", "file", f"file_path={path}")
    assert bao.json("audit", "list")[f"{name}/"]["options"]["file_path"] == str(path)
    bao("read", "sys/mounts")
    assert path.stat().st_size
    bao("audit", "disable", name)
    assert bao.run("audit", "list").code in {0, 2}


def test_auth_and_logins(bao: Bao, server: Server, tmp_path: Path, name: str) -> None:
    """auth enable, list, tune, disable; login by userpass; write auth/approle/login."""
    people, machines = f"up-{name}", f"ar-{name}"
    bao("auth", "enable", f"-path={people}", "userpass")
    bao("auth", "enable", f"-path={machines}", "approle")
    bao("auth", "tune", "-default-lease-ttl=20m", people)
    listed = bao.json("auth", "list")
    assert listed[f"{people}/"]["type"] == "userpass"
    assert listed[f"{people}/"]["config"]["default_lease_ttl"] == 1200
    bao("write", f"auth/{people}/users/ann", "password=secret-1", "token_policies=default")
    stranger = Bao(server.url, "", tmp_path)
    made = stranger.json(
        "login", "-no-store", "-method=userpass", f"-path={people}", "username=ann", "password=secret-1"
    )
    assert made["auth"]["metadata"] == {"username": "ann"}
    stranger("login", "-method=userpass", f"-path={people}", "username=ann", "password=secret-1")
    assert stranger.json("token", "lookup")["data"]["display_name"] == f"{people}-ann", (
        "from the token helper's file"
    )
    assert (
        stranger.run(
            "login", "-no-store", "-method=userpass", f"-path={people}", "username=ann", "password=x"
        ).code
        == 2
    )
    bao("write", f"auth/{machines}/role/app", "token_policies=default", "token_ttl=10m")
    role_id = bao("read", "-field=role_id", f"auth/{machines}/role/app/role-id")
    secret_id = bao("write", "-f", "-field=secret_id", f"auth/{machines}/role/app/secret-id")
    login = stranger.json("write", f"auth/{machines}/login", f"role_id={role_id}", f"secret_id={secret_id}")
    assert login["auth"]["lease_duration"] == 600
    bao("login", "-no-print", server.root_token)
    for path in (people, machines):
        bao("auth", "disable", path)


def test_status_and_path_help(bao: Bao, kv1: str) -> None:
    """status is 0 while unsealed; path-help tells a mount's story."""
    assert bao.json("status")["sealed"] is False
    assert bao("path-help", kv1).strip()
    assert bao("path-help", "sys/mounts").strip()


def test_operator(fresh: Server, tmp_path: Path) -> None:
    """init, unseal with progress, seal, rotate, key-status."""
    stranger = Bao(fresh.url, "", tmp_path)
    assert stranger.run("operator", "init", "-status").code == 2
    assert stranger.run("status").code == 2
    made = stranger.json("operator", "init", "-key-shares=3", "-key-threshold=2")
    assert len(made["unseal_keys_b64"]) == len(made["unseal_keys_hex"]) == 3
    assert stranger.json("operator", "unseal", made["unseal_keys_b64"][0])["progress"] == 1
    assert stranger.json("operator", "unseal", "-reset")["progress"] == 0
    for share in made["unseal_keys_hex"][:2]:
        stranger("operator", "unseal", share)
    fresh.await_active()
    assert stranger.run("operator", "init", "-status").code == 0
    root = Bao(fresh.url, made["root_token"], tmp_path)
    first = root.json("operator", "key-status")["term"]
    root("operator", "rotate")
    assert root.json("operator", "key-status")["term"] == first + 1
    root("operator", "seal")
    assert stranger.run("status").code == 2
    assert root.run("secrets", "list").code == 2
