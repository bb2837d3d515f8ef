"""An approle mount, and the steps that most tests begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from secretd.auth.approle.engine import ENGINE
from secretd.sdk.request import READ, UPDATE
from support.mounted import Mounted, mounted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from secretd.sdk.response import Auth


class Roles:
    """A mount with a role ``app``."""

    def __init__(self, mount: Mounted) -> None:
        self.mount = mount

    async def make(self, name: str = "app", **fields: Any) -> str:
        """Write a role; its role id."""
        await self.mount.ask(UPDATE, f"role/{name}", **fields)
        return (await self.mount.data(READ, f"role/{name}/role-id"))["role_id"]

    async def secret(self, name: str = "app", **fields: Any) -> tuple[str, str]:
        """A new secret id and its accessor."""
        data = await self.mount.data(UPDATE, f"role/{name}/secret-id", **fields)
        return data["secret_id"], data["secret_id_accessor"]

    async def log_in(self, role_id: str, secret_id: str) -> Auth:
        """A login that succeeds, or raises."""
        login = (await self.mount.ask(UPDATE, "login", role_id=role_id, secret_id=secret_id)).login
        assert login is not None
        return login


@pytest.fixture
async def approle(storage_dsn: str) -> AsyncIterator[Roles]:
    """An empty approle mount."""
    async with mounted(ENGINE, storage_dsn) as mount:
        yield Roles(mount)
