"""Fixtures of every test, here and in ``plugins/``: PostgreSQL servers, and fresh databases on them.

Loaded by ``-p support.fixtures`` in pyproject.toml rather than as a conftest: plugins' tests have them too.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from support.clusters import MAJORS, NEWEST, Cluster, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--pg 15``: run everything on that major version instead of the newest."""
    parser.addoption("--pg", type=int, default=NEWEST, choices=MAJORS, help="major version of PostgreSQL")


def pytest_configure(config: pytest.Config) -> None:
    """Tell the workers whose life the servers' lives hang on."""
    if not hasattr(config, "workerinput"):
        os.environ["SECRETD_TEST_CONTROLLER"] = str(os.getpid())


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all workers of this run share."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def pg_cluster(run_folder: Path) -> Callable[[int], Cluster]:
    """``pg_cluster(15)``: the run's server of a major version (15, 17 or 18), started when first asked."""
    return lambda major: running(major, run_folder)


@pytest.fixture(scope="session")
def cluster(pg_cluster: Callable[[int], Cluster], pytestconfig: pytest.Config) -> Cluster:
    """The server that tests run on unless they name a version."""
    return pg_cluster(pytestconfig.getoption("--pg"))


@pytest.fixture
async def pg_dsn(cluster: Cluster) -> AsyncIterator[str]:
    """A fresh, empty database: the superuser's address by loopback TCP."""
    async with cluster.database() as dsn:
        yield dsn


@pytest.fixture
async def target_dsn(cluster: Cluster) -> AsyncIterator[str]:
    """A fresh, empty database to issue logins on. Roles are cluster-wide: name them by the test."""
    async with cluster.database() as dsn:
        yield dsn


async def _migrate(dsn: str) -> None:
    from secretd.storage.migrate import migrate  # tests of lower layers need no storage

    await migrate(dsn)


@pytest.fixture
async def storage_dsn(cluster: Cluster) -> AsyncIterator[str]:
    """A fresh database with secretd's tables, cloned from a template that was migrated once."""
    async with cluster.database(template=await cluster.template("secretd_template", _migrate)) as dsn:
        yield dsn
