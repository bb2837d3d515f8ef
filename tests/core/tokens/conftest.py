"""Token rows on real storage."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.nursery import Nursery, nursery


@pytest.fixture
async def n(storage_dsn: str) -> AsyncIterator[Nursery]:
    """One daemon's tokens and leases."""
    async with nursery(storage_dsn) as made:
        yield made
