"""The wire itself, one sentence of the interface after the other: verbs, paths, headers, envelopes."""

from __future__ import annotations

import json
import re

import hvac
import pytest

from conformance.servers import Server

ENVELOPE = {"request_id", "lease_id", "renewable", "lease_duration", "data", "wrap_info", "warnings", "auth"}
MERGE = {"Content-Type": "application/merge-patch+json"}


@pytest.fixture
def ours(server: Server) -> Server:
    """The server, where the promise is ours and not OpenBao's."""
    if server.target == "bao":
        pytest.skip("a promise of secretd's")
    return server


def test_list_by_verb_and_by_query(server: Server, kv1: str) -> None:
    """LIST, ?list=true and ?list=1; a trailing slash and the mount's root work."""
    server.send("POST", f"{kv1}/a/b", {"x": 1})
    for method, path in (
        ("LIST", f"{kv1}/a"), ("LIST", f"{kv1}/a/"), ("GET", f"{kv1}/a?list=true"), ("GET", f"{kv1}/a/?list=true"),
        ("GET", f"{kv1}/a?list=1"),
    ):  # fmt: skip
        answer = server.send(method, path)
        assert answer.status == 200, (method, path)
        assert answer.json["data"]["keys"] == ["b"], (method, path)
    for path in (kv1, f"{kv1}/"):
        assert server.send("LIST", path).json["data"]["keys"] == ["a/"], path


def test_put_is_post(server: Server, kv1: str, kv2: str, name: str) -> None:
    """The same write by either verb."""
    for verb in ("PUT", "POST"):
        assert server.send(verb, f"{kv1}/{verb}", {"x": 1}).status == 204
        assert server.send(verb, f"{kv2}/data/{verb}", {"data": {"x": 1}}).status == 200
        assert (
            server.send(verb, f"sys/policies/acl/{name}", {"policy": 'path "a" { policy = "read" }'}).status
            == 204
        )
        assert server.send(verb, "auth/token/create", {"policies": ["default"]}).status == 200
        assert server.send(verb, "sys/capabilities-self", {"paths": ["a"]}).status == 200


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8"]
)
def test_json_is_read_whatever_its_content_type(server: Server, kv1: str, kind: str) -> None:
    """Go clients send none, browsers text/plain."""
    headers = {"Content-Type": kind} if kind else {}
    if server.target == "bao" and "form" in kind:
        pytest.skip("OpenBao reads a form here")
    assert server.send("POST", f"{kv1}/x", {"a": "1"}, headers=headers).status == 204
    assert server.send("GET", f"{kv1}/x").json["data"] == {"a": "1"}


def test_an_empty_body_is_an_empty_object(server: Server) -> None:
    """A POST without body makes a token of defaults."""
    assert server.send("POST", "auth/token/create").status == 200
    assert server.send("PUT", "auth/token/renew-self").status in {200, 400}


def test_content_type_is_exact_and_success_without_body_is_204(server: Server, kv1: str) -> None:
    """application/json without charset; 204 has neither body nor type; nothing is cached."""
    done = server.send("POST", f"{kv1}/x", {"a": "1"})
    assert (done.status, done.text) == (204, b"")
    for path in (f"{kv1}/x", f"{kv1}/none", "sys/mounts", "sys/health", "sys/seal-status"):
        answer = server.send("GET", path)
        assert answer.headers["content-type"] == "application/json", path
        assert answer.headers["cache-control"] == "no-store", path


def test_the_envelope_is_complete(server: Server, kv1: str, kv2: str) -> None:
    """All eight keys in every answer of an engine and of sys."""
    server.send("POST", f"{kv1}/x", {"a": "1"})
    created = server.send("POST", f"{kv2}/data/x", {"data": {"a": "1"}})
    answers = [created] + [
        server.send("GET", path)
        for path in (
            f"{kv1}/x",
            f"{kv2}/data/x",
            "auth/token/lookup-self",
            "sys/mounts",
            "sys/auth",
            "sys/policies/acl/default",
        )
    ]
    for answer in answers:
        assert answer.json.keys() >= ENVELOPE, answer.json
        assert re.fullmatch(r"[0-9a-f-]{36}", answer.json["request_id"])
        assert answer.json["wrap_info"] is answer.json["auth"] is None
        assert answer.json["lease_id"] == ""


def test_sys_answers_twice_where_clients_look_in_both_places(server: Server, kv1: str, name: str) -> None:
    """Top level and ``data``: mounts, auth, policy, policy/x, key-status, capabilities, tune."""
    server.send("PUT", f"sys/policy/{name}", {"policy": 'path "a" { policy = "read" }'})
    answers = {
        path: server.send("GET", path)
        for path in (
            "sys/mounts",
            "sys/auth",
            "sys/policy",
            f"sys/policy/{name}",
            "sys/key-status",
            f"sys/mounts/{kv1}/tune",
        )
    }
    answers["capabilities"] = server.send("POST", "sys/capabilities-self", {"paths": ["a", "b"]})
    for path, answer in answers.items():
        for key, value in answer.json["data"].items():
            assert answer.json[key] == value, (path, key)


def test_sys_answers_bare_where_clients_expect_no_envelope(server: Server) -> None:
    """seal-status, health, leader and init."""
    for path in ("sys/seal-status", "sys/health", "sys/leader", "sys/init"):
        answer = server.send("GET", path, token="")
        assert answer.status == 200, path
        assert "request_id" not in answer.json, path
        assert "data" not in answer.json, path


def test_sys_answers_under_data_only(server: Server, name: str) -> None:
    """policies/* and internal/*."""
    server.send("PUT", f"sys/policies/acl/{name}", {"policy": 'path "a" { policy = "read" }'})
    for method, path in (
        ("LIST", "sys/policies/acl"), ("GET", f"sys/policies/acl/{name}"), ("GET", "sys/internal/ui/mounts"),
    ):  # fmt: skip
        body = server.send(method, path).json
        assert body.keys() == ENVELOPE, (path, set(body) - ENVELOPE)
        assert body["data"]


def test_health_tells_what_clients_read(server: Server) -> None:
    """An integer time and the replication modes; HEAD has no body."""
    found = server.send("GET", "sys/health", token="").json
    assert isinstance(found["server_time_utc"], int)
    assert isinstance(found["version"], str)
    if server.target == "secretd":
        assert found["performance_standby"] is False
        assert found["replication_performance_mode"] == found["replication_dr_mode"] == "disabled"
        assert re.match(r"1\.\d+\.\d+", found["version"])
    assert server.send("HEAD", "sys/health", token="").text == b""


def test_seal_status_tells_the_build(ours: Server) -> None:
    """Clients read build_date and gate on the version."""
    found = ours.send("GET", "sys/seal-status", token="").json
    assert found["build_date"]
    assert re.match(r"1\.\d+\.\d+", found["version"])
    assert found["sealed"] is False


def test_nothing_listed_is_404_without_texts(server: Server, kv1: str, kv2: str) -> None:
    """``{"errors": []}`` and nothing else of Vault's."""
    for path in (kv1, f"{kv2}/metadata", f"{kv1}/none/"):
        answer = server.send("LIST", path)
        assert answer.status == 404, path
        assert answer.json["errors"] == [], path
    assert server.send("GET", f"{kv1}/none").json["errors"] == []


def test_errors_carry_more_than_vaults(ours: Server, kv1: str) -> None:
    """Every error has request_id and a stable code."""
    for answer in (
        ours.send("GET", f"{kv1}/none"),
        ours.send("GET", "no/such/mount"),
        ours.send("GET", "sys/mounts", token="x"),
        ours.send("POST", f"{kv1}/x", b"{"),
        ours.send("POST", "auth/token/create", {"ttl": "soon"}),
    ):
        assert answer.status >= 400
        assert re.fullmatch(r"[0-9a-f-]{36}", answer.json["request_id"])
        assert re.fullmatch(r"[a-z_]+", answer.json["code"])


def test_wrapping_is_refused_until_it_is_built(ours: Server, kv1: str) -> None:
    """Never ignored: that would hand the secret out in clear."""
    ours.send("POST", f"{kv1}/x", {"a": "canary"})
    for span in ("1m", "60", "1m0s"):
        answer = ours.send("GET", f"{kv1}/x", headers={"X-Vault-Wrap-TTL": span})
        assert answer.status == 400, span
        assert b"canary" not in answer.text
    assert ours.send("POST", "auth/token/create", {}, headers={"X-Vault-Wrap-TTL": "60"}).status == 400


def test_a_double_slash_is_sent_to_the_clean_path(server: Server, kv1: str) -> None:
    """307 for reading and writing; clients follow."""
    for method in ("GET", "POST"):
        answer = server.send(method, f"{kv1}//x", {"a": 1} if method == "POST" else None)
        assert answer.status in {301, 307}
        assert answer.headers["location"].endswith(f"/v1/{kv1}/x")
    if server.target == "secretd":
        assert answer.status == 307


@pytest.mark.parametrize(
    "path",
    [
        "a/../b", "a/./b", "../x", "a/..", "a/%2e%2e/b", "a%2fb", "a/%2F/b", "a%00b", "a/%c0%ae", "a%0ab", "a/%ff",
    ],
)  # fmt: skip
def test_paths_in_other_dress_are_refused(ours: Server, kv1: str, path: str) -> None:
    """A 400 before anybody is asked for rights, and nothing is stored."""
    assert ours.send("POST", f"{kv1}/{path}", {"a": 1}).status == 400
    assert ours.send("LIST", kv1).status == 404


