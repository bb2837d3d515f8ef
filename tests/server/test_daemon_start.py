"""A daemon's start without a human: keys, first start, migrations, and what it says when it cannot."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.clusters import Cluster
from support.served import (
    Daemon,
    StartDaemon,
    configuration,
    database,
    new_key,
    private,
    server_command,
    static_seal,
)
from wire.targets import Target

BACK = 15.0  # seconds; three on a machine that does nothing else


def _static(make_daemon: StartDaemon, tmp_path: Path, **tables: Any) -> Daemon:
    """A daemon that has initialised itself, with the root token of its file."""
    daemon = make_daemon(folder=tmp_path, seal=static_seal(tmp_path), **tables)
    daemon.start(200)
    daemon.token = (tmp_path / "root-token").read_text().strip()
    return daemon


def _reconfigure(daemon: Daemon, **tables: Any) -> None:
    """Another configuration for its next start, on the same database."""
    storage = (daemon.folder / "storage.url").read_text()
    daemon.command = server_command(
        daemon.folder, configuration(daemon.folder, daemon.listen, storage, **tables)
    )


def _refused(daemon: Daemon) -> str:
    """Start it; it must end by itself with an error and without a traceback. What it said."""
    before = len(daemon.log)
    daemon.launch()
    assert daemon.await_exit() not in {0, -6, -11}
    said = daemon.log[before:]
    assert "Traceback" not in said
    assert said.strip()
    return said


def test_killed_and_back(make_daemon: StartDaemon, tmp_path: Path, record_property: Any) -> None:
    """After kill -9 a daemon with a static seal serves again by itself, with all that was stored."""
    daemon = _static(make_daemon, tmp_path)
    daemon.must("POST", "sys/mounts/kv", {"type": "kv"})
    daemon.must("POST", "kv/x", {"value": "kept"})
    daemon.kill()
    seconds = daemon.start(200)
    print(f"serving again after {seconds:.2f} s")
    record_property("seconds", seconds)
    assert seconds < BACK
    assert daemon.must("GET", "kv/x")["data"] == {"value": "kept"}


def test_unattended_init(make_daemon: StartDaemon, tmp_path: Path) -> None:
    """``init = "auto"`` leaves a root token for an hour in a file of mode 0600; the log has neither it nor the key."""
    daemon = _static(make_daemon, tmp_path)
    file = tmp_path / "root-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = daemon.must("GET", "auth/token/lookup-self")["data"]
    assert found["policies"] == ["root"]
    assert 3600 - 120 < found["ttl"] <= 3600
    assert daemon.token not in daemon.log
    assert (tmp_path / "first.key").read_text() not in daemon.log
    assert daemon.must("GET", "sys/seal-status")["recovery_seal"] is True

    target = Target((tmp_path / "storage.url").read_text())
    target.run(
        "UPDATE tokens SET expire_time = clock_timestamp() - interval '1 second' WHERE parent_id IS NULL"
    )
    assert daemon.send("GET", "auth/token/lookup-self").status == 403


def test_a_token_file_that_exists(make_daemon: StartDaemon, tmp_path: Path) -> None:
    """A file in the token's place stops the first start before anything is initialised; removing it is enough."""
    (tmp_path / "root-token").write_text("somebody's")
    daemon = make_daemon(folder=tmp_path, seal=static_seal(tmp_path))
    assert "seal.root_token_file" in _refused(daemon)
    assert (tmp_path / "root-token").read_text() == "somebody's"
    (tmp_path / "root-token").unlink()
    daemon.start(200)


def test_a_first_start_that_was_killed(make_daemon: StartDaemon, tmp_path: Path) -> None:
    """A token file that a killed first start left is taken as it is, and no human is needed; a stranger's is not."""
    left = "hvs." + "a1B2" * 6
    file = tmp_path / "root-token"
    daemon = make_daemon(folder=tmp_path, seal=static_seal(tmp_path))
    for text, mode in ((left, 0o600), (left + "\n", 0o640), (left + "\nmore", 0o600), ("", 0o600)):
        file.write_text(text)
        file.chmod(mode)
        assert "seal.root_token_file" in _refused(daemon)
        assert file.read_text() == text
        assert left not in daemon.log
    file.write_text(left + "\n")
    daemon.start(200)
    daemon.token = left
    assert daemon.must("GET", "auth/token/lookup-self")["data"]["policies"] == ["root"]


