"""What a stranger without a token can reach: a short list, and nothing that he sends can end the listener."""

from __future__ import annotations

import contextlib
import re
import socket
from typing import Any

from support.served import Daemon, StartDaemon

# Method and path of our OpenAPI document, with holes as they are there. An addition is a decision.
OPEN = {
    ("get", "/sys/health"),
    ("get", "/sys/init"),
    ("post", "/sys/init"),
    ("get", "/sys/leader"),
    ("get", "/sys/seal-status"),
    ("post", "/sys/unseal"),
    (
        "get",
        "/sys/internal/ui/mounts",
    ),  # tells of mounts with listing_visibility "unauth", as a login page needs
    ("post", "/auth/approle/login"),
    ("post", "/auth/userpass/login/{username}"),
}
_METHODS = {"get": "GET", "post": "POST", "delete": "DELETE", "patch": "PATCH", "list": "LIST"}


def _fill(path: str) -> str:
    return "/".join("x" if part.startswith("{") else part for part in path.split("/"))


def test_routes_without_a_token(open_daemon: StartDaemon) -> None:
    """Every route of every mount but those of the list is 403 without a token, and with an unknown one."""
    daemon = open_daemon()
    for path, body in {
        "sys/mounts/kv1": {"type": "kv"},
        "sys/mounts/kv2": {"type": "kv", "options": {"version": "2"}},
        "sys/mounts/db": {"type": "database"},
        "sys/auth/userpass": {"type": "userpass"},
        "sys/auth/approle": {"type": "approle"},
    }.items():
        daemon.must("POST", path, body)
    document: dict[str, Any] = daemon.must("GET", "sys/internal/specs/openapi")
    answered: set[tuple[str, str]] = set()
    asked = 0
    for path, item in document["paths"].items():
        for method in item.keys() & _METHODS.keys():
            headers = {"Content-Type": "application/merge-patch+json"} if method == "patch" else {}
            for token in ("", "hvs.nobody"):
                target = _fill(path).lstrip("/")
                reply = daemon.send(_METHODS[method], target, token=token, headers=headers)
                asked += 1
                if reply.status != 403:
                    answered.add((method, path))
    assert asked > 120
    assert answered == OPEN, f"unexpected {answered - OPEN}, missing {OPEN - answered}"


def test_policies_of_a_stranger(open_daemon: StartDaemon) -> None:
    """A token of a policy without rules reaches only what is open; ``default`` reaches only itself."""
    daemon = open_daemon()
    made = daemon.must("POST", "auth/token/create", {"policies": ["nothing"], "no_default_policy": True})
    token = made["auth"]["client_token"]
    for method, path in (
        ("GET", "sys/mounts"),
        ("GET", "auth/token/lookup-self"),
        ("LIST", "secret"),
        ("PUT", "sys/seal"),
    ):
        assert daemon.send(method, path, token=token).status == 403, path
    assert daemon.send("GET", "sys/health", token=token).status == 200


_PRELUDES = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS where none is
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    b"\r\n\r\n\x0d\x0a\x0d\x0a\x00\x0d\x0aQUIT\n",  # PROXY, version 2
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /v1/sys/health HTTP/1.1\r\n" + b"A: b\r\n" * 2000,
    b"GET /v1/sys/health HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET " + b"/" * 70000,
    b"\x00" * 4096,
    b"POST /v1/sys/unseal HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"POST /v1/sys/unseal HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
    b"GET /v1/sys/health HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"LIST",
    b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n",
)


def _say(daemon: Daemon, text: bytes, *, is_all: bool = True) -> bytes:
    """Send, close our half if that ``is_all``, and take what comes until the other closes."""
    heard = b""
    with socket.create_connection(daemon.address, timeout=20) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(text)
        if is_all:
            sock.shutdown(socket.SHUT_WR)
        while piece := sock.recv(65536):
            heard += piece
    return heard


def test_preludes(dev_daemon: Daemon) -> None:
    """Bytes that are no request end their own connection; the listener lives on and logs none of them."""
    for text in _PRELUDES:
        heard = _say(dev_daemon, text)
        assert not heard or heard.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")), text
        assert b" 500 " not in heard, (text, heard)
        assert dev_daemon.send("GET", "sys/health", token="").status == 200
    assert "QUIT" not in dev_daemon.log


def test_many_idle_connections(dev_daemon: Daemon) -> None:
    """Hundreds of connections that say nothing, or half a request, keep nobody else waiting."""
    with contextlib.ExitStack() as stack:
        for number in range(300):
            sock = stack.enter_context(socket.create_connection(dev_daemon.address, timeout=20))
            if number % 2:
                sock.sendall(b"GET /v1/sys/mounts HTTP/1.1\r\nX-Vault-Tok")
        for _ in range(20):
            assert dev_daemon.send("GET", "sys/mounts", timeout=10).status == 200


def test_requests_in_one_packet(dev_daemon: Daemon) -> None:
    """Pipelined requests are answered one by one, each with its own token's rights."""
    good = f"GET /v1/sys/mounts HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Vault-Token: {dev_daemon.token}\r\n\r\n".encode()
    bad = b"GET /v1/sys/mounts HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    last = bad.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    heard = _say(dev_daemon, good + bad + good + last, is_all=False)
    assert re.findall(rb"HTTP/1\.1 (\d+)", heard) == [b"200", b"403", b"200", b"403"]