def test_bodies_that_are_no_objects_are_refused(ours: Server, kv1: str) -> None:
    """Broken JSON, another value, twice the same key, deep nesting, other encodings, too much."""
    deep = b'{"a":' * 600 + b"1" + b"}" * 600
    for body in (b"{", b"[]", b'"text"', b"1", b'{"a":1,"a":2}', b"\xff\xfe", deep, b'{"a": NaN}'):
        assert ours.send("POST", f"{kv1}/x", body).status == 400, body[:20]
    assert ours.send("POST", f"{kv1}/x", b"x", headers={"Content-Encoding": "gzip"}).status == 415
    large = json.dumps({"a": "b" * (2 << 20)}).encode()
    for path in ("auth/userpass/login/x", "sys/policies/acl/x", "auth/token/create"):
        assert ours.send("POST", path, large).status == 413, path
    many = b'{"a":[' + b"1," * 200_001 + b"1]}"
    assert ours.send("POST", f"{kv1}/x", many).status in {400, 413}
    assert ours.send("GET", f"{kv1}/x").status == 404


def test_unknown_headers_and_fields(server: Server, kv2: str) -> None:
    """Headers are ignored, an empty namespace is the root, unknown fields become a warning."""
    headers = {"X-Vault-Namespace": "", "X-Vault-Request": "true", "X-Nonsense": "1"}
    assert server.send("GET", "auth/token/lookup-self", headers=headers).status == 200
    answer = server.send("POST", "auth/token/create", {"nonsense": 1, "policies": ["default"]})
    assert answer.status == 200
    if server.target == "secretd":
        assert any("nonsense" in one for one in answer.json["warnings"])


def test_an_origin_is_refused(ours: Server) -> None:
    """A web page can post text/plain: what names an origin that is not listed is 403 before it is read."""
    answer = ours.send("POST", "auth/token/create", b"{", headers={"Origin": "http://evil.example"})
    assert answer.status == 403


def test_patch_wants_its_content_type(server: Server, kv2: str) -> None:
    """A merge patch, or 415."""
    server.send("POST", f"{kv2}/data/x", {"data": {"a": 1}})
    assert server.send("PATCH", f"{kv2}/data/x", {"data": {"b": 1}}, headers=MERGE).status == 200
    answer = server.send("PATCH", f"{kv2}/data/x", {"data": {"b": 1}}, headers={"Content-Type": "text/plain"})
    assert answer.status == 415


def test_unsupported_methods_are_405(server: Server, kv1: str) -> None:
    """Where a path knows no such operation."""
    for method, path in (
        ("DELETE", "auth/token/create"),
        ("POST", "sys/key-status"),
        ("DELETE", "sys/mounts"),
    ):
        assert server.send(method, path, {} if method == "POST" else None).status in {404, 405}, (
            method,
            path,
        )
    assert server.send("BREW", f"{kv1}/x").status in {400, 405}


def test_help_and_openapi_are_there(server: Server, api: hvac.Client, kv1: str, name: str) -> None:
    """?help=1 tells a path's story; the document names the paths of every type of mount."""
    api.sys.enable_secrets_engine("database", path=f"db-{name}")
    for kind in ("userpass", "approle"):
        api.sys.enable_auth_method(kind, path=f"{kind}-{name}")
    assert server.send("GET", f"{kv1}/x?help=1").json["help"]
    document = server.send("GET", "sys/internal/specs/openapi").json
    assert document["openapi"].startswith("3.")
    assert any(path.startswith("/sys/") for path in document["paths"])
    api.sys.disable_secrets_engine(f"db-{name}")
    for kind in ("userpass", "approle"):
        api.sys.disable_auth_method(f"{kind}-{name}")


def test_metrics_are_there(server: Server) -> None:
    """Prometheus text for those who may read it."""
    if server.target == "bao":
        pytest.skip("OpenBao needs telemetry configured for it")
    answer = server.send("GET", "sys/metrics?format=prometheus")
    assert answer.status == 200
    assert b"# TYPE" in answer.text
    assert server.send("GET", "sys/metrics", token="").status == 403


def test_tokens_look_like_vaults(ours: Server, api: hvac.Client) -> None:
    """``hvs.`` and 24 characters."""
    assert re.fullmatch(r"hvs\.[A-Za-z0-9]{24}", api.auth.token.create()["auth"]["client_token"])
    assert re.fullmatch(r"hvs\.[A-Za-z0-9]{24}", ours.root_token)
    found = api.lookup_token()["data"]
    assert found["expire_time"] is None
    assert (found["ttl"], found["policies"], found["path"]) == (0, ["root"], "auth/token/root")


def test_an_ended_token_is_bad(server: Server, api: hvac.Client) -> None:
    """Looking it up is 403 ``bad token``."""
    token = api.auth.token.create(policies=["default"])["auth"]["client_token"]
    api.auth.token.revoke(token)
    answer = server.send("POST", "auth/token/lookup", {"token": token})
    assert answer.status == 403
    assert "bad token" in answer.errors[0]


def test_acl_policies_have_two_fields(ours: Server, name: str) -> None:
    """``name`` and ``policy``, nothing more."""
    ours.send("PUT", f"sys/policies/acl/{name}", {"policy": 'path "a" { policy = "read" }'})
    found = ours.send("GET", f"sys/policies/acl/{name}").json["data"]
    assert found == {"name": name, "policy": 'path "a" { policy = "read" }'}


def test_a_missing_mount_is_404(server: Server) -> None:
    """For those who might have used it."""
    answer = server.send("GET", "no/such/mount")
    assert answer.status == 404
    assert answer.errors
