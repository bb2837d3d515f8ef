"""A daemon's signals: SIGTERM ends it in time whatever is under way, SIGHUP takes new files."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.certificates import Folder, make_folder
from support.served import Daemon, StartDaemon, configuration, server_command
from wire.targets import Proxy, prepared

STOP = 5.0  # seconds that SIGTERM may take
SLACK = 5.0  # seconds more that a busy machine may


def _until(is_true: Callable[[], bool], what: str, *, limit: float = 30.0) -> None:
    """Wait for another process to have done something."""
    end = time.monotonic() + limit
    while not is_true():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def test_sigterm_at_rest(open_daemon: StartDaemon) -> None:
    """Idle connections do not hold it up."""
    daemon = open_daemon()
    with socket.create_connection(daemon.address), socket.create_connection(daemon.address) as half:
        half.sendall(b"GET /v1/sys/health HTTP/1.1\r\nHo")
        code, seconds = daemon.stop()
    assert (code, seconds < STOP + SLACK) == (0, True), seconds


def test_sigterm_while_a_target_is_silent(open_daemon: StartDaemon, target_dsn: str) -> None:
    """A call to a black-holed target is abandoned; its lease is not lost: the next start ends it."""
    with prepared(target_dsn) as target, Proxy(target.address) as proxy:
        daemon = open_daemon(targets={"deadline": "60s", "connect_timeout": "30s"})
        mount = target.mount(daemon, proxy.address)
        first = daemon.must("GET", f"{mount}/creds/r")["data"]
        proxy.is_dropping = True
        asked: list[object] = []

        def ask() -> None:
            try:
                asked.append(daemon.send("GET", f"{mount}/creds/r"))
            except OSError as error:
                asked.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        assert proxy.taken.wait(30)
        code, seconds = daemon.stop()
        asking.join(30)
        assert asked
        assert code == 0
        assert seconds < STOP + SLACK
        assert target.can_log_in(first["username"], first["password"]), "what lives on is untouched"

        proxy.cut()
        proxy.is_dropping = False
        daemon.start(503)
        daemon.unseal()
        daemon.must("PUT", f"sys/leases/revoke-prefix/{mount}", {"sync": True})
        assert target.logins() == []


def test_kill_leaves_no_children(open_daemon: StartDaemon, target_dsn: str) -> None:
    """Plugins end with a daemon that is killed."""
    with prepared(target_dsn) as target:
        daemon = open_daemon()
        target.mount(daemon)
        children = _children(daemon.pid)
        assert children, "the plugin has a process of its own"
        daemon.kill()
        _until(lambda: not any(_lives(pid) for pid in children), "a plugin lives on")


def _lives(pid: int) -> bool:
    """Whether a process still runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def certificates(tmp_path: Path) -> Folder:
    """Two servers' certificates, one of them in use as ``cert.pem``."""
    (tmp_path / "tls").mkdir()
    made = make_folder(tmp_path / "tls")
    _use(made, "server")
    return made


def _use(made: Folder, name: str) -> None:
    """Replace the files in use, as certbot does it."""
    for file, source in (("cert.pem", made.cert(name)), ("key.pem", made.key(name))):
        fresh = made.path / f"{file}.new"
        fresh.write_bytes(source.read_bytes())
        fresh.rename(made.path / file)


def _shown(daemon: Daemon) -> bytes:
    """The certificate that it shows now."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(daemon.address, timeout=10) as plain, context.wrap_socket(plain) as sock:
        return sock.getpeercert(binary_form=True) or b""


def test_sighup_takes_a_new_certificate(
    make_daemon: StartDaemon, certificates: Folder, tmp_path: Path
) -> None:
    """New handshakes get the new certificate, connections live on, and a bad pair leaves the old one in use."""
    made = certificates
    listener = {"tls_cert": str(made.path / "cert.pem"), "tls_key": str(made.path / "key.pem")}
    daemon = make_daemon(folder=tmp_path, listener=listener)
    daemon.tls = ssl.create_default_context(cafile=str(made.path / "servers.pem"))
    daemon.start(501)
    daemon.initialise()
    assert _shown(daemon) == made.chains["server"][0]
    assert daemon.raw(b"GET /v1/sys/health HTTP/1.1\r\nHost: x\r\n\r\n").status == 0, "no answer in clear"

    _use(made, "server2")
    os.kill(daemon.pid, signal.SIGHUP)
    _until(lambda: _shown(daemon) == made.chains["server2"][0], "the new certificate is not shown")
    assert daemon.must("GET", "sys/mounts")

    (made.path / "cert.pem").write_text("no certificate")
    os.kill(daemon.pid, signal.SIGHUP)
    _until(lambda: "listener.reload_failed" in daemon.log, "nothing is said of a bad certificate")
    assert _shown(daemon) == made.chains["server2"][0]


def test_sighup_follows_a_renamed_audit_file(open_daemon: StartDaemon, tmp_path: Path) -> None:
    """After a rename and SIGHUP entries go to a new file of the old name; none is lost, and the chain goes on."""
    file = tmp_path / "audit.jsonl"
    daemon = open_daemon(folder=tmp_path, audit=[{"path": str(file)}])
    daemon.must("GET", "sys/mounts")
    file.rename(tmp_path / "audit.jsonl.1")
    os.kill(daemon.pid, signal.SIGHUP)
    _until(file.exists, "the audit file is not made again")
    daemon.must("GET", "sys/auth")
    before, after = _entries(tmp_path / "audit.jsonl.1"), _entries(file)
    assert any('"sys/mounts"' in line for line in before)
    assert any('"sys/auth"' in line for line in after)
    numbers = [json.loads(line)["seq"] for line in [*before, *after]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _entries(file: Path) -> list[str]:
    return file.read_text().splitlines()


def test_sighup_with_a_bad_configuration(open_daemon: StartDaemon, tmp_path: Path) -> None:
    """It is refused with a log line, and the daemon goes on as it was; a good one changes the log's level."""
    daemon = open_daemon(folder=tmp_path)
    name = daemon.command[-1].rpartition("/")[2]
    url = (tmp_path / "storage.url").read_text()
    server_command(tmp_path, configuration(tmp_path, daemon.listen, url, log={"level": "loud"}), name=name)
    os.kill(daemon.pid, signal.SIGHUP)
    _until(lambda: "config.reload_refused" in daemon.log, "nothing is said")
    assert "log.level" in daemon.log
    assert daemon.must("GET", "sys/mounts")
