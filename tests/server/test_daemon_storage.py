"""A daemon and its PostgreSQL: gone and back, slow, of every supported major, and behind PgBouncer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from secretd.server.embedded import EmbeddedPostgres
from support.clusters import MAJORS, Cluster, skip_or_fail
from support.served import LOOPBACK, Daemon, StartDaemon, database, free_listen
from wire.targets import Proxy, Target, prepared

BACK = 20.0  # seconds from a good database to a good answer
SLOW = 30.0  # seconds until a request knows that storage is silent


def _address(dsn: str) -> tuple[str, int]:
    place = urlsplit(dsn)
    return place.hostname or LOOPBACK, place.port or 5432


def _through(dsn: str, address: tuple[str, int], **parts: str) -> str:
    """The same database by another address."""
    place = urlsplit(dsn)
    who = place.netloc.rpartition("@")[0]
    return place._replace(netloc=f"{who}@{address[0]}:{address[1]}", **parts).geturl()


def _require_unavailable(daemon: Daemon) -> None:
    """503 with a time to come again; not sealed; health answers from memory."""
    for method, path, body in (
        ("GET", "kv/x", None),
        ("POST", "kv/x", {"value": "2"}),
        ("GET", "sys/mounts", None),
    ):
        reply = daemon.send(method, path, body)
        assert reply.status == 503, reply
        assert reply.json["code"] == "storage_unavailable"
        assert int(reply.headers["retry-after"]) >= 1
    health = daemon.send("GET", "sys/health", token="")
    assert (health.status, health.json["sealed"]) == (200, False)


def _await_good(daemon: Daemon) -> float:
    began = time.monotonic()
    while daemon.send("GET", "kv/x").status != 200:
        assert time.monotonic() - began < BACK, daemon.log[-2000:]
        time.sleep(0.05)
    return time.monotonic() - began


async def test_a_server_that_stops(open_daemon: StartDaemon, tmp_path: Path) -> None:
    """While PostgreSQL is stopped requests are 503 and nothing seals; once it is back the daemon is, by itself."""
    postgres = EmbeddedPostgres(tmp_path / "pg", settings={"fsync": "off"})
    with Proxy(None) as proxy:  # a fixed address before a server whose port changes
        proxy.is_dropping = False
        async with postgres:
            proxy.to = (LOOPBACK, postgres.port)
            dsn = _through(postgres.dsn(tcp=True), proxy.address)
            daemon = await asyncio.to_thread(lambda: open_daemon(storage_url=dsn))
            await asyncio.to_thread(_fill, daemon)
        await asyncio.to_thread(_require_unavailable, daemon)
        async with postgres:
            proxy.to = (LOOPBACK, postgres.port)
            seconds = await asyncio.to_thread(_await_good, daemon)
            print(f"good again after {seconds:.2f} s")
            assert await asyncio.to_thread(daemon.must, "GET", "kv/x") is not None
            await asyncio.to_thread(daemon.stop)


def _fill(daemon: Daemon) -> None:
    daemon.must("POST", "sys/mounts/kv", {"type": "kv"})
    daemon.must("POST", "kv/x", {"value": "1"})


def test_a_silent_server(open_daemon: StartDaemon, cluster: Cluster) -> None:
    """Storage that swallows packets costs a request its time-out, answers 503, and is found again when it speaks."""
    with database(cluster) as dsn, Proxy(_address(dsn)) as proxy:
        daemon = open_daemon(storage_url=_through(dsn, proxy.address))
        _fill(daemon)
        proxy.is_dropping = True
        began = time.monotonic()
        reply = daemon.send("POST", "kv/x", {"value": "2"})
        assert time.monotonic() - began < SLOW
        assert (reply.status, reply.json["code"]) == (503, "storage_unavailable")
        assert daemon.send("GET", "sys/health", token="").status == 200
        proxy.cut()
        proxy.is_dropping = False
        _await_good(daemon)
        assert daemon.must("GET", "kv/x")["data"] == {"value": "1"}
        daemon.kill()


def test_connections_that_are_cut(open_daemon: StartDaemon, cluster: Cluster) -> None:
    """Where the server's backends end, a request is served, or told to come again and then served."""
    with database(cluster) as dsn:
        daemon = open_daemon(storage_url=dsn)
        _fill(daemon)
        name = urlsplit(dsn).path.strip("/")
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        for _ in range(3):
            asyncio.run(cluster.execute(end))
            reply = daemon.send("GET", "kv/x")
            if reply.status == 503:  # the end was on its way while the query was sent: nobody knows what ran
                assert "retry-after" in reply.headers
                reply = daemon.send("GET", "kv/x")
            assert reply.status == 200, reply.body
        daemon.kill()


