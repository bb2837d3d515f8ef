"""Paths, methods and headers that are wrong, over the wire: refused, nothing stored, nothing repeated."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from support.served import Daemon
from wire.rows import CANARY, Row, ask, http, require_refusal, table

_RELATIVE = "relative paths not supported"
_HIDDEN = "dots, slashes and backslashes are not percent-encoded"
_CONTROL = "control character"
_NOT_UTF8 = "not valid UTF-8"


def _write(target: str | bytes, **headers: str) -> bytes:
    path = target if isinstance(target, bytes) else target.encode("latin-1")
    return http("POST", b"/v1/{mount}/" + path, {"value": CANARY}, **headers)


def _read(**headers: str) -> bytes:
    return http("GET", "/v1/secret/data/x", **headers)


@pytest.fixture
def mount(dev_daemon: Daemon) -> Iterator[str]:
    """An empty KV v1 mount; whatever the test sends, it must be empty afterwards."""
    name = f"bad-{uuid.uuid4().hex[:10]}"
    dev_daemon.must("POST", f"sys/mounts/{name}", {"type": "kv"})
    yield name
    listed = dev_daemon.send("LIST", name)
    dev_daemon.must("DELETE", f"sys/mounts/{name}")
    assert (listed.status, listed.errors) == (404, []), f"something was stored: {listed.body!r}"


@table(
    Row("a dot", _write("./x"), 400, _RELATIVE, "invalid_request"),
    Row("two dots", _write("../x"), 400, _RELATIVE),
    Row("two dots at the end", _write("a/.."), 400, _RELATIVE),
    Row("out of v1", http("POST", "/v1/../v1/{mount}/x", {"value": CANARY}), 400, _RELATIVE),
    Row("dots as escapes", _write("%2e%2e/x"), 400, _HIDDEN),
    Row("a dot as escape", _write("%2E/x"), 400, _HIDDEN),
    Row("half a pair as escape", _write(".%2e/x"), 400, _HIDDEN),
    Row("a slash as escape", _write("a%2fb"), 400, _HIDDEN),
    Row("a slash as escape in capitals", _write("a%2Fb"), 400, _HIDDEN),
    Row("a backslash as escape", _write("a%5cb"), 400, _HIDDEN),
    Row("a backslash", _write("..\\x"), 400, _HIDDEN),
    Row("NUL as escape", _write("a%00b"), 400, _CONTROL),
    Row("a line feed as escape", _write("a%0ab"), 400, _CONTROL),
    Row("DEL as escape", _write("a%7fb"), 400, _CONTROL),
    Row("a C1 control", _write("a%c2%85b"), 400, _CONTROL),
    Row("an overlong dot", _write("%c0%ae%c0%ae/x"), 400, _NOT_UTF8),
    Row("an overlong slash", _write("a%c0%afb"), 400, _NOT_UTF8),
    Row("an overlong slash of three", _write("a%e0%80%afb"), 400, _NOT_UTF8),
    Row("a surrogate", _write("%ed%a0%80"), 400, _NOT_UTF8),
    Row("half a character", _write("a%c3"), 400, _NOT_UTF8),
    Row("raw bytes that are no UTF-8", _write(b"a\xffb"), 400, ""),
    Row("half an escape", _write("a%2"), 400, "incomplete percent escape"),
    Row("no escape", _write("a%zz"), 400, "incomplete percent escape"),
    Row("a raw NUL", _write(b"a\x00b"), 400, ""),
    Row("a fragment", _write("a#b"), 400, ""),
    Row("too long", _write("a" * 2100), 400, "longer than 2048 bytes"),
    Row("too long for a line", _write("a" * 9000), 400, ""),
    Row("absolute form", http("POST", "http://127.0.0.1/v1/{mount}/x", {"value": CANARY}), 400, ""),
    Row("no slash", http("POST", "v1/{mount}/x", {"value": CANARY}), 400, ""),
    Row("outside v1", http("POST", "/{mount}/x", {"value": CANARY}), 404, ""),
    Row("v2", http("POST", "/v2/{mount}/x", {"value": CANARY}), 404, ""),
    Row("capitals", http("POST", "/V1/{mount}/x", {"value": CANARY}), 404, ""),
)  # fmt: skip
def test_paths_that_are_not_canonical(dev_daemon: Daemon, mount: str, row: Row) -> None:
    """A path with two readings, or none, is refused before policy and router; nothing is stored."""
    reply = ask(dev_daemon, row, mount=mount)
    if not row.text:
        row = Row(row.name, row.request, row.status, " ".join(reply.errors))  # the sentence is the parser's
    require_refusal(dev_daemon, reply, row)


@pytest.mark.parametrize("method", ["GET", "POST", "LIST", "DELETE"])
def test_empty_segments_are_redirected(dev_daemon: Daemon, method: str) -> None:
    """``//`` answers 307 to the clean path on this server, which then does what was asked."""
    name = f"r{uuid.uuid4().hex[:8]}"
    dev_daemon.must("POST", f"secret/data/{name}/x", {"data": {"a": "1"}})
    target = f"/v1/secret//data///{name}/x?version=1" if method != "LIST" else f"/v1/secret//metadata/{name}/"
    request = http(method, target, {"data": {"a": "2"}} if method == "POST" else b"")
    reply = dev_daemon.raw(request.replace(b"{token}", dev_daemon.token.encode()))
    assert reply.status == 307, reply
    location = reply.headers["location"]
    assert location == target.replace("///", "/").replace("//", "/"), "it stays on this server"
    body = {"data": {"a": "2"}} if method == "POST" else None
    followed = dev_daemon.send(method, location.removeprefix("/v1/"), body)
    assert followed.status == (204 if method == "DELETE" else 200), followed