def test_two_that_initialise_at_once(make_daemon: StartDaemon, tmp_path: Path, cluster: Cluster) -> None:
    """Two daemons on one empty database: one initialises it, both serve, and there is one root token."""
    seal = static_seal(tmp_path)
    with database(cluster) as dsn:
        pair = []
        for name in ("a", "b"):
            own = seal | {"root_token_file": str(tmp_path / f"token-{name}")}
            pair.append(make_daemon(folder=tmp_path, storage_url=dsn, seal=own))
        for daemon in pair:
            daemon.launch()
        for daemon in pair:
            daemon.await_health(200)
        files = [file for file in tmp_path.glob("token-*") if file.read_text().strip()]
        assert len(files) == 1
        assert len(list(tmp_path.glob("token-*"))) == 1, "the loser leaves no file"
        token = files[0].read_text().strip()
        for daemon in pair:
            assert daemon.must("GET", "auth/token/lookup-self", token=token)
            daemon.stop()


def test_a_missing_key(make_daemon: StartDaemon, tmp_path: Path) -> None:
    """Without its key file a daemon ends at once, names the key, and opens no listener."""
    daemon = _static(make_daemon, tmp_path)
    daemon.stop()
    (tmp_path / "first.key").unlink()
    said = _refused(daemon)
    assert "seal.key" in said


@pytest.mark.parametrize(
    ("key_id", "reason"),
    [("first", "does not open the store"), ("other", "key id that [seal] does not name")],
)
def test_a_wrong_key(make_daemon: StartDaemon, tmp_path: Path, key_id: str, reason: str) -> None:
    """With another key, under the same id or a new one, a daemon ends with a hint; the right one still opens."""
    daemon = _static(make_daemon, tmp_path)
    daemon.stop()
    right = daemon.command
    wrong = new_key()
    key = private(tmp_path / "wrong.key", wrong)
    _reconfigure(daemon, seal={"type": "static", "key": key, "key_id": key_id})
    said = _refused(daemon)
    assert reason in said
    assert "next:" in said
    assert wrong not in said
    daemon.command = right
    daemon.start(200)


def test_key_change(make_daemon: StartDaemon, tmp_path: Path) -> None:
    """With both keys the root key is wrapped anew at start; then the old one is needed no more, and opens nothing."""
    daemon = _static(make_daemon, tmp_path)
    daemon.stop()
    old, new = f"file:{tmp_path / 'first.key'}", private(tmp_path / "second.key", new_key())
    both = {"type": "static", "key": new, "key_id": "second", "previous_key": old, "previous_key_id": "first"}
    _reconfigure(daemon, seal=both)
    daemon.start(200)
    daemon.kill()
    (tmp_path / "first.key").rename(tmp_path / "gone.key")
    _reconfigure(daemon, seal={"type": "static", "key": new, "key_id": "second"})
    daemon.start(200)
    assert daemon.must("GET", "auth/token/lookup-self")
    daemon.stop()
    gone = {"type": "static", "key": f"file:{tmp_path / 'gone.key'}", "key_id": "first"}
    _reconfigure(daemon, seal=gone)
    assert "key id that [seal] does not name" in _refused(daemon)


def test_a_store_of_another_seal(open_daemon: StartDaemon, tmp_path: Path) -> None:
    """A static key for a store that key shares open is refused with a hint."""
    daemon = open_daemon(folder=tmp_path)
    daemon.stop()
    key = private(tmp_path / "a.key", new_key())
    _reconfigure(daemon, seal={"type": "static", "key": key, "key_id": "a"})
    assert "seal type shamir" in _refused(daemon)


