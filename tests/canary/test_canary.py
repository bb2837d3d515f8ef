"""The canary: the whole API runs with marked values, and afterwards no sink has one of them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import pytest

from canary.marks import Marks
from secretd.crypto.digest import random_token
from secretd.server.embedded import EmbeddedPostgres
from secretd.storage.migrate import migrate
from secretd_postgresql.scram import make_verifier
from support.clusters import NEWEST, binaries
from support.daemons import CREATION, Answer, Daemon

pytestmark = pytest.mark.crash
_LOUD = {
    "fsync": "off",
    "log_statement": "all",
    "log_min_messages": "debug1",
    "log_error_verbosity": "verbose",
}
_TARGETS_FAULT = {"GET db/creds/broken"}
_ABSENT = {"GET db/config/bad", "GET db/config/far"}
_AUDIT = """
[[audit]]
type = "file"
path = "{folder}/audit/main.log"
"""


@dataclass
class Walk:
    """A walk through the API. Every answer's warnings and every refusal's body is kept: they are sinks, too."""

    daemon: Daemon
    marks: Marks
    admin_password: str
    place: Any
    root: str = ""
    told: list[tuple[str, bytes]] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)

    async def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, headers: Any = None
    ) -> Answer:
        """One request, whatever the answer."""
        token = self.root if token is None else token
        answer = await self.daemon.ask(method, path, body, token=token, headers=headers)
        self.statuses[f"{method} {path}"] = answer.status
        if answer.status >= 400:
            self.told.append((path, answer.text))
        elif isinstance(answer.body, dict):
            self.told.append((path, json.dumps(answer.body.get("warnings")).encode()))
        return answer

    async def must(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """One request that succeeds; its body."""
        answer = await self.ask(method, path, body, **more)
        assert answer.status < 300, (path, answer.status, answer.body)
        return answer.body

    async def go(self) -> None:
        """The whole way."""
        await self._first()
        await self._kv()
        await self._tokens()
        await self._logins()
        await self._database()
        await self._bad()
        await self._keys()

    async def _first(self) -> None:
        made = await self.must("PUT", "sys/init", {"secret_shares": 3, "secret_threshold": 2}, token="")
        for share, text in zip(made["keys"], made["keys_base64"], strict=True):
            self.marks.add("share", share)
            self.marks.add("share64", text)
        self.root = self.marks.add("root", made["root_token"])
        wrong = base64.b64encode(os.urandom(33)).decode()
        self.marks.add("wrong-share", wrong)
        await self.ask("PUT", "sys/unseal", {"key": made["keys"][0]}, token="")
        await self.ask("PUT", "sys/unseal", {"key": wrong}, token="")
        await self.ask("PUT", "sys/unseal", {"reset": True}, token="")
        await self.ask("PUT", "sys/unseal", {"key": self.marks.new("no-share")}, token="")
        for share in made["keys"][:2]:
            await self.must("PUT", "sys/unseal", {"key": share}, token="")
        log = str(self.daemon.folder / "audit" / "api.log")
        await self.must("PUT", "sys/audit/api", {"type": "file", "options": {"file_path": log}})
        await self.ask("PUT", "sys/audit-hash/api", {"input": self.marks.new("audit-input")})

    async def _kv(self) -> None:
        await self.must("POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "2"}})
        await self.must("POST", "sys/mounts/old", {"type": "kv", "options": {"version": "1"}})
        new = self.marks.new
        await self.must("POST", "kv/data/a", {"data": {"x": new("kv2"), "deep": {"y": [new("kv2-deep")]}}})
        patch = {"Content-Type": "application/merge-patch+json"}
        await self.ask("PATCH", "kv/data/a", {"data": {"z": new("kv2-patch")}}, headers=patch)
        await self.must("POST", "kv/metadata/a", {"custom_metadata": {"who": new("kv2-custom")}})
        for path in ("kv/data/a", "kv/metadata/a", "kv/subkeys/a", "kv/data/a?version=1"):
            await self.ask("GET", path)
        await self.ask("POST", "kv/data/a", {"options": {"cas": 1}, "data": {"x": new("kv2-cas")}})
        await self.ask("POST", "kv/delete/a", {"versions": [1]})
        await self.ask("POST", "kv/undelete/a", {"versions": [1]})
        await self.ask("PUT", "kv/destroy/a", {"versions": [1]})
        await self.must("POST", "old/b", {"pw": new("kv1"), "ttl": "1h"})
        await self.must("GET", "old/b")
        await self.must("POST", "cubbyhole/c", {"pw": new("cubbyhole")})
        await self.must("GET", "cubbyhole/c")
        await self.ask("GET", "kv/metadata?list=true")

    async def _tokens(self) -> None:
        own = random_token("canary-", 24)
        self.marks.add("own-token", own)
        await self.must("POST", "auth/token/create", {"id": own, "policies": ["default"], "ttl": "1h"})
        made = await self.must("POST", "auth/token/create", {"ttl": "1h", "num_uses": 3})
        token = self.marks.add("token", made["auth"]["client_token"])
        await self.ask("GET", "auth/token/lookup-self", token=token)
        await self.ask("POST", "auth/token/lookup", {"token": own})
        await self.ask("POST", "auth/token/renew", {"token": own, "increment": "2h"})
        await self.ask("POST", "sys/capabilities", {"token": own, "path": "kv/data/a"})
        await self.ask("POST", "auth/token/revoke", {"token": token})
        await self.ask("POST", "auth/token/revoke-self", token=own)
        await self.ask("GET", "kv/data/a", token=self.marks.new("bad-token"))
        await self.ask("POST", "auth/token/lookup", {"token": self.marks.new("bad-lookup")})

    async def _logins(self) -> None:
        await self.must("POST", "sys/auth/userpass", {"type": "userpass"})
        password = self.marks.new("userpass")
        await self.must("POST", "auth/userpass/users/al", {"password": password, "policies": ["default"]})
        made = await self.must("POST", "auth/userpass/login/al", {"password": password}, token="")
        self.marks.add("login", made["auth"]["client_token"])
        await self.ask("POST", "auth/userpass/login/al", {"password": self.marks.new("wrong-pass")}, token="")
        await self.ask("POST", "auth/userpass/login/nobody", {"password": self.marks.new("nobody")}, token="")
        await self.ask("POST", "auth/userpass/users/al/password", {"password": self.marks.new("newpass")})
        await self.must("POST", "sys/auth/approle", {"type": "approle"})
        await self.must("POST", "auth/approle/role/r", {"token_policies": ["default"]})
        role = (await self.must("GET", "auth/approle/role/r/role-id"))["data"]["role_id"]
        secret = (await self.must("POST", "auth/approle/role/r/secret-id", {}))["data"]["secret_id"]
        self.marks.add("secret-id", secret)
        custom = self.marks.new("custom-secret-id")
        await self.ask("POST", "auth/approle/role/r/custom-secret-id", {"secret_id": custom})
        made = await self.must("POST", "auth/approle/login", {"role_id": role, "secret_id": secret}, token="")
        self.marks.add("approle-login", made["auth"]["client_token"])
        wrong = {"role_id": role, "secret_id": self.marks.new("wrong-secret-id")}
        await self.ask("POST", "auth/approle/login", wrong, token="")

    async def _database(self) -> None:
        at = f"127.0.0.1:{self.place.port}{self.place.path}"
        await self.must("POST", "sys/mounts/db", {"type": "database"})
        base = {"plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "username": "canary_admin"}
        separate = {"connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{at}"}
        await self.must("POST", "db/config/pg", {**base, **separate, "password": self.admin_password})
        await self.must(
            "POST", "db/config/inline", {**base, "connection_url": _inline(self.admin_password, at)}
        )
        wrong = self.marks.new("wrong-admin")
        await self.ask("POST", "db/config/bad", {**base, **separate, "password": wrong})
        far = self.marks.new("far-admin")
        await self.ask("POST", "db/config/far", {**base, "connection_url": _inline(far, "127.0.0.1:1/x")})
        await self.ask(
            "POST", "db/config/odd", {**base, "connection_url": _inline(far, "127.0.0.1:x/x?bad=1")}
        )
        for name in ("pg", "inline", "bad", "far"):
            await self.ask("GET", f"db/config/{name}")
        role = {"db_name": "pg", "creation_statements": [CREATION], "default_ttl": "1h"}
        await self.must("POST", "db/roles/app", role)
        await self.ask("POST", "db/roles/inline", {**role, "db_name": "inline"})
        broken = {**role, "creation_statements": [CREATION + " IN ROLE no_such_role"]}
        await self.ask("POST", "db/roles/broken", broken)
        for name in ("app", "inline", "broken"):
            answer = await self.ask("GET", f"db/creds/{name}")
            if answer.status == 200:
                login = answer.data
                self.marks.add("leased", login["password"])
                await _log_in(login, at)
                await self.ask("POST", "sys/leases/renew", {"lease_id": answer.body["lease_id"]})
                await self.ask("POST", "sys/leases/lookup", {"lease_id": answer.body["lease_id"]})
                await self.must(
                    "POST", "sys/leases/revoke", {"lease_id": answer.body["lease_id"], "sync": True}
                )
        await self.ask("GET", "db/creds/app")
        await self.ask("POST", "db/reset/pg")
        await self.must("POST", "sys/leases/revoke-prefix/db")

    async def _bad(self) -> None:
        new = self.marks.new
        await self.ask("POST", "kv/data/a", {"data": new("not-an-object")})
        await self.ask("POST", "kv/data/a", {"options": {"cas": new("not-a-number")}, "data": {}})
        await self.ask("POST", "auth/token/create", {"ttl": new("not-a-ttl")})
        await self.ask("POST", "auth/token/create", {"policies": {"x": new("not-a-list")}})
        await self.ask("POST", "auth/token/create", {"unknown_field": new("unknown-field")})
        await self.ask("POST", "auth/token/create", {"id": new("bad id of a token"), "type": new("bad-type")})
        await self.ask(
            "POST", "sys/policies/acl/bad", {"policy": f'path "x" {{ secret = "{new("policy")}" }}'}
        )
        await self.ask(
            "POST", "sys/policies/password/bad", {"policy": f'length = "{new("password-policy")}"'}
        )
        await self.ask("POST", "sys/leases/revoke", {"lease_id": new("lease-id"), "sync": new("sync")})
        await self.ask(
            "POST", "db/config/pg", {"plugin_name": new("plugin"), "password": new("config-password")}
        )
        types = {"plugin_name": "postgresql-database-plugin", "password": [new("list-password")]}
        await self.ask("POST", "db/config/types", types)
        await self.ask("POST", "auth/userpass/users/bo", {"password": {"x": new("dict-password")}})
        await self._raw(b'{"data": {"x": "' + new("torn-json").encode())
        await self._raw(b'{"a": 1, "a": "' + new("twice").encode() + b'"}')
        await self._raw(b'"' + new("no-object").encode() + b'"')

    async def _raw(self, body: bytes) -> None:
        url = f"http://127.0.0.1:{self.daemon.port}/v1/kv/data/raw"
        async with self.daemon.session.post(url, data=body, headers={"X-Vault-Token": self.root}) as response:
            assert response.status >= 400, body
            self.told.append(("raw", await response.read()))

    async def _keys(self) -> None:
        await self.ask("POST", "sys/rotate")
        await self.ask("GET", "sys/key-status")
        for name in ("health", "seal-status", "mounts", "auth", "policies/acl/default", "audit", "metrics"):
            await self.ask("GET", f"sys/{name}")
        for path in ("sys/internal/specs/openapi", "kv/data/a?help=1"):
            await self.ask("GET", path)


def _inline(password: str, at: str) -> str:
    return f"postgresql://canary_admin:{quote(password, safe='')}@{at}"


async def _log_in(login: dict[str, str], at: str) -> None:
    place = urlsplit(f"x://{at}")
    who = {"user": login["username"], "password": login["password"]}
    connection = await asyncpg.connect(host=place.hostname, port=place.port, database=place.path[1:], **who)
    assert await connection.fetchval("SELECT current_user") == login["username"]
    await connection.close()


@contextlib.asynccontextmanager
async def _server(folder: Path, password: str) -> AsyncIterator[EmbeddedPostgres]:
    """A Postgres that logs every statement, with a store, a target and an admin on it."""
    async with EmbeddedPostgres(folder, bin_dir=binaries(NEWEST), settings=_LOUD) as postgres:
        connection = await asyncpg.connect(postgres.dsn())
        verifier = await make_verifier(password, iterations=4096)
        await connection.execute(f"CREATE ROLE canary_admin LOGIN CREATEROLE PASSWORD '{verifier}'")
        await connection.execute("CREATE DATABASE store")
        await connection.execute("CREATE DATABASE target")
        await connection.close()
        await migrate(postgres.dsn("store", tcp=True))
        yield postgres


def _sinks(walk: Walk, postgres: EmbeddedPostgres) -> Iterator[tuple[str, bytes]]:
    folder = walk.daemon.folder
    yield "log", (folder / "daemon.log").read_bytes()
    yield "postgres log", postgres.log_path.read_bytes()
    for path in sorted((folder / "audit").iterdir()):
        yield f"audit {path.name}", path.read_bytes()
    for database in ("store", "target"):
        command = [
            binaries(NEWEST) / "pg_dump",
            "--format=plain",
            "--inserts",
            postgres.dsn(database, tcp=True),
        ]
        yield f"dump of {database}", subprocess.run(command, check=True, capture_output=True).stdout
    for path, body in walk.told:
        yield f"refusal or warning of {path}", body
    pids = [walk.daemon.process.pid, *_children(walk.daemon.process.pid)]
    for pid in pids:
        yield "command line", Path(f"/proc/{pid}/cmdline").read_bytes()
        with contextlib.suppress(PermissionError):
            yield "environment", Path(f"/proc/{pid}/environ").read_bytes()


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


async def test_no_secret_in_any_sink(tmp_path: Path) -> None:
    """Logs, audit files, refusals, warnings, metrics, dumps, the target's log, command lines: no marked value."""
    marks = Marks()
    password = marks.new("admin")
    folder = tmp_path / "daemon"
    async with _server(tmp_path / "pg", password) as postgres:
        place = urlsplit(postgres.dsn("target", tcp=True))
        storage = postgres.dsn("store", tcp=True)
        marks.add("storage", str(urlsplit(storage).password))
        more = _AUDIT + f'\n[api]\naudit_api_dir = "{folder}/audit"\n'
        async with Daemon.started(
            folder, storage, wait=False, is_static=False, level="debug", more=more
        ) as daemon:
            await daemon.until_serving(501)
            walk = Walk(daemon, marks, password, place)
            await walk.go()
            metrics = await daemon.ask("GET", "sys/metrics", token=walk.root)
            walk.told.append(("sys/metrics", str(metrics.body).encode()))
            await asyncio.sleep(0)
            sinks = await asyncio.to_thread(lambda: list(_sinks(walk, postgres)))
    leaks = {name: found for name, text in sinks if (found := marks.find(text))}
    assert leaks == {}
    assert len(marks.known) > 45
    assert {name for name, status in walk.statuses.items() if status >= 500} == _TARGETS_FAULT
    assert not [
        name for name, status in walk.statuses.items() if status in {404, 405, 415} and name not in _ABSENT
    ]
    _require_lively(dict(sinks))


def _require_lively(sinks: dict[str, bytes]) -> None:
    """The sinks were really written to: an empty one would prove nothing."""
    assert b"lease.revoked" in sinks["log"]
    for name in ("audit main.log", "audit api.log"):
        assert sinks[name].count(b'"type":"response"') > 60, name
    assert b"CREATE ROLE" in sinks["postgres log"]
    assert b"INSERT INTO public.entries" in sinks["dump of store"]


def test_marks_are_found_in_every_form() -> None:
    """The net catches: a mark is found as it is, escaped, in hex, and in base64 wherever it begins."""
    marks = Marks()
    value = marks.new("x")
    for text in (value, value.encode().hex(), value.encode().hex().upper(), json.dumps({"a": value})):
        assert marks.find(b"..." + text.encode() + b"...")
    for before in ("", "a", "ab", "abc", "abcd"):
        assert marks.find(base64.b64encode((before + value + "tail").encode()))
        assert marks.find(base64.urlsafe_b64encode((before + value + "tail").encode()))
    assert not marks.find(b"canary")
