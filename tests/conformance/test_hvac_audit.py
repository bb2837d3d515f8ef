"""hvac: audit devices, and what they write."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import hvac
import pytest
from hvac import exceptions

from conformance.servers import Server


@pytest.fixture
def device(api: hvac.Client, server: Server, name: str) -> Iterator[tuple[str, Path]]:
    """A file device's name and its file."""
    path = server.audit_folder / f"{name}.log"
    api.sys.enable_audit_device("file", path=name, description="of a test", options={"file_path": str(path)})
    yield name, path
    api.sys.disable_audit_device(name)


@pytest.fixture
def entries(device: tuple[str, Path]) -> Callable[[], list[dict]]:
    """What was written so far."""
    return lambda: [json.loads(line) for line in device[1].read_text().splitlines()]


def test_a_device_is_enabled_listed_and_disabled(
    api: hvac.Client, server: Server, device: tuple[str, Path]
) -> None:
    """With its type, options and description."""
    name, path = device
    found = api.sys.list_enabled_audit_devices()["data"][f"{name}/"]
    assert found["type"] == "file"
    assert found["description"] == "of a test"
    assert found["options"]["file_path"] == str(path)
    assert found["path"] == f"{name}/"
    assert path.stat().st_mode & 0o077 == 0
    again = server.send("POST", f"sys/audit/{name}", {"type": "file", "options": {"file_path": f"{path}2"}})
    assert again.status == 400
    api.sys.disable_audit_device(name)
    assert f"{name}/" not in api.sys.list_enabled_audit_devices()["data"]
    api.sys.enable_audit_device("file", path=name, options={"file_path": str(path)})


def test_a_request_and_its_answer_are_written_without_their_values(
    api: hvac.Client, server: Server, entries: Callable[[], list[dict]], kv1: str
) -> None:
    """Both entries are there when the answer is; secrets and tokens only as HMACs."""
    api.secrets.kv.v1.create_or_update_secret("x", {"word": "canary-value"}, mount_point=kv1)
    api.secrets.kv.v1.read_secret("x", mount_point=kv1)
    found = [one for one in entries() if one.get("request", {}).get("path") == f"{kv1}/x"]
    assert [(one["type"], one["request"]["operation"]) for one in found][-4:] == [
        ("request", found[-4]["request"]["operation"]),
        ("response", found[-4]["request"]["operation"]),
        ("request", "read"),
        ("response", "read"),
    ]
    text = json.dumps(found)
    assert "canary-value" not in text
    assert server.root_token not in text
    assert found[-4]["request"]["data"]["word"].startswith("hmac-sha256:")
    assert found[-1]["response"]["data"]["word"] == found[-4]["request"]["data"]["word"]
    assert found[-1]["request"]["id"] == found[-2]["request"]["id"]
    assert found[-1]["request"]["remote_address"] == "127.0.0.1"
    assert found[-1]["auth"]["policies"] == ["root"]
    assert found[-1]["request"]["mount_type"] == "kv"


def test_audit_hash_finds_a_value_in_the_file(
    api: hvac.Client, device: tuple[str, Path], entries: Callable[[], list[dict]], kv1: str
) -> None:
    """The hash of a known value is the one that was written."""
    api.secrets.kv.v1.create_or_update_secret("x", {"word": "known"}, mount_point=kv1)
    made = api.sys.calculate_hash(device[0], "known")
    hashed = made["data"]["hash"]
    assert hashed.startswith("hmac-sha256:")
    assert len(hashed) == len("hmac-sha256:") + len(hmac.new(b"", b"", hashlib.sha256).hexdigest())
    assert hashed in device[1].read_text()


def test_refusals_are_written_too(server: Server, entries: Callable[[], list[dict]], kv1: str) -> None:
    """A request with a wrong token leaves an entry with the error."""
    server.send("GET", f"{kv1}/denied", token="nonsense")
    found = [one for one in entries() if one.get("request", {}).get("path") == f"{kv1}/denied"]
    assert found
    assert "permission denied" in found[-1]["error"]


def test_wrong_devices_are_refused(api: hvac.Client, server: Server, name: str, tmp_path: Path) -> None:
    """An unknown type, no file, and a file that is nobody's to name."""
    with pytest.raises(exceptions.InvalidRequest, match="unknown audit backend"):
        api.sys.calculate_hash(name, "x")
    with pytest.raises(exceptions.InvalidRequest):
        api.sys.enable_audit_device("nonsense", path=name, options={"file_path": "x"})
    assert server.send("PUT", f"sys/audit/{name}", {"type": "file"}).status == 400
    if server.target == "secretd":
        above = f"{server.audit_folder}/../x.log"
        outside = [str(tmp_path / "audit.log"), "stdout", "/dev/stderr", above, "relative.log"]
        link = server.audit_folder / f"{name}-link"
        os.symlink(tmp_path / "target.log", link)
        for path in (*outside, str(link)):
            answer = server.send("PUT", f"sys/audit/{name}", {"type": "file", "options": {"file_path": path}})
            assert answer.status == 400, path
        for option in ({"mode": "0777"}, {"prefix": "x"}):
            options = {"file_path": str(server.audit_folder / f"{name}.log")} | option
            assert (
                server.send("PUT", f"sys/audit/{name}", {"type": "file", "options": options}).status == 400
            ), option
    assert f"{name}/" not in api.sys.list_enabled_audit_devices()["data"]


def test_audit_paths_need_sudo(api: hvac.Client, server: Server, name: str) -> None:
    """A right without sudo lists and makes nothing."""
    api.sys.create_or_update_policy(
        name, 'path "sys/audit*" { capabilities = ["read", "update", "create", "delete"] }'
    )
    token = api.auth.token.create(policies=[name])["auth"]["client_token"]
    assert server.send("GET", "sys/audit", token=token).status == 403
    body = {"type": "file", "options": {"file_path": str(server.audit_folder / f"{name}.log")}}
    assert server.send("PUT", f"sys/audit/{name}", body, token=token).status == 403
    assert server.send("DELETE", f"sys/audit/{name}", token=token).status == 403


def test_the_list_of_devices_stands_under_data_only(server: Server, device: tuple[str, Path]) -> None:
    """As clients of Vault read it."""
    body = server.send("GET", "sys/audit").json
    assert f"{device[0]}/" in body["data"]
    if server.target == "secretd":
        assert f"{device[0]}/" not in body
