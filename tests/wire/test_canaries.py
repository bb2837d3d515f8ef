"""The whole API with marked values, and a look into every sink: no secret is where it does not belong."""

from __future__ import annotations

import base64
import http.client
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.clusters import Cluster
from support.served import Daemon, StartDaemon, database, static_seal
from wire.targets import Target, prepared

MARK = "c4n4ry"  # every value of ours holds it; what the daemon makes is collected as it comes


class Secrets:
    """What must not be found: values by what they are."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {"a marked value": MARK}
        self._count = 0

    def mark(self, what: str) -> str:
        """A marked value to send."""
        self._count += 1
        return f"{MARK}-{what.replace(' ', '-')}-{self._count}-Z9"

    def keep(self, what: str, value: str) -> str:
        """Something that the daemon gave out."""
        assert len(value) > 8, what
        self.values[what] = value
        return value

    def require_absent(self, where: str, text: str) -> None:
        """In none of the forms that a careless line could give it."""
        for what, value in self.values.items():
            forms = {
                value,
                value.encode().hex(),
                base64.b64encode(value.encode()).decode().rstrip("=")[:-2],
                repr(value)[1:-1],
            }
            assert not [form for form in forms if form in text], f"{what} is in {where}"


def _use_tokens(daemon: Daemon, marks: Secrets) -> None:
    made = daemon.must(
        "POST", "auth/token/create", {"id": marks.mark("token"), "policies": ["default"], "meta": {"a": "b"}}
    )
    daemon.must("POST", "auth/token/lookup", {"token": made["auth"]["client_token"]})
    daemon.must("POST", "auth/token/renew", {"token": made["auth"]["client_token"]})
    child = marks.keep(
        "a token",
        daemon.must("POST", "auth/token/create", {"policies": ["root"], "ttl": "60s"})["auth"][
            "client_token"
        ],
    )
    daemon.must("GET", "auth/token/lookup-self", token=child)
    cubby = {"value": marks.mark("cubbyhole")}
    daemon.must("POST", "cubbyhole/x", cubby, token=child)
    assert daemon.must("GET", "cubbyhole/x", token=child)["data"] == cubby
    daemon.must("POST", "auth/token/revoke", {"token": child})
    assert daemon.send("GET", "cubbyhole/x", token=child).status == 403
    daemon.send("GET", "secret/x", token=marks.mark("unknown token"))
    daemon.send("GET", "secret/x", headers={"Authorization": f"Bearer {marks.mark('bearer')}"}, token="")


def _use_logins(daemon: Daemon, marks: Secrets) -> None:
    daemon.must("POST", "sys/auth/userpass", {"type": "userpass"})
    password = marks.mark("password")
    daemon.must("POST", "auth/userpass/users/u", {"password": password, "policies": "default"})
    answer = daemon.must("POST", "auth/userpass/login/u", {"password": password}, token="")
    marks.keep("a login's token", answer["auth"]["client_token"])
    assert (
        daemon.send(
            "POST", "auth/userpass/login/u", {"password": marks.mark("wrong password")}, token=""
        ).status
        == 400
    )
    daemon.must("POST", "sys/auth/approle", {"type": "approle"})
    daemon.must("POST", "auth/approle/role/r", {"policies": "default"})
    role_id = daemon.must("GET", "auth/approle/role/r/role-id")["data"]["role_id"]
    secret_id = marks.keep(
        "a secret id", daemon.must("POST", "auth/approle/role/r/secret-id")["data"]["secret_id"]
    )
    body = {"role_id": role_id, "secret_id": secret_id}
    marks.keep(
        "a role's token", daemon.must("POST", "auth/approle/login", body, token="")["auth"]["client_token"]
    )
    wrong = {"role_id": marks.mark("role id"), "secret_id": marks.mark("secret id")}
    assert daemon.send("POST", "auth/approle/login", wrong, token="").status == 400


def _use_kv(daemon: Daemon, marks: Secrets) -> None:
    daemon.must("POST", "sys/mounts/kv1", {"type": "kv"})
    daemon.must("POST", "sys/mounts/kv2", {"type": "kv", "options": {"version": "2"}})
    daemon.must("POST", "kv1/x", {"value": marks.mark("kv1"), "deep": [{"a": marks.mark("kv1 deep")}]})
    daemon.must("GET", "kv1/x")
    for _ in range(2):
        daemon.must(
            "POST", "kv2/data/x", {"data": {"value": marks.mark("kv2"), "n": 7, "b": True, "none": None}}
        )
    merge = {"Content-Type": "application/merge-patch+json"}
    daemon.must("PATCH", "kv2/data/x", {"data": {"more": marks.mark("patch")}}, headers=merge)
    daemon.must("GET", "kv2/data/x?version=1")
    daemon.must("POST", "kv2/metadata/x", {"custom_metadata": {"owner": marks.mark("custom metadata")}})
    daemon.must("GET", "kv2/metadata/x")
    daemon.must("GET", "kv2/subkeys/x")
    assert (
        daemon.send("POST", "kv2/data/x", {"data": {"a": marks.mark("cas")}, "options": {"cas": 9}}).status
        == 400
    )
    assert daemon.send("POST", "kv2/data/x", {"data": marks.mark("type")}).status == 400
    assert daemon.send("POST", "kv2/data/x", f'{{"data": "{marks.mark("half JSON")}'.encode()).status == 400
    assert (
        daemon.send("POST", f"nowhere/x?a={marks.mark('query')}", {"a": marks.mark("nowhere")}).status == 404
    )


def _use_database(daemon: Daemon, marks: Secrets, target: Target) -> None:
    marks.keep("the admin's password", target.password)
    mount = target.mount(daemon)
    daemon.must("GET", f"{mount}/config/app")
    given = daemon.must("GET", f"{mount}/creds/r")
    marks.keep("a leased password", given["data"]["password"])
    assert target.can_log_in(given["data"]["username"], given["data"]["password"])
    daemon.must("PUT", "sys/leases/renew", {"lease_id": given["lease_id"]})
    daemon.must("PUT", "sys/leases/lookup", {"lease_id": given["lease_id"]})
    bad = target.connection() | {"password": marks.mark("wrong admin password")}
    assert daemon.send("POST", f"{mount}/config/bad", bad).status == 400
    url = f"postgresql://u:{marks.mark('password in the URL')}@127.0.0.1:1/x?nonsense=1"
    assert (
        daemon.send("POST", f"{mount}/config/bad", target.connection() | {"connection_url": url}).status
        == 400
    )
    statement = {
        "db_name": "app",
        "creation_statements": [f"CREATE ROLE nonsense '{marks.mark('statement')}' \"{{{{name}}}}\""],
    }
    daemon.must("POST", f"{mount}/roles/bad", statement)
    assert daemon.send("GET", f"{mount}/creds/bad").status == 500
    daemon.must("PUT", "sys/leases/revoke", {"lease_id": given["lease_id"], "sync": True})


def _metrics(daemon: Daemon) -> str:
    connection = http.client.HTTPConnection(*daemon.address, timeout=30)
    try:
        connection.request(
            "GET", "/v1/sys/metrics?format=prometheus", headers={"X-Vault-Token": daemon.token}
        )
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def _stored(storage: Target) -> str:
    """Every row of every table, as text; bytes are hex in it."""
    tables = storage.run(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname = 'public'"
    )
    rows: list[Any] = []
    for table in tables:
        rows += [row["line"] for row in storage.run(f"SELECT t::text AS line FROM {table['name']} t")]
    assert len(rows) > 20
    return "\n".join(rows)


def _processes(pid: int) -> str:
    """Command lines and environments of the daemon and its plugins."""
    pids = [str(pid), *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    assert len(pids) > 1, "the plugin has a process of its own"
    found = [Path(f"/proc/{one}/{file}").read_bytes() for one in pids for file in ("cmdline", "environ")]
    return b"\n".join(found).decode(errors="replace")


@pytest.mark.parametrize("level", ["info", "debug"])
def test_secrets_stay_where_they_belong(
    make_daemon: StartDaemon, cluster: Cluster, target_dsn: str, tmp_path: Path, level: str
) -> None:
    """Log, audit file, metrics, storage, command lines and environments hold no value that was sent or given out."""
    marks, audit = Secrets(), tmp_path / "audit.jsonl"
    with database(cluster) as dsn, prepared(target_dsn) as target:
        daemon = make_daemon(
            folder=tmp_path, storage_url=dsn, seal=static_seal(tmp_path), audit=[{"path": str(audit)}],
            log={"format": "json", "level": level},
        )  # fmt: skip
        daemon.start(200)
        daemon.token = marks.keep("the root token", (tmp_path / "root-token").read_text().strip())
        marks.keep("the seal's key", (tmp_path / "first.key").read_text())
        marks.keep("the seal's key in hex", base64.b64decode((tmp_path / "first.key").read_text()).hex())
        marks.keep("storage's password", urlsplit(dsn).password or "")
        daemon.send("PUT", "sys/unseal", {"key": marks.mark("share")})
        _use_tokens(daemon, marks)
        _use_logins(daemon, marks)
        _use_kv(daemon, marks)
        _use_database(daemon, marks, target)
        metrics = _metrics(daemon)
        assert "# TYPE" in metrics
        marks.require_absent("the metrics", metrics)
        marks.require_absent("a command line or environment", _processes(daemon.pid))
        marks.require_absent("storage", _stored(Target(dsn)))
        daemon.stop()
        assert audit.read_text().count("\n") > 80
        marks.require_absent("the audit file", audit.read_text())
        assert daemon.log
        marks.require_absent("the log", daemon.log)
