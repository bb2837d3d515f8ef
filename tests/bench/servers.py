"""The two daemons under the same load: each on a fresh PostgreSQL of its own, with a target of its own.

Both clusters of a daemon have the settings of ``embedded.py`` and fsync on. Both daemons have file audit on,
a storage pool of 32 connections and no TLS.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secretd.server.embedded import EmbeddedPostgres

POOL = 32
START_DEADLINE = 60.0
BIN = Path(sys.executable).parent
# What a program's own Python would otherwise take from whoever runs this.
_ENVIRONMENT = {"PATH": f"{BIN}:{os.defpath}", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}


class BenchError(Exception):
    """what was to be measured did not work"""


@dataclass
class Server:
    """A running daemon: where it answers, which processes are its own, and a token to talk with."""

    name: str
    port: int
    pid: int
    storage: EmbeddedPostgres
    target: EmbeddedPostgres
    token: str = field(default="", repr=False)

    def call(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> Any:
        """The decoded answer, None for an empty one; raises BenchError on any error status."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = {"X-Vault-Token": self.token if token is None else token, "X-Vault-Request": "true"}
        try:
            connection.request(method, f"/v1/{path}", json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise BenchError(f"{self.name}: {method} {path} -> {answer.status} {text[:300]!r}")
        return json.loads(text) if text else None


def free_port() -> int:
    """A port that nobody has right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def _program(*command: str, log: Path, environment: dict[str, str]) -> AsyncIterator[int]:
    """A daemon, ended by its process id when we leave."""
    with log.open("ab") as sink:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment
        )
    try:
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 15)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _await_status(server: Server, log: Path, *wanted: int) -> None:
    """Wait until ``sys/health`` answers with one of these statuses."""
    deadline = time.monotonic() + START_DEADLINE
    while time.monotonic() < deadline and Path(f"/proc/{server.pid}/cmdline").read_bytes():
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        try:
            connection.request("GET", "/v1/sys/health")
            if connection.getresponse().status in wanted:
                return
        except OSError:
            pass
        finally:
            connection.close()
        await asyncio.sleep(0.1)
    raise BenchError(f"{server.name} did not start: {log.read_text(errors='replace')[-2000:]}")


@contextlib.asynccontextmanager
async def openbao(folder: Path) -> AsyncIterator[Server]:
    """OpenBao on PostgreSQL storage, initialised and unsealed."""
    async with EmbeddedPostgres(folder / "storage") as storage, EmbeddedPostgres(folder / "target") as target:
        port = free_port()
        config = folder / "bao.json"
        config.write_text(json.dumps(_bao_config(folder, storage, port)))
        log = folder / "daemon.log"
        command = (str(BIN / "bao"), "server", f"-config={config}")
        async with _program(*command, log=log, environment=_ENVIRONMENT) as pid:
            server = Server("openbao", port, pid, storage, target)
            await _await_status(server, log, 501)
            keys = server.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            server.token = keys["root_token"]
            server.call("PUT", "sys/unseal", {"key": keys["keys"][0]})
            await _await_status(server, log, 200)
            yield server


def _bao_config(folder: Path, storage: EmbeddedPostgres, port: int) -> dict[str, Any]:
    return {
        "storage": {
            "postgresql": {
                "connection_url": storage.dsn(tcp=True) + "?sslmode=disable",
                "max_idle_connections": POOL,
                "max_parallel": str(POOL),
            }
        },
        "listener": {"tcp": {"address": f"127.0.0.1:{port}", "tls_disable": True}},
        "audit": [{"type": "file", "path": "file", "options": {"file_path": str(folder / "audit.jsonl")}}],
        "api_addr": f"http://127.0.0.1:{port}",
        "log_level": "error",
    }


@contextlib.asynccontextmanager
async def secretd(folder: Path) -> AsyncIterator[Server]:
    """Our daemon, initialised and unsealed by a static seal."""
    async with EmbeddedPostgres(folder / "storage") as storage, EmbeddedPostgres(folder / "target") as target:
        port = free_port()
        config = folder / "secretd.toml"
        config.write_text(_secretd_config(folder, storage, port))
        log = folder / "daemon.log"
        command = (str(BIN / "secretd"), "server", "--config", str(config))
        async with _program(*command, log=log, environment=_ENVIRONMENT) as pid:
            server = Server("secretd", port, pid, storage, target)
            await _await_status(server, log, 200)
            server.token = (folder / "root-token").read_text().strip()
            yield server


def _secretd_config(folder: Path, storage: EmbeddedPostgres, port: int) -> str:
    _private(folder / "url", storage.dsn(tcp=True))
    _private(folder / "seal.key", base64.b64encode(secrets.token_bytes(32)).decode())
    # Nobody else may be able to read the interpreter; OpenBao's plugin runs as root too.
    user = 'user = "root"' if os.geteuid() == 0 else ""
    return f"""
[storage]
url = "file:{folder / "url"}"
pool_size = {POOL}
[[listener]]
address = "127.0.0.1:{port}"
tls = "off"
[seal]
type = "static"
key = "file:{folder / "seal.key"}"
key_id = "bench"
init = "auto"
root_token_file = "{folder / "root-token"}"
[plugins]
allow = ["secretd-postgresql"]
{user}
[[audit]]
path = "{folder / "audit.jsonl"}"
[log]
level = "error"
"""


def _private(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)