@pytest.mark.parametrize("major", MAJORS)
def test_majors(open_daemon: StartDaemon, pg_cluster: Callable[[int], Cluster], major: int) -> None:
    """PostgreSQL 15, 17 and 18 are storage and target: start, write, read, lease a login, end it."""
    cluster = pg_cluster(major)
    with database(cluster) as dsn, database(cluster, is_migrated=False) as other, prepared(other) as target:
        daemon = open_daemon(storage_url=dsn)
        _use_all(daemon, target)
        daemon.stop()


def _use_all(daemon: Daemon, target: Target) -> None:
    """Secrets, tokens, a login's life, rotation: what a daemon needs its storage for."""
    _fill(daemon)
    assert daemon.must("GET", "kv/x")["data"] == {"value": "1"}
    made = daemon.must("POST", "auth/token/create", {"policies": ["root"], "ttl": "1h"})["auth"][
        "client_token"
    ]
    mount = target.mount(daemon)
    given = daemon.must("GET", f"{mount}/creds/r", token=made)
    assert target.can_log_in(given["data"]["username"], given["data"]["password"])
    daemon.must("PUT", "sys/leases/renew", {"lease_id": given["lease_id"], "increment": 300})
    daemon.must("PUT", "sys/leases/revoke", {"lease_id": given["lease_id"], "sync": True})
    assert target.logins() == []
    second = daemon.must("GET", f"{mount}/creds/r", token=made)["data"]["username"]
    assert target.logins() == [second]
    daemon.must("POST", "auth/token/revoke", {"token": made})
    assert daemon.send("GET", "auth/token/lookup-self", token=made).status == 403
    daemon.must("PUT", f"sys/leases/revoke-prefix/{mount}", {"sync": True})
    assert target.logins() == []
    daemon.must("PUT", "sys/rotate")
    daemon.must("POST", "kv/y", {"value": "2"})
    assert daemon.must("LIST", "kv")["data"]["keys"] == ["x", "y"]


@contextlib.contextmanager
def _pgbouncer(dsn: str) -> Iterator[str]:
    """PgBouncer in transaction mode before this database, with two connections for everybody; its address."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        skip_or_fail("no pgbouncer here; get it by: apt-get install pgbouncer")
    listen, place = free_listen(), urlsplit(dsn)
    folder = Path(
        tempfile.mkdtemp(prefix="secretd-pgbouncer-")
    )  # not below pytest's own: nobody must reach it
    name = place.path.strip("/")
    (folder / "users.txt").write_text(f'"{place.username}" "{unquote(place.password or "")}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"""[databases]
{name} = host={place.hostname} port={place.port} dbname={name} pool_size=2
[pgbouncer]
listen_addr = {LOOPBACK}
listen_port = {listen.rpartition(":")[2]}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder / "users.txt"}
pool_mode = transaction
server_reset_query_always = 0
"""
    )
    command = [str(program), str(folder / "pgbouncer.ini")]
    if os.geteuid() == 0:  # it refuses to run as root
        nobody = pwd.getpwnam("nobody")
        for path in (folder, folder / "users.txt", folder / "pgbouncer.ini"):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        command = [*command, "-u", "nobody"]
    with (folder / "pgbouncer.log").open("wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
    try:
        _await_listening(process, ("127.0.0.1", int(listen.rpartition(":")[2])), folder / "pgbouncer.log")
        yield _through(dsn, _address(f"x://{listen}"))
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder)


def _await_listening(process: subprocess.Popen[bytes], address: tuple[str, int], log: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=1):
            return
        time.sleep(0.02)
    pytest.fail(f"pgbouncer does not listen: {log.read_text()[-2000:]}", pytrace=False)


def test_behind_pgbouncer(make_daemon: StartDaemon, cluster: Cluster, target_dsn: str) -> None:
    """In transaction mode, with fewer server connections than ours, all works; migrations too."""
    with database(cluster, is_migrated=False) as dsn, _pgbouncer(dsn) as url, prepared(target_dsn) as target:
        daemon = make_daemon(storage_url=url, storage={"pgbouncer": True, "pool_size": 6})
        daemon.start(501)
        daemon.initialise()
        _use_all(daemon, target)
        daemon.stop()
