"""Every endpoint of our own OpenAPI document, with values of random types: never an internal error, never an exit.

``SECRETD_FUZZ_SECONDS`` makes it longer, ``SECRETD_FUZZ_SEED`` repeats a run; a failure names the seed.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from support.served import Daemon, StartDaemon

SECONDS = float(os.environ.get("SECRETD_FUZZ_SECONDS", "12"))
_METHODS = {"get": "GET", "post": "POST", "delete": "DELETE", "patch": "PATCH", "put": "PUT", "list": "LIST"}
_LEFT_OUT = {"/sys/seal", "/sys/init"}  # the one is the end of the run, the other has had its say
_TEXTS = (
    "", "x", "0", "-1", "1h", "-5s", "true", "null", "a,b", "../x", "a/b/", "{{name}}", "{{", "%", "\u0000", "é",
    "\ud83d\ude00", "a" * 300, "root", "default", "hvs.nothing", "file", "kv", "database", "9" * 40, "1e309", "NaN",
    "[]", "{}", "postgresql-database-plugin", "postgresql://{{username}}:{{password}}@127.0.0.1:1/x", 'path "x" {',
    "SELECT 1;", "127.0.0.1/8", "-----BEGIN CERTIFICATE-----", "\r\nX: y", "length = 20",
)  # fmt: skip
_NUMBERS = (
    0,
    1,
    -1,
    7,
    255,
    2**31,
    -(2**31),
    2**32,
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    2**64 - 1,
    0.5,
    -0.0,
    1e300,
    1e-300,
)
_NAMES = (
    "x",
    "app",
    "r",
    "a.b",
    "a-b",
    "A_1",
    "é",
    "a b",
    "a%b",
    "x" * 130,
    "0",
    "-",
    "_",
    "a,b",
    "*",
    "+",
    "root",
)


@dataclass(frozen=True)
class Endpoint:
    """An operation of the document: path with holes, the names that its body or query may have."""

    method: str
    path: str
    names: dict[str, dict[str, Any]]  # and their schemas


def _endpoints(document: dict[str, Any]) -> Iterator[Endpoint]:
    for path, item in sorted(document["paths"].items()):
        for method, operation in sorted(item.items()):
            if method in _METHODS and path not in _LEFT_OUT:
                yield Endpoint(_METHODS[method], path, _names(document, item, operation))


def _names(
    document: dict[str, Any], item: dict[str, Any], operation: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    parameters = [*item.get("parameters", []), *operation.get("parameters", [])]
    found = {one["name"]: one.get("schema", {}) for one in parameters if one.get("in") == "query"}
    for media in operation.get("requestBody", {}).get("content", {}).values():
        found |= _resolve(document, media.get("schema", {})).get("properties", {})
    return {name: _resolve(document, schema) for name, schema in sorted(found.items())}


def _resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        place: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            place = place[part]
        schema = place
    return schema


class Chance:
    """Random values, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def value(self, depth: int = 0) -> Any:
        """JSON of any type."""
        kind = self._dice.randrange(7 if depth < 2 else 4)
        if kind <= 1:
            return self._dice.choice(_TEXTS)
        if kind == 2:
            return self._dice.choice(_NUMBERS)
        if kind == 3:
            return self._dice.choice((True, False, None))
        if kind == 4:
            return [self.value(depth + 1) for _ in range(self._dice.randrange(4))]
        return {
            self._dice.choice(_NAMES + _TEXTS): self.value(depth + 1) for _ in range(self._dice.randrange(4))
        }

    def fitting(self, schema: dict[str, Any]) -> Any:
        """A value of the type that is asked for, so that what comes behind the types is reached as well."""
        kinds = schema.get("anyOf") or schema.get("oneOf")
        if kinds:
            return self.fitting(self._dice.choice(kinds))
        kind = schema.get("type")
        if kind == "string":
            return self._dice.choice(_TEXTS)
        if kind in {"integer", "number"}:
            return self._dice.choice(_NUMBERS[:12])
        if kind == "boolean":
            return self._dice.random() < 0.5
        if kind == "array":
            return [self.fitting(schema.get("items", {})) for _ in range(self._dice.randrange(3))]
        return {self._dice.choice(_NAMES): self._dice.choice(_TEXTS) for _ in range(self._dice.randrange(3))}

    def body(self, names: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Some of the names, half of the time with fitting values, and now and then one that nobody knows."""
        is_fitting = self._dice.random() < 0.5
        found = {
            name: self.fitting(schema) if is_fitting else self.value()
            for name, schema in names.items()
            if self._dice.random() < 0.6
        }
        if self._dice.random() < 0.2:
            found["nobody_knows_this"] = self.value()
        return found

    def path(self, pattern: str) -> str:
        """The holes filled with names."""
        parts = [
            quote(self._dice.choice(_NAMES), safe="") if part.startswith("{") else part
            for part in pattern.split("/")
        ]
        return "/".join(parts)


def _prepare(daemon: Daemon) -> None:
    """Mounts of every kind, so that the document has every path."""
    for path, body in {
        "sys/mounts/kv1": {"type": "kv"},
        "sys/mounts/kv2": {"type": "kv", "options": {"version": "2"}},
        "sys/mounts/db": {"type": "database"},
        "sys/auth/userpass": {"type": "userpass"},
        "sys/auth/approle": {"type": "approle"},
    }.items():
        daemon.must("POST", path, body)


class Asker:
    """One connection and one token; both are replaced when they end."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._connection = http.client.HTTPConnection(*daemon.address, timeout=60)
        self._token = self._new_token()

    def _new_token(self) -> str:
        made = self._daemon.must("POST", "auth/token/create", {"policies": ["root"], "ttl": "1h"})
        return str(made["auth"]["client_token"])

    def ask(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and decoded body."""
        has_body = method in {"POST", "PUT", "PATCH"}
        if not has_body and body:
            flat = {
                name: value if isinstance(value, str) else json.dumps(value) for name, value in body.items()
            }
            path += "?" + urlencode(flat, errors="replace")
        headers = {"X-Vault-Token": self._token}
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        self._connection.request(method, f"/v1{path}", json.dumps(body) if has_body else None, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status == 403:
            self._token = self._new_token()
        is_json = answer.headers["Content-Type"] == "application/json"
        return answer.status, json.loads(text) if text and is_json else {}

    def close(self) -> None:
        self._connection.close()


def test_every_endpoint(open_daemon: StartDaemon) -> None:
    """Values of random types in every field of every endpoint: a good answer or a clear 4xx, and the daemon lives."""
    seed = int(os.environ.get("SECRETD_FUZZ_SEED") or secrets.randbits(32))
    chance = Chance(seed)
    daemon = open_daemon(
        targets={"deadline": "2s", "connect_timeout": "1s"}, log={"format": "json", "level": "warning"}
    )
    _prepare(daemon)
    endpoints = list(_endpoints(daemon.must("GET", "sys/internal/specs/openapi")))
    assert len(endpoints) > 60, "the document has shrunk"
    end, rounds, count = time.monotonic() + SECONDS, 0, 0
    with contextlib.closing(Asker(daemon)) as asker:
        while rounds == 0 or time.monotonic() < end:
            rounds += 1
            for endpoint in endpoints:
                if rounds > 1 and time.monotonic() > end:
                    break
                path, body = chance.path(endpoint.path), chance.body(endpoint.names)
                said = f"seed {seed}: {endpoint.method} {path} {body!r}"
                status, answer = asker.ask(endpoint.method, path, body)
                count += 1
                assert answer.get("code") != "internal", said
                assert status < 500 or answer.get("code") or path.startswith("/sys/health"), said
                if status >= 400 and status != 404 and not path.startswith("/sys/health"):
                    assert isinstance(answer.get("errors"), list), (said, status, answer)
    print(f"{count} requests to {len(endpoints)} endpoints in {rounds} rounds, seed {seed}")
    assert daemon.process is not None
    assert daemon.process.poll() is None, f"seed {seed}: the daemon ended"
    assert daemon.send("GET", "sys/health", token="").status == 200
    assert "request.failed" not in daemon.log, f"seed {seed}"
    assert "Traceback" not in daemon.log, f"seed {seed}"