def test_a_redirect_leads_to_no_other_host(dev_daemon: Daemon) -> None:
    """``//evil.example/x`` redirects to a path, never to a host, and a line break cannot get into the header."""
    for target in ("//evil.example/v1/secret/data/x", "/v1//evil%c3%a9", "/v1//a?x=%0d%0aSet-Cookie:%20a=b"):
        reply = dev_daemon.raw(http("GET", target).replace(b"{token}", dev_daemon.token.encode()))
        assert reply.status == 307, target
        assert reply.headers["location"].startswith("/")
        assert not reply.headers["location"].startswith("//")
        assert "set-cookie" not in reply.headers


@table(
    Row("unknown mount", http("POST", "/v1/nowhere/x", {"value": CANARY}), 404, "no handler for route", "no_handler"),
    Row("unknown mount read", http("GET", "/v1/nowhere/x"), 404, "no handler for route"),
    Row("unknown auth mount", http("POST", "/v1/auth/nowhere/login", {"x": CANARY}), 404, "no handler for route"),
    Row("the root", http("GET", "/v1/"), 404, "no handler for route"),
    Row("unknown path of a mount", http("GET", "/v1/sys/nowhere"), 404, "unsupported path", "unsupported_path"),
    Row("unknown operation", http("DELETE", "/v1/sys/seal-status"), 405, "unsupported operation"),
    Row("list of what has no list", http("LIST", "/v1/sys/health"), 405, "unsupported operation"),
    Row("no mount, no token", http("GET", "/v1/nowhere/x", X_Vault_Token=""), 403, "permission denied"),
    Row("no login, no token", http("POST", "/v1/auth/nowhere/login", {}, X_Vault_Token=""), 403, "permission denied"),
    Row("no token", _read(X_Vault_Token=""), 403, "permission denied", "permission_denied"),
    Row("unknown token", _read(X_Vault_Token="hvs." + CANARY), 403, "permission denied"),
    Row("nothing there", http("GET", "/v1/secret/data/x-nothing"), 404, "", "not_found"),
    Row("OPTIONS", http("OPTIONS", "/v1/secret/data/x"), 405, "unsupported operation"),
    Row("TRACE", http("TRACE", "/v1/secret/data/x", X_Canary=CANARY), 405, "unsupported operation"),
    Row("LINK", http("LINK", "/v1/secret/metadata/"), 405, "unsupported operation"),
    Row("no method", http("BREW", "/v1/secret/data/x"), 400, ""),
    Row("no HTTP", CANARY.encode() + b"\r\n\r\n", 400, ""),
)  # fmt: skip
def test_unknown_places_and_verbs(dev_daemon: Daemon, row: Row) -> None:
    """What does not exist is 404 to a good token and 403 to everybody else; a verb that a path lacks is 405."""
    reply = ask(dev_daemon, row)
    if row.status == 400:
        row = Row(row.name, row.request, row.status, " ".join(reply.errors))
    require_refusal(dev_daemon, reply, row)


