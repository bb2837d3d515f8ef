"""Unsealing over HTTP: progress, reset, wrong shares, and what a daemon answers while it cannot serve."""

from __future__ import annotations

import base64
import secrets

from support.served import Daemon, Reply, StartDaemon
from wire.rows import CANARY

_SERVED = (
    ("GET", "secret/data/x", None),
    ("POST", "secret/data/x", {"data": {"a": CANARY}}),
    ("GET", "sys/mounts", None),
    ("POST", "auth/userpass/login/x", {"password": CANARY}),
    ("GET", "nowhere/x", None),
    ("PUT", "sys/leases/lookup", {"lease_id": CANARY}),
)

# Neither hex nor base64; empty; one byte; too short; too long; much too long; no ASCII.
_NO_SHARES = ("not a share!", "", "00", "00" * 16, "00" * 34, "ab" * 5000, "é" * 40)


def _unseal(daemon: Daemon, **fields: object) -> Reply:
    return daemon.send("PUT", "sys/unseal", fields, token="")


def _require_unavailable(daemon: Daemon, code: str) -> None:
    """Every route that needs keys is a 503 that says when to come again, whoever asks."""
    for method, path, body in _SERVED:
        for token in ("", "hvs.nobody", daemon.token or "root"):
            reply = daemon.send(method, path, body, token=token)
            assert (reply.status, reply.json["code"]) == (503, code), (path, reply.body)
            assert int(reply.headers["retry-after"]) >= 1
            assert reply.json["hint"]
    assert CANARY not in daemon.log


def test_before_init(make_daemon: StartDaemon) -> None:
    """An empty store says so: 501 in health, 503 elsewhere; shares and impossible numbers are refused."""
    daemon = make_daemon()
    daemon.start(501)
    assert daemon.must("GET", "sys/init") == {"initialized": False}
    _require_unavailable(daemon, "not_initialized")
    assert _unseal(daemon, key="00" * 33).status in {400, 503}
    assert daemon.send("GET", "sys/health?uninitcode=202").status == 202
    for shares, threshold in ((0, 0), (3, 5), (5, 1), (256, 3), (-1, -1), (2, 0)):
        body = {"secret_shares": shares, "secret_threshold": threshold}
        reply = daemon.send("PUT", "sys/init", body)
        assert reply.status == 400, (body, reply.body)
        assert reply.errors
        assert daemon.must("GET", "sys/init") == {"initialized": False}


def test_shares(make_daemon: StartDaemon) -> None:
    """5 shares, 3 open: progress and nonce are told, reset forgets, a wrong set opens nothing and starts again."""
    daemon = make_daemon()
    daemon.start(501)
    made = daemon.must("PUT", "sys/init", {"secret_shares": 5, "secret_threshold": 3})
    keys, daemon.token = made["keys_base64"], made["root_token"]
    assert [base64.b64decode(key).hex() for key in keys] == made["keys"]
    _require_unavailable(daemon, "sealed")
    assert daemon.send("GET", "sys/health").status == 503
    assert daemon.send("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1}).status == 400

    first = _unseal(daemon, key=keys[0]).json
    assert (first["sealed"], first["progress"], first["t"], first["n"]) == (True, 1, 3, 5)
    assert first["nonce"]
    assert _unseal(daemon, key=keys[0]).json["progress"] == 1, "the same share again is no progress"
    second = _unseal(daemon, key=made["keys"][1]).json  # hex
    assert (second["progress"], second["nonce"]) == (2, first["nonce"])
    after = _unseal(daemon, reset=True).json
    assert (after["progress"], after["nonce"], after["sealed"]) == (0, "", True)
    again = _unseal(daemon, key=keys[2]).json
    assert again["progress"] == 1
    assert again["nonce"] not in {"", first["nonce"]}

    _unseal(daemon, key=keys[3])
    wrong = _unseal(daemon, key=secrets.token_hex(33))
    assert wrong.status == 400, wrong.body
    assert daemon.must("GET", "sys/seal-status")["progress"] == 0, "a wrong set begins anew"
    _require_unavailable(daemon, "sealed")

    for key in keys[1:4]:
        last = _unseal(daemon, key=key).json
    assert last["sealed"] is False
    assert daemon.must("GET", "sys/mounts")
    assert _unseal(daemon, key=keys[0]).json["sealed"] is False

    daemon.must("PUT", "sys/seal")
    _require_unavailable(daemon, "sealed")
    assert daemon.must("GET", "sys/seal-status")["progress"] == 0
    daemon.keys = made["keys"]
    daemon.unseal(3)
    assert daemon.must("GET", "sys/mounts")
    assert not any(key in daemon.log for key in [*keys, *made["keys"], daemon.token])


def test_shares_that_are_none(make_daemon: StartDaemon) -> None:
    """What is no share is a 400 that repeats nothing of it, and makes no progress."""
    daemon = make_daemon()
    daemon.start(501)
    daemon.must("PUT", "sys/init", {"secret_shares": 3, "secret_threshold": 2})
    for key in _NO_SHARES:
        reply = _unseal(daemon, key=key)
        assert reply.status == 400, (key, reply.body)
        assert daemon.must("GET", "sys/seal-status")["progress"] == 0
        assert len(key) < 8 or key not in reply.body.decode() + daemon.log


def test_sealing_needs_rights(open_daemon: StartDaemon) -> None:
    """Only a token with sudo on the path seals; the others are refused and the daemon stays open."""
    daemon = open_daemon()
    weak = daemon.must("POST", "auth/token/create", {"policies": ["default"]})["auth"]["client_token"]
    for token in ("", "hvs.nobody", weak):
        assert daemon.send("PUT", "sys/seal", token=token).status == 403
    assert daemon.send("GET", "sys/health").status == 200


def test_rotation_keeps_what_is_stored(open_daemon: StartDaemon) -> None:
    """After rotations a new term encrypts, and entries of every older term stay readable, also after a restart."""
    daemon = open_daemon()
    daemon.must("POST", "sys/mounts/kv", {"type": "kv"})
    for term in (1, 2, 3):
        assert daemon.must("GET", "sys/key-status")["data"]["term"] == term
        daemon.must("POST", f"kv/of-{term}", {"value": str(term)})
        daemon.must("PUT", "sys/rotate" if term == 1 else "sys/rotate/keyring")
    daemon.stop()
    daemon.start(503)
    daemon.unseal()
    assert [daemon.must("GET", f"kv/of-{term}")["data"]["value"] for term in (1, 2, 3)] == ["1", "2", "3"]
    assert daemon.must("GET", "sys/key-status")["data"]["term"] == 4
