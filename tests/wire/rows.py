"""The shape of the tables of this folder: a name, a request as bytes, and what must come back."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from support.served import Daemon, Reply

CANARY = "c4n4ry-7f1e-value"  # in no answer to bad input, and in no log


@dataclass(frozen=True)
class Row:
    """``text`` is a part of the error's sentence, or of the hint; empty: the list of errors is empty."""

    name: str
    request: bytes
    status: int
    text: str
    code: str = ""


def http(
    method: str, target: str | bytes, body: bytes | object = b"", *, length: int | None = None, **headers: str
) -> bytes:
    """A request as it is written; ``{token}`` in a header's value is filled in later. ``_`` in names is ``-``."""
    path = target if isinstance(target, bytes) else target.encode("latin-1")
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Host": "127.0.0.1", "X-Vault-Token": "{token}", "Connection": "close"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    if data or length is not None:
        fields.setdefault("Content-Length", str(len(data) if length is None else length))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return method.encode() + b" " + path + b" HTTP/1.1\r\n" + head.encode("latin-1") + b"\r\n" + data


def table(*rows: Row) -> pytest.MarkDecorator:
    """The rows as parameters of a test."""
    return pytest.mark.parametrize("row", [pytest.param(row, id=row.name.replace(" ", "-")) for row in rows])


def ask(daemon: Daemon, row: Row, **names: str) -> Reply:
    """Send a row's request with its placeholders filled in."""
    request = row.request.replace(b"{token}", daemon.token.encode())
    for name, value in names.items():
        request = request.replace(b"{" + name.encode() + b"}", value.encode())
    return daemon.raw(request)


def require_refusal(daemon: Daemon, reply: Reply, row: Row) -> None:
    """An error in Vault's shape with our additions; nothing that was sent comes back or is logged."""
    assert reply.status == row.status, (row.name, reply)
    assert CANARY.encode() not in reply.body, "the answer repeats what was sent"
    assert CANARY not in daemon.log, "the log repeats what was sent"
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    body = reply.json
    assert set(body) <= {"errors", "code", "hint", "request_id"}
    assert body["request_id"]
    assert body["code"]
    if row.code:
        assert body["code"] == row.code
    if row.text:
        assert row.text in " ".join([*body["errors"], body.get("hint", "")]), body
    else:
        assert body["errors"] == []
    if row.status in {429, 503}:
        assert int(reply.headers["retry-after"]) >= 1