@table(
    Row("NUL", _read(X_Vault_Token=f"{CANARY}\x00"), 400, ""),
    Row("a control character", _read(X_Vault_Token=f"{CANARY}\x01x"), 400, ""),
    Row("a carriage return", _read(X_Vault_Token=f"{CANARY}\rX-A: b"), 400, ""),
    Row("a fold", _read(X_Vault_Token=f"{CANARY}\r\n x"), 400, ""),
    Row("a tab", _read(X_Vault_Token=f"{CANARY}\tx"), 403, "permission denied"),
    Row("a space", _read(X_Vault_Token=f"{CANARY} x"), 403, "permission denied"),
    Row("no ASCII", _read(X_Vault_Token=f"{CANARY}\xff"), 403, "permission denied"),
    Row("too long", _read(X_Vault_Token=CANARY * 300), 403, "permission denied"),
    Row("too long for a header", _read(X_Vault_Token=CANARY * 900), 400, ""),
    Row("a root of another", _read(X_Vault_Token="root"), 403, "permission denied"),
    Row("bearer", _read(X_Vault_Token="", Authorization=f"Bearer {CANARY}"), 403, "permission"),
    Row("basic", _read(X_Vault_Token="", Authorization="Basic {token}"), 403, "permission"),
    Row("a cookie", _read(X_Vault_Token="", Cookie="token={token}"), 403, "permission denied"),
    Row("in the query", http("GET", "/v1/secret/data/x?token={token}", X_Vault_Token=""), 403, "permission denied"),
)  # fmt: skip
def test_tokens_that_are_none(dev_daemon: Daemon, row: Row) -> None:
    """A malformed or foreign token is refused, and repeated neither in the answer nor in the log."""
    reply = ask(dev_daemon, row)
    if row.status == 400:
        row = Row(row.name, row.request, row.status, " ".join(reply.errors))
    require_refusal(dev_daemon, reply, row)
    assert dev_daemon.token not in dev_daemon.log.split("Root token:")[1].split("\n", 1)[1]


@table(
    Row("origin", _write("x", Origin="https://evil.example"), 403, "requests from web pages are refused"),
    Row("origin null", _write("x", Origin="null"), 403, "requests from web pages are refused"),
    Row("origin without token", http("GET", "/v1/sys/health", Origin="https://e.x", X_Vault_Token=""), 403, "web"),
    Row("a foreign host", _write("x", Host="evil.example"), 403, "Host header must be loopback"),
    Row("a host that begins as loopback", _write("x", Host="127.0.0.1.evil.example"), 403, "Host header"),
    Row("a host that begins as localhost", _write("x", Host="localhost.evil.example"), 403, "Host header"),
    Row("wrapping", _write("x", X_Vault_Wrap_TTL="60"), 400, "response wrapping is not supported yet"),
    Row("wrapping by minutes", _write("x", X_Vault_Wrap_TTL="1m"), 400, "response wrapping"),
    Row("wrapping nonsense", _write("x", X_Vault_Wrap_TTL=CANARY), 400, "X-Vault-Wrap-TTL is a duration"),
    Row("wrapping below nothing", _write("x", X_Vault_Wrap_TTL="-5"), 400, "wrap"),
    Row("a namespace", _write("x", X_Vault_Namespace=CANARY), 404, "there is no such namespace"),
    Row("a list with a bad limit", http("LIST", f"/v1/{{mount}}?limit={CANARY}"), 400, "limit is a whole number"),
)  # fmt: skip
def test_headers_that_are_refused(dev_daemon: Daemon, mount: str, row: Row) -> None:
    """Web pages, foreign hosts, wrapping and namespaces are refused before anything is done."""
    require_refusal(dev_daemon, ask(dev_daemon, row, mount=mount), row)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8200", "localhost:1", "[::1]:8200", "LOCALHOST"])
def test_loopback_hosts(dev_daemon: Daemon, host: str) -> None:
    """Dev mode answers to every spelling of loopback."""
    assert dev_daemon.raw(http("GET", "/v1/sys/health", Host=host)).status == 200


@pytest.mark.parametrize("namespace", ["", "root", "/", "root/"])
def test_the_root_namespace(dev_daemon: Daemon, namespace: str) -> None:
    """Every spelling of the root namespace is what it is without the header."""
    assert dev_daemon.send("GET", "sys/mounts", headers={"X-Vault-Namespace": namespace}).status == 200


def test_three_ways_to_list(dev_daemon: Daemon) -> None:
    """LIST, ``?list=true`` and ``?list=1`` are one, with and without a slash at the end."""
    name = f"l{uuid.uuid4().hex[:8]}"
    dev_daemon.must("POST", f"secret/data/{name}/x", {"data": {"a": "1"}})
    path = f"secret/metadata/{name}"
    asked = [("LIST", path), ("LIST", path + "/"), ("GET", path + "?list=true"), ("GET", path + "/?list=1")]
    assert [dev_daemon.must(*one)["data"] for one in asked] == [{"keys": ["x"]}] * 4


def test_help(dev_daemon: Daemon) -> None:
    """``?help=1`` explains a path and reads nothing."""
    reply = dev_daemon.send("GET", "secret/data/x?help=1")
    assert reply.status == 200
    assert reply.json["help"]
    assert dev_daemon.send("GET", "secret/data/x?help=1", token="").status == 403


def test_head(dev_daemon: Daemon) -> None:
    """HEAD answers as GET does, without a body."""
    token = dev_daemon.token.encode()
    head = dev_daemon.raw(http("HEAD", "/v1/sys/health").replace(b"{token}", token))
    assert (head.status, head.body) == (200, b"")
    sealed_code = dev_daemon.raw(http("HEAD", "/v1/sys/health?activecode=299", X_Vault_Token=""))
    assert (sealed_code.status, sealed_code.body) == (299, b"")
