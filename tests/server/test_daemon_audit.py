"""Audit on a real daemon: its file verifies, edits and cut tails are found, a full disk stops the service by name."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from support.served import Daemon, StartDaemon, static_seal

CANARY = "c4n4ry-audit-1b2c"


def _static(make_daemon: StartDaemon, tmp_path: Path, **device: object) -> Daemon:
    """A daemon with one required audit file, initialised by itself."""
    audit = [{"path": str(tmp_path / "audit.jsonl"), "required": True} | device]
    daemon = make_daemon(folder=tmp_path, seal=static_seal(tmp_path), audit=audit)
    daemon.start(200)
    daemon.token = (tmp_path / "root-token").read_text().strip()
    return daemon


def _verify(daemon: Daemon, file: Path) -> tuple[int, str]:
    config = daemon.command[-1].removeprefix("--config=")
    command = [sys.executable, "-m", "secretd.cli.main", "audit", "verify", f"--config={config}", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def test_verify(make_daemon: StartDaemon, tmp_path: Path) -> None:
    """The file verifies while the daemon runs, after its end and after a kill; edits, drops and cut tails do not."""
    daemon = _static(make_daemon, tmp_path)
    file = tmp_path / "audit.jsonl"
    daemon.must("POST", "sys/mounts/kv", {"type": "kv"})
    for number in range(5):
        daemon.must("POST", f"kv/{number}", {"value": CANARY})
    daemon.stop()
    assert CANARY not in file.read_text()
    assert daemon.token not in file.read_text()
    assert _verify(daemon, file)[0] == 0, _verify(daemon, file)

    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    edited = whole.replace(b'"kv/3"', b'"kv/8"')
    swapped = b"".join([*lines[:2], lines[3], lines[2], *lines[4:]])
    for name, text in {
        "an edit": edited,
        "a drop": b"".join(lines[:3] + lines[4:]),
        "a swap": swapped,
        "a cut tail": b"".join(lines[:-2]),
        "nothing left": b"",
    }.items():
        assert text != whole
        file.write_bytes(text)
        code, said = _verify(daemon, file)
        assert code == 2, (name, said)
    file.write_bytes(whole)

    daemon.start(200)
    daemon.must("GET", "kv/1")
    daemon.kill()
    daemon.start(200)
    daemon.must("GET", "kv/2")
    daemon.stop()
    assert _verify(daemon, file)[0] == 0, _verify(daemon, file)


def test_every_request_has_two_entries(make_daemon: StartDaemon, tmp_path: Path) -> None:
    """Requests and answers are recorded, refused ones too, with the request id that the caller sees."""
    daemon = _static(make_daemon, tmp_path)
    good = daemon.must("GET", "sys/mounts")["request_id"]
    bad = daemon.send("GET", "secret/nothing", token="hvs.nobody").json["request_id"]
    weak = daemon.must("POST", "auth/token/create", {"policies": ["default"]})["auth"]["client_token"]
    refused = daemon.send("GET", "sys/mounts", token=weak).json["request_id"]
    entries = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    kinds = {
        wanted: [entry["type"] for entry in entries if entry.get("request", {}).get("id") == wanted]
        for wanted in (good, refused, bad)
    }
    assert kinds[good] == ["request", "response"]
    assert kinds[refused][:1] == ["request"]
    assert weak not in (tmp_path / "audit.jsonl").read_text()


def _limit_files() -> None:
    """In the child: no file grows beyond 64 KiB, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))


def test_a_full_disk(make_daemon: StartDaemon, tmp_path: Path) -> None:
    """When the required device can write no more, requests are a named 503 and do nothing; health still answers."""
    seal = static_seal(tmp_path)
    audit = [{"path": str(tmp_path / "audit.jsonl"), "required": True}]
    daemon = make_daemon(folder=tmp_path, seal=seal, audit=audit, log={"format": "json", "level": "error"})
    daemon.preexec = _limit_files
    daemon.start(200)
    daemon.token = (tmp_path / "root-token").read_text().strip()
    daemon.must("POST", "sys/mounts/kv", {"type": "kv"})
    done, reply = 0, daemon.send("POST", "kv/0", {"value": CANARY})
    while reply.status == 204 and done < 500:
        done += 1
        reply = daemon.send("POST", f"kv/{done}", {"value": CANARY})
    assert (reply.status, reply.json["code"]) == (503, "audit_unavailable"), (done, reply)
    assert int(reply.headers["retry-after"]) >= 1
    assert daemon.send("GET", "kv/0").status == 503
    assert "audit.device_failed" in daemon.log
    health = daemon.send("GET", "sys/health", token="")
    assert (health.status, health.json["sealed"]) == (200, False)
    assert daemon.send("GET", "sys/seal-status", token="").status == 200

    file = tmp_path / "audit.jsonl"
    os.truncate(file, 0)  # somebody makes room
    assert daemon.send("GET", f"kv/{done}").status in {404, 200, 503}
    daemon.kill()
    daemon.preexec = None
    daemon.start(200)
    assert daemon.must("GET", "kv/0")["data"] == {"value": CANARY}
    assert daemon.send("GET", f"kv/{done + 1}").status == 404, "what was never begun is not there"


def test_a_removed_file(make_daemon: StartDaemon, tmp_path: Path) -> None:
    """A file that somebody removed is noticed: entries do not go into nowhere."""
    daemon = _static(make_daemon, tmp_path)
    file = tmp_path / "audit.jsonl"
    daemon.must("GET", "sys/mounts")
    file.unlink()
    replies = [daemon.send("GET", "sys/auth").status for _ in range(3)]
    assert file.exists() or set(replies) == {503}, replies


def test_a_device_that_cannot_be_opened(make_daemon: StartDaemon, tmp_path: Path) -> None:
    """While a required device's folder cannot be made nothing is served and nothing done; health answers."""
    folder = tmp_path / "nowhere"
    folder.touch()
    audit = [{"path": str(folder / "audit.jsonl"), "required": True}]
    daemon = make_daemon(folder=tmp_path, seal=static_seal(tmp_path), audit=audit)
    daemon.start(200)
    daemon.token = (tmp_path / "root-token").read_text().strip()
    reply = daemon.send("POST", "sys/mounts/kv", {"type": "kv"})
    assert (reply.status, reply.json["code"]) == (503, "audit_unavailable")
    assert "audit.device_failed" in daemon.log
    folder.unlink()
    daemon.stop()
    daemon.start(200)
    assert "kv/" not in daemon.must("GET", "sys/mounts")["data"], "what was refused was not done"
