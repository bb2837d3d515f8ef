"""Daemons as processes of their own, on a store that opens by itself; killed, stopped and started again.

``async with Daemon.started(folder, storage) as daemon: await daemon.ask("GET", "sys/health")``. The store is
cloned from one that was initialised once in the run; its root token is :data:`ROOT_TOKEN`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
import msgspec

from secretd.core.faults import NoFaults
from secretd.core.parts import About
from secretd.crypto.seal import StaticSeal
from secretd.sdk.clock import SystemClock
from secretd.server.build import Core, Settings, compose
from secretd.storage.migrate import migrate
from secretd.storage.pool import Pool
from support.clusters import Cluster

ROOT_TOKEN = "hvs.the-root-token-of-tests"
SEAL_KEY = bytes(range(32))
CREATION = "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"
PATIENCE = 60.0  # seconds for anything that must come; a machine under load, not a measure
_FAULTY = Path(__file__).with_name("faulty_daemon.py")
_CONFIG = """
[storage]
url = "file:{folder}/storage.url"
connect_retry = "30s"

[[listener]]
address = "127.0.0.1:{port}"
tls = "off"

{seal}

[targets]
deadline = "{target_deadline}s"

[plugins]
allow = ["secretd-postgresql"]
user = "{user}"

[log]
level = "{level}"
format = "json"
{more}
"""
_STATIC = """[seal]
type = "static"
key = "file:{folder}/seal.key"
key_id = "test"
"""


@dataclass(frozen=True)
class Answer:
    """Status, headers, decoded body, and the body as it came."""

    status: int
    headers: Any
    body: Any
    text: bytes = field(repr=False)

    @property
    def data(self) -> Any:
        """What the envelope holds."""
        return self.body["data"]


class GoneError(Exception):
    """The daemon did not answer"""


@dataclass
class Daemon:
    """One process and its address."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    session: aiohttp.ClientSession = field(repr=False)

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.folder / "daemon.log").read_text()

    async def ask(
        self, method: str, path: str, body: Any = None, *, token: str = ROOT_TOKEN, headers: Any = None
    ) -> Answer:
        """One request; GoneError without an answer."""
        url = f"http://127.0.0.1:{self.port}/v1/{path}"
        headers = {**({"X-Vault-Token": token} if token else {}), **(headers or {})}
        try:
            async with self.session.request(method, url, json=body, headers=headers) as response:
                text = await response.read()
                body = msgspec.json.decode(text) if "json" in response.content_type and text else text
                return Answer(response.status, response.headers, body, text)
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            raise GoneError from None

    async def must(self, method: str, path: str, body: Any = None, *, token: str = ROOT_TOKEN) -> Answer:
        """One request that succeeds."""
        answer = await self.ask(method, path, body, token=token)
        assert answer.status < 300, (path, answer.status, answer.body)
        return answer

    def send(self, number: int) -> None:
        """Send the process a signal."""
        self.process.send_signal(number)

    async def until_dead(self) -> int:
        """Wait for its end; the exit code, negative after a signal."""
        limit = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < limit, "the daemon lives on"
            await asyncio.sleep(0.01)
        return int(self.process.returncode)

    async def until_serving(self, *statuses: int) -> float:
        """Wait until its health is 200, or one of these; the seconds that took."""
        began = time.monotonic()
        while True:
            with contextlib.suppress(GoneError):
                if (await self.ask("GET", "sys/health", token="")).status in (statuses or (200,)):
                    return time.monotonic() - began
            assert self.process.poll() is None, self.log[-3000:]
            assert time.monotonic() - began < PATIENCE, self.log[-3000:]
            await asyncio.sleep(0.03)

    @classmethod
    @contextlib.asynccontextmanager
    async def started(
        cls,
        folder: Path,
        storage: str,
        *,
        plan: dict[str, Any] | None = None,
        wait: bool = True,
        **config: Any,
    ) -> AsyncIterator[Daemon]:
        """A serving daemon until the block ends; with a plan it is a faulty one."""
        folder.mkdir(exist_ok=True, mode=0o755)
        port = config.pop("port", None) or free_port()
        path = _write_config(folder, storage, port=port, **config)
        command = [sys.executable, "-m", "secretd.cli.main", "server", f"--config={path}"]
        if plan is not None:
            command = [sys.executable, "-P", str(_FAULTY), str(path), msgspec.json.encode(plan).decode()]
        with (folder / "daemon.log").open("ab") as log:
            keep = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=keep)
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=45)) as session:
                daemon = cls(folder, port, process, session)
                if wait:
                    await daemon.until_serving()
                yield daemon
        finally:
            await asyncio.to_thread(_stop, process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGCONT)
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    process.kill()
    process.wait()