def test_check(make_daemon: StartDaemon, tmp_path: Path) -> None:
    """``--check`` validates and ends: 0 for a good file, 1 with key and hint for a bad one; nothing is connected."""
    good = make_daemon(folder=tmp_path, storage_url="postgresql://nobody@127.0.0.1:1/none")
    done = subprocess.run([*good.command, "--check"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "the configuration is valid\n")
    bad = make_daemon(
        folder=tmp_path, storage_url="postgresql://nobody@127.0.0.1:1/none", api={"adress": "x"}
    )
    done = subprocess.run([*bad.command, "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "api.adress" in done.stderr
    assert "Traceback" not in done.stderr


def test_storage_that_is_not_there(make_daemon: StartDaemon) -> None:
    """A daemon that cannot reach its storage for ``connect_retry`` ends, and says so without the password."""
    url = "postgresql://nobody:c4n4ryPassword@127.0.0.1:1/none"
    daemon = make_daemon(storage_url=url, storage={"connect_retry": "1s"})
    began = time.monotonic()
    said = _refused(daemon)
    assert time.monotonic() - began < 15
    assert "storage" in said
    assert "c4n4ryPassword" not in said


# What an administrator grants the daemon's role when its owner migrates. docs/operate.md says the same.
GRANTS = """
GRANT CONNECT ON DATABASE "{database}" TO "{role}";
GRANT USAGE ON SCHEMA public TO "{role}";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "{role}";
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO "{role}";
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO "{role}"
"""


def test_without_rights_to_change_the_schema(
    make_daemon: StartDaemon, tmp_path: Path, cluster: Cluster
) -> None:
    """``secretd migrate`` under the owner, then a daemon with ``migrate = "never"`` under a role without DDL."""
    with database(cluster, is_migrated=False) as dsn:
        owner = Target(dsn)
        role, place = f"daemon-{owner.tag}", urlsplit(dsn)
        owner.run(
            f"""CREATE ROLE "{role}" LOGIN PASSWORD 'right'""", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
        )
        url = f"postgresql://{role}:right@{place.hostname}:{place.port}{place.path}"
        daemon = make_daemon(
            folder=tmp_path, storage_url=url, seal=static_seal(tmp_path), storage={"migrate": "never"}
        )
        try:
            said = _refused(daemon)
            assert "secretd migrate" in said
            command = [
                sys.executable,
                "-m",
                "secretd.cli.main",
                "migrate",
                "--storage",
                private(tmp_path / "owner.url", dsn),
            ]
            for wanted in ("applied ", "the schema is up to date"):
                done = subprocess.run(command, capture_output=True, text=True, timeout=60)
                assert done.returncode == 0, done.stderr
                assert done.stdout.startswith(wanted)
            owner.run(*GRANTS.format(database=place.path.strip("/"), role=role).split(";"))
            daemon.start(200)
            daemon.token = (tmp_path / "root-token").read_text().strip()
            daemon.must("POST", "sys/mounts/kv", {"type": "kv"})
            daemon.must("POST", "kv/x", {"value": "1"})
            assert daemon.must("GET", "kv/x")["data"] == {"value": "1"}
            daemon.must("POST", "auth/token/create", {"policies": ["default"]})
            daemon.must("PUT", "sys/rotate")
            daemon.must("DELETE", "sys/mounts/kv")
            daemon.stop()
        finally:
            daemon.kill()
            owner.run(f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')


def test_files_are_private(make_daemon: StartDaemon, tmp_path: Path) -> None:
    """Whatever the umask, what a daemon makes is its owner's alone."""
    before = os.umask(0)
    try:
        audit = tmp_path / "audit.jsonl"
        daemon = _static(make_daemon, tmp_path, audit=[{"path": str(audit)}])
    finally:
        os.umask(before)
    daemon.must("GET", "sys/mounts")
    assert stat.S_IMODE(audit.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "root-token").stat().st_mode) == 0o600
