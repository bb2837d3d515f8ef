"""Bodies that are too large, too many, too deep, or of the wrong type: refused before they cost, nothing stored."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.served import Daemon
from wire.rows import CANARY, Row, ask, http, require_refusal, table

MIB = 2**20
_PARSE = "failed to parse JSON input"
_ANONYMOUS = {"X_Vault_Token": ""}


def _write(body: bytes | object, **headers: str) -> bytes:
    return http("POST", "/v1/{mount}/x", body, **headers)


def _post(path: str, body: object) -> bytes:
    return http("POST", "/v1/" + path, body)


def _text(size: int) -> dict[str, str]:
    return {"value": CANARY + "a" * size}


def _chunked(size: int) -> bytes:
    body = json.dumps(_text(size)).encode()
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:1000], body[1000:]))
    head = http("POST", "/v1/sys/policies/acl/{mount}", Transfer_Encoding="chunked")
    return head + pieces + b"0\r\n\r\n"


@pytest.fixture
def mount(dev_daemon: Daemon) -> Iterator[str]:
    """A name for what the rows may make: an empty KV v1 mount, and a policy that is not there. So it stays."""
    name = f"bad-{uuid.uuid4().hex[:10]}"
    dev_daemon.must("POST", f"sys/mounts/{name}", {"type": "kv"})
    yield name
    listed = dev_daemon.send("LIST", name)
    policy = dev_daemon.send("GET", f"sys/policies/acl/{name}")
    dev_daemon.must("DELETE", f"sys/mounts/{name}")
    assert (listed.status, listed.errors) == (404, []), "something was stored"
    assert policy.status == 404, "a policy was stored"


@table(
    Row("an ordinary route", http("POST", "/v1/sys/policies/acl/{mount}", _text(MIB)), 413, "larger than 1048576"),
    Row("in chunks", _chunked(MIB), 413, "larger than 1048576 bytes", "too_large"),
    Row("a login", http("POST", "/v1/auth/userpass/login/x", _text(MIB), **_ANONYMOUS), 413, "larger than 1048576"),
    Row("unseal", http("PUT", "/v1/sys/unseal", {"key": "a" * MIB}, **_ANONYMOUS), 413, "larger than 1048576"),
    Row("init", http("PUT", "/v1/sys/init", _text(MIB), **_ANONYMOUS), 413, "larger than 1048576"),
    Row("nowhere", http("PUT", "/v1/nowhere/x", _text(MIB), **_ANONYMOUS), 413, "larger than 1048576"),
    Row("KV without token", _write(_text(MIB), **_ANONYMOUS), 413, "larger than 1048576"),
    Row("KV with a bad token", _write(_text(MIB), X_Vault_Token="hvs.wrong"), 413, "larger than 1048576"),
    Row("KV beyond the limit", http("POST", "/v1/{mount}/x", b"{", length=32 * MIB + 1), 413, "larger than 33554432"),
    Row("commas", _write(b'{"a":[' + b"1," * 200_000 + b"1]}"), 413, "more than 200000 commas and colons"),
    Row("colons", _write(b"{" + b",".join(b'"%d":1' % n for n in range(100_001)) + b"}"), 413, "commas and colons"),
    Row("lists", _write(b"[[" * 100_001 + b"]]" * 100_001), 413, "more than 200000 opening brackets"),
    Row("depth", _write(b'{"a":' + b"[" * 100 + b"]" * 100 + b"}"), 400, "nested deeper than 100 levels"),
    Row("depth of objects", _write(b'{"a":' * 101 + b"1" + b"}" * 101), 400, "nested deeper than 100 levels"),
    Row("depth behind text", _write(b'{"b":"\\\\","a":' + b"[" * 100 + b"]" * 100 + b"}"), 400, "nested deeper"),
    Row("gzip", _write(b"\x1f\x8b\x08" + CANARY.encode(), Content_Encoding="gzip"), 415, "content encoding"),
    Row("deflate", _write({"value": CANARY}, Content_Encoding="deflate"), 415, "content encoding"),
    Row("two encodings", _write({"value": CANARY}, Content_Encoding="identity, br"), 415, "content encoding"),
    Row("patch as JSON", http("PATCH", "/v1/secret/data/{mount}", {"data": {"a": CANARY}}), 415, "PATCH requires"),
    Row("repeated name", _write(b'{"value":"%s","value":"b"}' % CANARY.encode()), 400, "a name is repeated"),
    Row("repeated below", _write(b'{"a":{"b":1,"b":2}}'), 400, "a name is repeated"),
    Row("repeated by escape", _write(b'{"value":1,"v\\u0061lue":2}'), 400, "a name is repeated"),
    Row("no JSON", _write(CANARY.encode()), 400, _PARSE),
    Row("half JSON", _write(b'{"value": "' + CANARY.encode()), 400, _PARSE),
    Row("more than JSON", _write(b'{"value": 1} ' + CANARY.encode()), 400, _PARSE),
    Row("a form", _write(b"value=" + CANARY.encode(), Content_Type="application/x-www-form-urlencoded"), 400, _PARSE),
    Row("a list", _write([CANARY]), 400, "the body is a JSON object"),
    Row("text", _write(json.dumps(CANARY).encode()), 400, "the body is a JSON object"),
    Row("a number", _write(b"7"), 400, "the body is a JSON object"),
    Row("NaN", _write(b'{"a": NaN}'), 400, _PARSE),
    Row("a huge exponent", _write(b'{"a": 1e999999}'), 400, _PARSE),
    Row("66 bits", _write(b'{"a": 36893488147419103232}'), 400, "exceeds 64 bits"),
    Row("5,000 digits", _write(b'{"a": ' + b"9" * 5000 + b"}"), 400, _PARSE),
    Row("half a pair", _write(b'{"a": "\\ud800"}'), 400, _PARSE),
    Row("half a pair as name", _write(b'{"\\udfff": 1}'), 400, _PARSE),
    Row("no UTF-8", _write(b'{"a": "\xff"}'), 400, _PARSE),
    Row("overlong UTF-8", _write(b'{"a": "\xc0\xae"}'), 400, _PARSE),
    Row("a control character", _write(b'{"a": "\x00"}'), 400, _PARSE),
    Row("UTF-16", _write('{"a": 1}'.encode("utf-16")), 400, _PARSE),
    Row("a byte order mark", _write(b'\xef\xbb\xbf{"a": 1}'), 400, _PARSE),
    Row("bad chunks", http("POST", "/v1/{mount}/x", Transfer_Encoding="chunked") + b"zz\r\n{}\r\n0\r\n\r\n", 400, ""),
    Row("two lengths", _write({"a": 1}, Transfer_Encoding="chunked"), 400, ""),
    Row("a length that is none", _write(b"{}", Content_Length="-5"), 400, ""),
)  # fmt: skip
def test_bodies(dev_daemon: Daemon, mount: str, row: Row) -> None:
    """What cannot be taken is refused with a reason that repeats none of it, and the mount stays empty."""
    reply = ask(dev_daemon, row, mount=mount)
    if not row.text:
        row = Row(row.name, row.request, row.status, " ".join(reply.errors))
    require_refusal(dev_daemon, reply, row)


def test_kv_takes_large_secrets(dev_daemon: Daemon, mount: str) -> None:
    """With a good token a secret may be as large as the server's limit; it comes back whole."""
    body = {"data": _text(3 * MIB)}
    dev_daemon.must("POST", f"secret/data/{mount}-large", body)
    assert dev_daemon.must("GET", f"secret/data/{mount}-large")["data"]["data"] == body["data"]


