"""Databases that are missing, down, silent, or refuse the admin: a clear error, nothing stored, nothing leaked."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from support.served import Daemon, Reply, StartDaemon, free_listen
from wire.rows import CANARY
from wire.targets import Proxy, Target, prepared

DEADLINE = 2  # seconds that the daemon gives a target
SLACK = 6  # seconds that a busy machine may need beyond it
_TARGETS = {"deadline": f"{DEADLINE}s", "connect_timeout": "1s"}


@pytest.fixture
def target(target_dsn: str) -> Iterator[Target]:
    with prepared(target_dsn) as made:
        yield made


@pytest.fixture
def daemon(open_daemon: StartDaemon) -> Daemon:
    """A daemon that is impatient with targets."""
    return open_daemon(targets=_TARGETS)


@pytest.fixture
def mount(daemon: Daemon) -> str:
    """An empty database mount."""
    daemon.must("POST", "sys/mounts/db", {"type": "database"})
    return "db"


def _require_error(daemon: Daemon, reply: Reply, status: int, code: str) -> None:
    assert (reply.status, reply.json.get("code")) == (status, code), reply.body
    assert reply.json["errors"]
    assert reply.json["errors"] != ["internal error"]
    assert reply.json["request_id"]
    assert CANARY.encode() not in reply.body
    assert CANARY not in daemon.log


def test_a_role_of_a_missing_connection(daemon: Daemon, mount: str) -> None:
    """It is stored with a warning; its creds are a 400 that names the connection, and no lease is begun."""
    made = daemon.must("POST", f"{mount}/roles/r", {"db_name": "nowhere", "group_role": "g"})
    assert "nowhere" in made["warnings"][0]
    reply = daemon.send("GET", f"{mount}/creds/r")
    _require_error(daemon, reply, 400, "invalid_request")
    assert '"nowhere"' in reply.errors[0]
    assert daemon.send("LIST", f"sys/leases/lookup/{mount}/creds/r").status == 404


def test_an_unknown_role(daemon: Daemon, mount: str) -> None:
    """Credentials of a role that is not there are a 400."""
    _require_error(daemon, daemon.send("GET", f"{mount}/creds/nobody"), 400, "invalid_request")


def test_a_plugin_that_is_not_there(daemon: Daemon, mount: str) -> None:
    """An unknown plugin is a 400 that does not store the connection."""
    fields = {"plugin_name": "nosuch-database-plugin", "connection_url": "x", "password": CANARY}
    reply = daemon.send("POST", f"{mount}/config/app", fields)
    assert reply.status == 400, reply.body
    assert daemon.send("GET", f"{mount}/config/app").status == 404


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("connection_url", "postgresql://"),
        ("connection_url", f"nonsense {CANARY}"),
        ("connection_url", f"postgresql://u:{CANARY}@127.0.0.1/x?nonsense=1"),
        ("connection_url", [CANARY]),
        ("allowed_roles", {"a": CANARY}),
        ("username_template", "{{ nonsense }}"),
        ("max_open_connections", CANARY),
        ("verify_connection", CANARY),
        ("scram_iterations", -1),
        ("password_authentication", CANARY),
    ],
)
def test_connections_that_cannot_be(dev_daemon: Daemon, target: Target, field: str, value: object) -> None:
    """A bad field is a 400 before anything is connected; the connection is not stored, its values not repeated."""
    daemon, mount = dev_daemon, f"db-{target.tag}"
    daemon.must("POST", f"sys/mounts/{mount}", {"type": "database"})
    fields = target.connection() | {"verify_connection": False, field: value}
    _require_error(daemon, daemon.send("POST", f"{mount}/config/app", fields), 400, "invalid_request")
    assert daemon.send("GET", f"{mount}/config/app").status == 404
    daemon.must("DELETE", f"sys/mounts/{mount}")


def test_a_database_that_is_down(daemon: Daemon, mount: str, target: Target) -> None:
    """Saving says that the target is out of reach; nothing is stored, and the daemon is well."""
    host, _, port = free_listen().rpartition(":")
    fields = target.connection((host, int(port))) | {"password": CANARY}
    reply = daemon.send("POST", f"{mount}/config/app", fields)
    _require_error(daemon, reply, 400, "target_unavailable")
    assert "retry-after" in reply.headers
    assert daemon.send("GET", f"{mount}/config/app").status == 404
    assert daemon.send("GET", "sys/health", token="").status == 200


def test_a_refused_password(daemon: Daemon, mount: str, target: Target) -> None:
    """A wrong admin password is told apart from a database that is down; neither it nor the DSN is repeated."""
    reply = daemon.send("POST", f"{mount}/config/app", target.connection() | {"password": CANARY})
    _require_error(daemon, reply, 400, "target_login_refused")
    assert daemon.send("GET", f"{mount}/config/app").status == 404


def test_a_silent_database(daemon: Daemon, mount: str, target: Target) -> None:
    """One that takes the connection and never speaks costs its deadline and nothing else."""
    with Proxy(None) as silent:
        began = time.monotonic()
        reply = daemon.send(
            "POST", f"{mount}/config/app", target.connection(silent.address) | {"password": CANARY}
        )
        assert time.monotonic() - began < DEADLINE + SLACK
    _require_error(daemon, reply, 400, "target_unavailable")
    assert daemon.send("GET", f"{mount}/config/app").status == 404


def test_a_database_that_goes_silent(daemon: Daemon, target: Target) -> None:
    """A login under way when the target falls silent is refused in time, and is gone once the target speaks again."""
    with Proxy(target.address) as proxy:
        mount = target.mount(daemon, proxy.address)
        given = daemon.must("GET", f"{mount}/creds/r")
        assert target.can_log_in(given["data"]["username"], given["data"]["password"])
        proxy.is_dropping = True
        began = time.monotonic()
        reply = daemon.send("GET", f"{mount}/creds/r")
        assert time.monotonic() - began < DEADLINE + SLACK
        assert reply.status == 500, reply.body
        assert reply.json["code"] in {"target_unavailable", "deadline"}
        assert "data" not in reply.json
        assert target.logins() == [given["data"]["username"]]
        proxy.is_dropping = False
        # An attempt that began while the target was silent may still fail, and is told: then one asks again.
        for _ in range(5):
            if daemon.send("PUT", f"sys/leases/revoke-prefix/{mount}", {"sync": True}).status == 204:
                break
        assert target.logins() == []


def test_a_wrong_password_later(daemon: Daemon, target: Target) -> None:
    """Where the admin's password was changed behind our back, creds say so, and nothing is left of the try."""
    mount = target.mount(daemon)
    target.run(f"""ALTER ROLE "admin-{target.tag}" PASSWORD 'another'""")
    target.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'admin-{target.tag}'")
    _require_error(daemon, daemon.send("GET", f"{mount}/creds/r"), 500, "target_login_refused")
    assert target.logins() == []


def test_a_forbidden_network(daemon: Daemon, mount: str, target: Target) -> None:
    """``deny_networks`` holds for names too: a link-local target is refused without a packet."""
    reply = daemon.send("POST", f"{mount}/config/app", target.connection(("169.254.169.254", 5432)))
    assert reply.status in {400, 500}, reply.body
    assert reply.json["code"] != "internal"
    assert daemon.send("GET", f"{mount}/config/app").status == 404
