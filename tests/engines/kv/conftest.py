"""KV's mounts for its tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from secretd.engines.kv.engine import KV1, KV2
from support.engines import Desk, desk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def kv1(storage_dsn: str) -> AsyncIterator[Desk]:
    """A mount of KV v1."""
    async with desk(storage_dsn, KV1) as found:
        yield found


@pytest.fixture
async def kv2(storage_dsn: str) -> AsyncIterator[Desk]:
    """A mount of KV v2."""
    async with desk(storage_dsn, KV2) as found:
        yield found
