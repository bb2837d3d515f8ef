"""Crash tests: all of this folder kills daemons."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.clusters import Cluster
from support.daemons import store


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what kills daemons."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.crash)


@pytest.fixture
async def stored(cluster: Cluster) -> AsyncIterator[str]:
    """A fresh, initialised store that opens by itself."""
    async with store(cluster) as dsn:
        yield dsn


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a daemon's files are; plugins run as nobody and look at none of them."""
    return tmp_path / "daemon"