def test_memory_of_refused_bodies(dev_daemon: Daemon, mount: str) -> None:
    """Thirty large bodies that are refused leave the daemon's memory as it was, and it answers meanwhile."""
    wide = http("POST", f"/v1/{mount}/x", b"{" + b",".join(b'"%d":{}' % n for n in range(100_001)) + b"}")
    request = wide.replace(b"{token}", dev_daemon.token.encode())
    for _ in range(3):
        dev_daemon.raw(request)
    before = _resident(dev_daemon)
    for _ in range(30):
        assert dev_daemon.raw(request).status == 413
    assert _resident(dev_daemon) - before < 16 * MIB
    assert dev_daemon.send("GET", "sys/health").status == 200


def _resident(daemon: Daemon) -> int:
    pages = Path(f"/proc/{daemon.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


@table(
    Row("a mount's type", _post("sys/mounts/{mount}-x", {"type": {"a": CANARY}}), 400, "field type"),
    Row("a mount's config", _post("sys/mounts/{mount}-x", {"type": "kv", "config": CANARY}), 400, "config"),
    Row("a mount's TTL", _post("sys/mounts/{mount}-x",
        {"type": "kv", "config": {"default_lease_ttl": CANARY}}), 400, "default_lease_ttl"),
    Row("an unknown type", _post("sys/mounts/{mount}-x", {"type": "nosuch"}), 400, "plugin not found"),
    Row("no type", _post("sys/mounts/{mount}-x", {}), 400, "type"),
    Row("an option", _post("sys/mounts/{mount}-x", {"type": "kv", "options": {"version": [CANARY]}}), 400, "options"),
    Row("an auth mount's type", _post("sys/auth/{mount}-x", {"type": 7}), 400, "field type"),
    Row("a policy", _post("sys/policies/acl/{mount}", {"policy": [CANARY]}), 400, "field policy"),
    Row("no policy", _post("sys/policies/acl/{mount}", {}), 400, "policy"),
    Row("a policy's text", _post("sys/policies/acl/{mount}", {"policy": f"{CANARY} {{"}), 400, ""),
    Row("a capability", _post("sys/policies/acl/{mount}",
        {"policy": 'path "x" { capabilities = ["c4n4ry"] }'}), 400, "capabilit"),
    Row("a password policy", _post("sys/policies/password/{mount}", {"policy": 7}), 400, "policy"),
    Row("a token's TTL", _post("auth/token/create", {"ttl": CANARY}), 400, "field ttl: a duration"),
    Row("a token's TTL below nothing", _post("auth/token/create", {"ttl": "-1h"}), 400, "ttl"),
    Row("a token's uses", _post("auth/token/create", {"num_uses": CANARY}), 400, "field num_uses"),
    Row("a token's policies", _post("auth/token/create", {"policies": {"a": CANARY}}), 400, "field policies"),
    Row("a token's meta", _post("auth/token/create", {"meta": {"a": [CANARY]}}), 400, "field meta"),
    Row("a token's type", _post("auth/token/create", {"type": CANARY}), 400, "only service tokens"),
    Row("a token's id", _post("auth/token/create", {"id": f"hvs.{CANARY}"}), 400, ""),
    Row("a token to look up", _post("auth/token/lookup", {"token": [CANARY]}), 400, "field token"),
    Row("an increment", _post("auth/token/renew-self", {"increment": [CANARY]}), 400, "field increment"),
    Row("a lease", _post("sys/leases/lookup", {"lease_id": {"a": CANARY}}), 400, "field lease_id"),
    Row("no lease", _post("sys/leases/lookup", {"lease_id": CANARY}), 400, "invalid lease"),
    Row("a lease's increment", _post("sys/leases/renew", {"lease_id": "x", "increment": CANARY}), 400, "increment"),
    Row("no lease to renew", _post("sys/leases/renew", {"lease_id": CANARY}), 400, "lease not found"),
    Row("KV v2 data", _post("secret/data/{mount}", {"data": CANARY}), 400, "field data"),
    Row("KV v2 without data", _post("secret/data/{mount}", {"value": CANARY}), 400, "no data provided"),
    Row("KV v2 cas", _post("secret/data/{mount}", {"data": {}, "options": {"cas": CANARY}}), 400, "check-and-set"),
    Row("KV v2 wrong cas", _post("secret/data/{mount}", {"data": {"a": CANARY}, "options": {"cas": 9}}),
        400, "check-and-set parameter did not match the current version"),
    Row("KV v2 version", http("GET", "/v1/secret/data/{mount}?version=c4n4ry"), 400, "field version"),
    Row("KV v2 versions", _post("secret/destroy/{mount}", {"versions": [CANARY]}), 400, "versions"),
    Row("KV v2 metadata", _post("secret/metadata/{mount}", {"max_versions": CANARY}), 400, "max_versions"),
    Row("KV v2 custom metadata", _post("secret/metadata/{mount}", {"custom_metadata": {"a": {"b": CANARY}}}),
        400, "custom_metadata"),
    Row("shares", http("PUT", "/v1/sys/init", {"secret_shares": CANARY}), 400, "field secret_shares"),
    Row("a share", http("PUT", "/v1/sys/unseal", {"key": [CANARY]}), 400, "field key"),
    Row("audit", _post("sys/audit/{mount}", {"type": "file", "options": {"file_path": "/x/" + CANARY}}), 400, ""),
    Row("an audit hash", _post("sys/audit-hash/nowhere", {"input": CANARY}), 400, "unknown audit backend"),
)  # fmt: skip
def test_wrong_types(dev_daemon: Daemon, mount: str, row: Row) -> None:
    """A field of the wrong type or an impossible value is a 400 that names the field, and nothing is made of it."""
    before = _state(dev_daemon)
    reply = ask(dev_daemon, row, mount=mount)
    if not row.text:
        row = Row(row.name, row.request, row.status, " ".join(reply.errors))
    require_refusal(dev_daemon, reply, row)
    assert dev_daemon.send("GET", f"secret/metadata/{mount}").status == 404
    assert _state(dev_daemon) == before


def _state(daemon: Daemon) -> list[object]:
    """What administration can make: mounts, policies, tokens, audit devices."""
    asked = [
        ("GET", "sys/mounts"), ("GET", "sys/auth"), ("LIST", "sys/policies/acl"), ("LIST", "sys/policies/password"),
        ("LIST", "auth/token/accessors"), ("GET", "sys/audit"),
    ]  # fmt: skip
    return [(daemon.send(*one).json or {}).get("data") for one in asked]
