"""A nursery: the lives of leases on real storage, before a double of a target."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.nursery import Nursery, nursery


@pytest.fixture
async def n(storage_dsn: str) -> AsyncIterator[Nursery]:
    """One daemon's core of leases."""
    async with nursery(storage_dsn) as made:
        yield made
