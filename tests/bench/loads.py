"""What is measured: the same mounts, policies, roles and requests on both daemons."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from servers import BenchError, Server

KEYS = 200
# A group each: what CREATE ROLE … IN ROLE costs grows with the members that the group has.
GROUPS = ("app_group", "light_group", "bare_group")
OPEN_CONNECTIONS = 4  # of the daemon to its target; OpenBao's default
CREATE = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE \"%s\""
# Each daemon's default, which is also OpenBao's faster way: the target hashes then, once either way.
_AUTHENTICATION = {
    "openbao": {"password_authentication": "password"},
    "secretd": {"password_authentication": "scram-sha-256"},
}
_SECRET = {"user": "app", "password": "correct-horse-battery-staple", "url": "https://service.example/v1"}
_POLICY = """
path "secret/*" { capabilities = ["create", "read", "update"] }
path "auth/token/create" { capabilities = ["create", "update"] }
path "database/creds/*" { capabilities = ["read"] }
path "sys/leases/revoke-prefix/*" { capabilities = ["update", "sudo"] }
"""


@dataclass(frozen=True)
class Load:
    """One line of the table: a request that is repeated. ``only`` names a daemon; empty: both."""

    name: str
    method: str
    path: str
    body: str = ""
    keys: int = 0
    status: int = 200
    uses_target: bool = False
    only: str = ""
    beside: str = field(default="")  # the load of the other daemon it is compared with; empty: the same

    def extent(self, connections: int, seconds: float) -> dict[str, Any]:
        """How much is sent: for so long, or, where each request leaves an account, equally many on both sides."""
        if self.uses_target:
            return {"count": int(100 * seconds), "warm": 2 * connections}
        return {"seconds": seconds, "warm": 20 * connections}

    def job(self, server: Server) -> dict[str, Any]:
        """The load generator's job without its extent."""
        return {
            "port": server.port,
            "token": server.token,
            "method": self.method,
            "path": f"/v1/{self.path}",
            "body": self.body,
            "keys": self.keys,
        }


_KV_BODY = json.dumps({"data": {**_SECRET, "turn": "{n}"}})
LOADS = (
    Load("kv read", "GET", "secret/data/key-{n}", keys=KEYS),
    Load("kv write", "POST", "secret/data/key-{n}", _KV_BODY, keys=KEYS),
    Load("token create", "POST", "auth/token/create", '{"ttl": "1h", "policies": ["bench"]}'),
    Load("creds 4096", "GET", "database/creds/app", uses_target=True),
    Load("creds 64", "GET", "database/creds/light", uses_target=True, only="secretd", beside="creds 4096"),
)
BULK = Load("bulk", "GET", "database/creds/bulk", uses_target=True)
REVOKE = Load(
    "revoke-prefix", "POST", "sys/leases/revoke-prefix/database/creds/bulk", '{"sync": true}',
    status=204, uses_target=True,
)  # fmt: skip


def prepare(server: Server) -> None:
    """Mounts, connection, roles, policy, secrets; the server's token becomes one with that policy only."""
    server.call("POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
    server.call("POST", "sys/mounts/database", {"type": "database"})
    server.call("POST", "sys/policies/acl/bench", {"policy": _POLICY})
    for number in range(KEYS):
        server.call("POST", f"secret/data/key-{number}", {"data": {**_SECRET, "turn": str(number)}})
    _connect(server, "target")
    _add_role(server, "app", "target")
    _add_role(server, "bulk", "target")
    if server.name == "secretd":
        # Allowed because the passwords have 112 random bits or more: no guessing to slow down.
        _connect(server, "light", scram_iterations=64)
        _add_role(server, "light", "light", group=GROUPS[1])
    made = server.call("POST", "auth/token/create", {"policies": ["bench"], "ttl": "4h"})
    server.token = made["auth"]["client_token"]


def _connect(server: Server, name: str, **extra: Any) -> None:
    address = urlsplit(server.target.dsn(tcp=True))
    server.call(
        "POST",
        f"database/config/{name}",
        {
            "plugin_name": "postgresql-database-plugin",
            "connection_url": "postgresql://{{username}}:{{password}}@"
            f"127.0.0.1:{address.port}/postgres?sslmode=disable",
            "username": address.username,
            "password": address.password,
            "allowed_roles": "*",
            **_AUTHENTICATION[server.name],
            "max_open_connections": OPEN_CONNECTIONS,
            "max_idle_connections": OPEN_CONNECTIONS,
            **extra,
        },
    )


def _add_role(server: Server, name: str, connection: str, *, group: str = GROUPS[0]) -> None:
    server.call(
        "POST",
        f"database/roles/{name}",
        {
            "db_name": connection,
            "creation_statements": [CREATE % group],
            "default_ttl": "1h",
            "max_ttl": "2h",
        },
    )


def require_status(load: Load, statuses: dict[str, int]) -> None:
    """Raise BenchError unless every answer was the one expected: a fast refusal is no throughput."""
    if set(statuses) - {str(load.status)}:
        raise BenchError(f"{load.name}: answers by status {statuses}")
