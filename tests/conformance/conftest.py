"""Fixtures: a server for the whole run, servers for one test, clients, and a PostgreSQL to lease logins on."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import hvac
import pytest

from conformance.postgres import Target
from conformance.servers import TARGETS, Server, config_command, free_listen, running
from secretd.storage.migrate import migrate
from support.clusters import Cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder is conformance."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.conformance)


@contextlib.contextmanager
def _storage(cluster: Cluster) -> Iterator[str]:
    """A fresh database with secretd's tables, for as long as a daemon lives."""
    name = f"c_{uuid.uuid4().hex}"
    template = asyncio.run(cluster.template("secretd_template", migrate))
    asyncio.run(cluster.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    try:
        yield cluster.dsn(name)
    finally:
        asyncio.run(cluster.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


@pytest.fixture(scope="session")
def storage_for_daemon(cluster: Cluster) -> Callable[[], contextlib.AbstractContextManager[str]]:
    """What makes a database for one daemon: enter its answer, and get the address."""
    return lambda: _storage(cluster)


@contextlib.contextmanager
def _configured(target: str, folder: Path, cluster: Cluster) -> Iterator[Server]:
    listen = free_listen()
    with contextlib.ExitStack() as stack:
        storage = stack.enter_context(_storage(cluster)) if target == "secretd" else ""
        command = config_command(target, listen, folder, storage=storage)
        yield stack.enter_context(running(target, listen, folder, command))


@pytest.fixture(scope="session", params=TARGETS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cluster: Cluster
) -> Iterator[Server]:
    """One initialised, unsealed server for all; tests make mounts of their own in it. Nobody seals it."""
    folder = tmp_path_factory.mktemp(f"server-{request.param}")
    with _configured(request.param, folder, cluster) as started:
        started.initialise()
        yield started


@pytest.fixture(params=TARGETS)
def fresh(request: pytest.FixtureRequest, tmp_path: Path, cluster: Cluster) -> Iterator[Server]:
    """A server that nobody has initialised, for this test alone."""
    with _configured(request.param, tmp_path, cluster) as started:
        yield started


@pytest.fixture
def api(server: Server) -> Iterator[hvac.Client]:
    """The root token's hvac client."""
    yield server.client()
    server.close_clients()


@pytest.fixture
def name() -> str:
    """A name that no other test has."""
    return f"n{uuid.uuid4().hex[:12]}"


@pytest.fixture
def kv2(api: hvac.Client, name: str) -> Iterator[str]:
    """A KV v2 mount of this test's own."""
    yield from _mounted(api, "kv", f"kv2-{name}", {"version": "2"})


@pytest.fixture
def kv1(api: hvac.Client, name: str) -> Iterator[str]:
    """A KV v1 mount of this test's own."""
    yield from _mounted(api, "kv", f"kv1-{name}", {"version": "1"})


def _mounted(api: hvac.Client, type_: str, path: str, options: dict[str, str]) -> Iterator[str]:
    api.sys.enable_secrets_engine(type_, path=path, options=options)
    yield path
    api.sys.disable_secrets_engine(path)


@pytest.fixture
def database_mount(api: hvac.Client, pg_target: Target, name: str) -> Iterator[str]:
    """A database engine of this test's own; it ends before its target does."""
    api.sys.enable_secrets_engine("database", path=f"db-{name}")
    yield f"db-{name}"
    api.sys.disable_secrets_engine(f"db-{name}")


@pytest.fixture
def pg_target(target_dsn: str) -> Target:
    """A fresh database that logins can be leased on, with its superuser's name and password."""
    parts = urlsplit(target_dsn)
    return Target(
        host=parts.hostname or "",
        port=parts.port or 5432,
        database=parts.path.lstrip("/"),
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )
