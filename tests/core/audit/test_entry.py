"""Entries have Vault's shape and show no value."""

from __future__ import annotations

import json

import pytest

from secretd.core.audit.entry import ClearKeys, EntryBuilder, Holder
from secretd.core.audit.redact import Redactor
from secretd.sdk.engine import Mount
from secretd.sdk.errors import PermissionDeniedError
from secretd.sdk.fields import Sensitive
from secretd.sdk.request import READ, UPDATE, Request
from secretd.sdk.response import LeaseGrant, Response, TokenGrant

REDACTOR = Redactor(bytes(range(32)))
MOUNT = Mount("id", "secret/", "kv_1", "kv", 0, 0)
HOLDER = Holder(
    "acc", "token-x", ("app", "default"), ("default",), ("app",), "ent", "service", 60, "t", {"a": "b"}
)


@pytest.fixture
def builder(clock):
    """A builder on a standing clock."""
    return EntryBuilder(REDACTOR, clock)


def asked(**more) -> Request:
    return Request("id-1", more.pop("operation", READ), "secret/data/x", client_address="127.0.0.1", **more)


def test_a_request_entry_has_vaults_shape(builder):
    """Names, nesting and order are Vault's; token and accessor are hashed."""
    token, accessor = REDACTOR.hash_text("hvs.t"), REDACTOR.hash_text("acc")
    request = asked(operation=UPDATE, data={"data": {"p": "canary"}}, token=Sensitive("hvs.t"), wrap_ttl=60)
    entry = json.loads(builder.begin(request, holder=HOLDER, mount=MOUNT).request_entry())
    assert entry == {
        "time": "2026-01-02T00:01:40.000000Z",
        "type": "request",
        "auth": {
            "client_token": token,
            "accessor": accessor,
            "display_name": "token-x",
            "policies": ["app", "default"],
            "token_policies": ["default"],
            "identity_policies": ["app"],
            "entity_id": "ent",
            "metadata": {"a": "b"},
            "token_type": "service",
            "token_ttl": 60,
            "token_issue_time": "t",
        },
        "request": {
            "id": "id-1",
            "operation": "update",
            "mount_point": "secret/",
            "mount_type": "kv",
            "mount_accessor": "kv_1",
            "client_token": token,
            "client_token_accessor": accessor,
            "namespace": {"id": "root"},
            "path": "secret/data/x",
            "data": {"data": {"p": REDACTOR.hash_text("canary")}},
            "remote_address": "127.0.0.1",
            "wrap_ttl": 60,
        },
    }


def test_a_response_entry_repeats_the_request_and_hides_the_answer(builder):
    """Data, token and accessor of an answer are hashed; lease id, policies and warnings are shown."""
    trail = builder.begin(asked(token=Sensitive("hvs.t")), holder=HOLDER, mount=MOUNT)
    grant = TokenGrant("hvs.new", "newacc", ("p",), ("p",), {"m": "n"}, 30, renewable=True)
    response = Response(
        {"keys": ["canary"]}, ["a warning"], LeaseGrant("db/creds/x/1", 9, renewable=True), auth=grant
    )
    entry = json.loads(
        trail.response_entry(response, wrap_info={"ttl": 5, "token": "canary", "creation_path": "p"})
    )
    request = json.loads(trail.request_entry())
    assert (entry["type"], entry["auth"], entry["request"]) == (
        "response",
        request["auth"],
        request["request"],
    )
    assert entry["response"] == {
        "mount_point": "secret/",
        "mount_type": "kv",
        "mount_accessor": "kv_1",
        "wrap_info": {"ttl": 5, "creation_path": "p", "token": REDACTOR.hash_text("canary")},
        "secret": {"lease_id": "db/creds/x/1"},
        "auth": {
            "client_token": REDACTOR.hash_text("hvs.new"),
            "accessor": REDACTOR.hash_text("newacc"),
            "policies": ["p"],
            "token_policies": ["p"],
            "metadata": {"m": "n"},
            "token_type": "service",
            "token_ttl": 30,
        },
        "data": {"keys": [REDACTOR.hash_text("canary")]},
        "warnings": ["a warning"],
    }


def test_an_unknown_caller_leaves_an_entry_too(builder):
    """Without token and mount an entry has what there is, and Vault's token type ``default``."""
    entry = json.loads(builder.begin(asked()).response_entry(None, error=PermissionDeniedError()))
    assert (entry["auth"], entry["response"], entry["error"]) == (
        {"token_type": "default"},
        {},
        "permission denied",
    )


def test_a_foreign_error_shows_its_class_alone(builder):
    """A driver's message may hold values, so only its class is shown."""
    entry = json.loads(builder.begin(asked()).request_entry(error=RuntimeError("canary")))
    assert entry["error"] == "RuntimeError"


def test_tuned_keys_are_shown_but_sensitive_fields_never(builder):
    """A mount's clear keys hold for their side only; a field that the engine calls sensitive stays hidden."""
    clear = ClearKeys(request=frozenset({"a"}), response=frozenset({"b", "c"}))
    trail = builder.begin(asked(data={"a": "1a", "b": "2b"}), clear=clear)
    answer = Response({"a": "3c", "b": "4d", "c": "5e"}, sensitive_fields=frozenset({"c"}))
    text = trail.response_entry(answer).decode()
    assert [value in text for value in ('"1a"', '"2b"', '"3c"', '"4d"', '"5e"')] == [
        True,
        False,
        False,
        True,
        False,
    ]


def test_headers_are_recorded_as_configured(clock):
    """Only headers that are named are recorded, hashed if so wished."""
    builder = EntryBuilder(REDACTOR, clock, headers={"x-a": True, "x-b": False, "x-c": False})
    request = asked(headers={"X-A": "hidden", "x-b": "shown", "x-d": "no"})
    entry = json.loads(builder.begin(request).request_entry())
    assert entry["request"]["headers"] == {"x-a": [REDACTOR.hash_text("hidden")], "x-b": ["shown"]}


def test_bytes_that_are_no_text_cannot_stop_an_entry(builder):
    """A lone surrogate in path, key or value is escaped or hashed, and the entry is JSON."""
    request = asked(data={"k\udc80": "v\udc80"})
    request.path = "secret/\udcff"
    entry = json.loads(builder.begin(request).request_entry())
    assert entry["request"]["path"] == "secret/\\udcff"