def _write_config(
    folder: Path,
    storage: str,
    *,
    port: int,
    target_deadline: int = 10,
    is_static: bool = True,
    level: str = "info",
    more: str = "",
) -> Path:
    for name, text in (("storage.url", storage), ("seal.key", SEAL_KEY.hex())):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    path = folder / "secretd.toml"
    path.write_text(
        _CONFIG.format(
            folder=folder,
            port=port,
            seal=_STATIC.format(folder=folder) if is_static else "",
            target_deadline=target_deadline,
            user=_plugin_user(),
            level=level,
            more=more.format(folder=folder),
        )
    )
    return path


def _plugin_user() -> str:
    """Whom plugins run as: nobody special, unless that one cannot read the interpreter."""
    if os.geteuid() != 0:
        return ""
    parents = Path(sys.executable).resolve().parents
    return "nobody" if all(folder.stat().st_mode & 0o001 for folder in parents) else "root"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def initialise(dsn: str) -> None:
    """Migrate a database and initialise the store in it."""
    await migrate(dsn)
    async with Pool.open(dsn) as pool, composed(pool) as core:
        await core.parts.lifecycle.initialise(1, 1, root_token=ROOT_TOKEN)


@contextlib.asynccontextmanager
async def composed(
    pool: Pool, *, node: str = "test/1", plugins: Any = None, audit_folder: str = ""
) -> AsyncIterator[Core]:
    """A core in this process, on an open pool."""
    about = About(
        version="1",
        build_date="",
        node=node,
        api_address="http://127.0.0.1:8200",
        cluster_id="c",
        request_deadline=30,
    )
    settings = Settings(
        about=about, default_ttl=3600, max_ttl=36000, workers=4,
        static_seal=StaticSeal(SEAL_KEY, "test"), audit_devices=(), audit_api_folder=audit_folder,
    )  # fmt: skip
    async with compose(settings, pool, plugins=plugins, clock=SystemClock(), faults=NoFaults()) as core:
        yield core


@contextlib.asynccontextmanager
async def store(cluster: Cluster) -> AsyncIterator[str]:
    """A fresh, initialised store's address."""
    async with cluster.database(template=await cluster.template("secretd_store", initialise)) as dsn:
        yield dsn


async def connect_target(daemon: Daemon, target: str, *, port: int | None = None) -> None:
    """Mount a database engine at ``db/`` whose connection ``pg`` is this database."""
    parts = urlsplit(target)
    url = f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{port or parts.port}{parts.path}?sslmode=disable"
    await daemon.must("POST", "sys/mounts/db", {"type": "database"})
    await daemon.must(
        "POST", "db/config/pg",
        {"plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "connection_url": url,
         "username": unquote(parts.username or ""), "password": unquote(parts.password or "")},
    )  # fmt: skip


async def write_role(daemon: Daemon, name: str, **fields: Any) -> None:
    """A role of ``db/`` whose logins have no rights of their own."""
    statements = {"creation_statements": [CREATION]}
    await daemon.must("POST", f"db/roles/{name}", {"db_name": "pg", **statements, **fields})
