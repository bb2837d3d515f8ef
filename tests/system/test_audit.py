"""sys/audit and sys/audit-hash: devices by API, only where the configuration lets them be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from secretd.sdk.errors import InvalidRequestError, PermissionDeniedError, SealedError

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_device_records_from_its_answer_on(root: Any, tmp_path: Path) -> None:
    """The device is listed, records the next request, and what it hides can be searched by hash."""
    file_path = str(tmp_path / "audit.jsonl")
    await root.write("sys/audit/file", type="file", options={"file_path": file_path}, description="d")
    listed = await root.read("sys/audit")
    assert (listed["file/"]["type"], listed["file/"]["options"]["file_path"]) == ("file", file_path)
    await root.write("auth/token/create", policies=["default"], meta={"k": "sought"})
    hashed = (await root.write("sys/audit-hash/file", input="sought"))["hash"]
    assert hashed.startswith("hmac-sha256:")
    lines = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert any(hashed in line for line in lines)
    assert not any("sought" in line for line in lines if json.loads(line)["type"] == "request")
    await root.delete("sys/audit/file")
    assert await root.read("sys/audit") == {}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"type": "socket"}, "unknown audit backend"),
        ({"type": "file"}, "file_path is missing"),
        ({"type": "file", "options": {"file_path": "/etc/audit"}}, "not below audit_api_dir"),
        ({"type": "file", "options": {"file_path": "audit"}}, "not below audit_api_dir"),
    ],
)
async def test_what_may_not_be_a_device(root: Any, data: dict[str, Any], text: str) -> None:
    """No API names a file outside the folder that the configuration sets."""
    with pytest.raises(InvalidRequestError, match=text):
        await root.write("sys/audit/file", **data)
    assert await root.read("sys/audit") == {}


async def test_hashes_need_a_device_and_an_input(root: Any) -> None:
    """Without either there is nothing to hash."""
    with pytest.raises(InvalidRequestError, match="unknown audit backend"):
        await root.write("sys/audit-hash/nope", input="x")
    with pytest.raises(InvalidRequestError, match='"input" parameter is empty'):
        await root.write("sys/audit-hash/nope")


async def test_devices_need_sudo(root: Any, tmp_path: Path) -> None:
    """Neither listing nor making nor removing a device works without sudo."""
    weak = await root.new_token('path "sys/*" { capabilities = ["read", "update", "delete", "create"] }')
    with pytest.raises(PermissionDeniedError):
        await weak.read("sys/audit")
    with pytest.raises(PermissionDeniedError):
        await weak.write("sys/audit/file", type="file", options={"file_path": str(tmp_path / "a")})
    with pytest.raises(PermissionDeniedError):
        await weak.delete("sys/audit/file")


async def test_nothing_is_served_unrecorded_while_devices_open_again(
    root: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between an unseal and its audit devices there is no broker to ask, not one without devices."""
    keeper = root.core.parts.audit
    heads = keeper._known_heads

    async def look_meanwhile() -> Any:
        with pytest.raises(SealedError):
            keeper.tools()
        return await heads()

    monkeypatch.setattr(keeper, "_known_heads", look_meanwhile)
    await keeper.open()
    keeper.tools()
