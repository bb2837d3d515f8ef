"""Real daemons for tests: ``secretd server`` as a child process on loopback, with a database of its own.

``dev_daemon`` is one for a whole worker of the run: tests share it, so nobody seals or stops it, and each test makes
mounts of its own. ``make_daemon(seal=…, audit=…)`` makes configured ones that end with the test. A folder's conftest
imports the fixtures that it wants.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from support.clusters import Cluster

LOOPBACK = "127.0.0.1"
START_LIMIT = 90.0  # seconds; machines that run tests are busy
_PAUSE = 0.02  # seconds between two looks at another process, which has no event to wait for
_KEPT = ("PATH", "LANG", "TMPDIR")
StartDaemon = Callable[..., "Daemon"]


@dataclass(frozen=True)
class Reply:
    """An answer as it was on the wire; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        """The decoded body; None without one."""
        return json.loads(self.body) if self.body else None

    @property
    def errors(self) -> list[str]:
        """The texts of an error."""
        return list((self.json or {}).get("errors") or [])


@dataclass
class Daemon:
    """A daemon that can be asked, killed and started again. ``token`` is what it is asked with."""

    folder: Path
    listen: str
    command: list[str]
    token: str = field(default="", repr=False)
    keys: list[str] = field(default_factory=list, repr=False)  # unseal shares in hex, once there are any
    tls: ssl.SSLContext | None = None
    preexec: Callable[[], None] | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """All it has written so far, over all its starts."""
        file = self.folder / "daemon.log"
        return file.read_text(errors="replace") if file.exists() else ""

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self.process is not None, "the daemon is not running"
        return self.process.pid

    def launch(self) -> None:
        """Start the process, and wait for nothing."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        with (self.folder / "daemon.log").open("ab") as sink:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
                env=kept | {"HOME": str(self.folder)}, preexec_fn=self.preexec,
            )  # fmt: skip

    def start(self, *statuses: int) -> float:
        """Start, wait until ``sys/health`` answers with one of these; return the seconds that took."""
        began = time.monotonic()
        self.launch()
        self.await_health(*statuses)
        return time.monotonic() - began

    def await_health(self, *statuses: int, limit: float = START_LIMIT) -> float:
        """Wait until ``sys/health`` answers with one of these statuses (any, if none is given); seconds."""
        began = time.monotonic()
        last: object = None
        while time.monotonic() - began < limit:
            assert self.process is not None
            if self.process.poll() is not None:
                pytest.fail(
                    f"the daemon ended with {self.process.returncode}:\n{self.log[-3000:]}", pytrace=False
                )
            with contextlib.suppress(OSError, http.client.HTTPException):
                last = self.send("GET", "sys/health", token="").status
                if not statuses or last in statuses:
                    return time.monotonic() - began
            time.sleep(_PAUSE)
        pytest.fail(f"sys/health said {last}, not {statuses}:\n{self.log[-3000:]}", pytrace=False)

    def await_exit(self, limit: float = 30.0) -> int:
        """Wait for its end; the exit code."""
        assert self.process is not None
        code = self.process.wait(timeout=limit)
        self.process = None
        return code

    def stop(self, limit: float = 30.0) -> tuple[int, float]:
        """SIGTERM; exit code, and seconds until the end."""
        began = time.monotonic()
        os.kill(self.pid, signal.SIGTERM)
        code = self.await_exit(limit)
        return code, time.monotonic() - began

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> Reply:
        """One request as it stands: no path is cleaned, no redirect followed. Bytes go unchanged, else JSON."""
        sent = dict(headers or {})
        token = self.token if token is None else token
        if token:
            sent.setdefault("X-Vault-Token", token)
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        with contextlib.closing(self._connection(timeout)) as connection:
            connection.request(method, f"/v1/{path}", body=data or None, headers=sent)
            return _reply(connection.getresponse())

    def must(self, method: str, path: str, body: object = None, **named: Any) -> Any:
        """One request that has to succeed; its decoded body."""
        reply = self.send(method, path, body, **named)
        assert reply.status in {200, 204}, f"{method} {path}: {reply.status} {reply.body!r}"
        return reply.json

    def raw(self, request: bytes, *, timeout: float = 30.0) -> Reply:
        """Bytes to a socket, and the answer to them; status 0 if the connection ends without one."""
        with socket.create_connection(self.address, timeout=timeout) as sock:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(request)  # a refusal may come, and the connection go, before all is read
            answer = http.client.HTTPResponse(sock, method="HEAD" if request.startswith(b"HEAD") else None)
            try:
                answer.begin()
                return _reply(answer)
            except (http.client.BadStatusLine, ConnectionResetError):
                return Reply(0, {})
            finally:
                answer.close()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.listen.rpartition(":")
        return host, int(port)

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        host, port = self.address
        if self.tls is not None:
            return http.client.HTTPSConnection(host, port, timeout=timeout, context=self.tls)
        return http.client.HTTPConnection(host, port, timeout=timeout)

    def initialise(self, *, shares: int = 1, threshold: int = 1) -> None:
        """Initialise the store and unseal it; its root token is the daemon's token from here on."""
        made = self.must(
            "PUT", "sys/init", {"secret_shares": shares, "secret_threshold": threshold}, token=""
        )
        self.keys, self.token = made["keys"], made["root_token"]
        self.unseal(threshold)

    def unseal(self, threshold: int = 1) -> None:
        """Give as many shares as are needed."""
        for key in self.keys[:threshold]:
            self.must("PUT", "sys/unseal", {"key": key}, token="")
        self.await_health(200)


def _reply(answer: http.client.HTTPResponse) -> Reply:
    return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


def free_listen() -> str:
    """``host:port`` that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return f"{LOOPBACK}:{probe.getsockname()[1]}"


def private(path: Path, text: str) -> str:
    """A file of mode 0600, as the configuration names it."""
    path.touch(mode=0o600)
    path.write_text(text)
    return f"file:{path}"


def new_key() -> str:
    """A key for the static seal."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def toml(tables: Mapping[str, object]) -> str:
    """TOML of tables, and of lists of tables; JSON's texts, numbers, lists and booleans are TOML's too."""
    lines: list[str] = []
    for name, value in tables.items():
        for table in value if isinstance(value, list) else [value]:
            lines.append(f"[[{name}]]" if isinstance(value, list) else f"[{name}]")
            lines += [f"{key} = {json.dumps(item)}" for key, item in table.items()]
    return "\n".join(lines) + "\n"


def configuration(folder: Path, listen: str, url: str, **tables: Any) -> dict[str, Any]:
    """A whole configuration; ``tables`` add to, or stand for, what is there: ``listener={"tls": "off"}``."""
    # Nobody else may be able to read the interpreter.
    own_user = {"user": "root"} if os.geteuid() == 0 else {}
    found: dict[str, Any] = {
        "storage": {"url": private(folder / "storage.url", url)} | tables.pop("storage", {}),
        "listener": [{"address": listen} | (tables.pop("listener", None) or {"tls": "off"})],
        "plugins": {"allow": ["secretd-postgresql"], **own_user},
        "log": {"format": "json"},
    }
    return found | tables


def static_seal(folder: Path, *, key_id: str = "first", **more: str) -> dict[str, str]:
    """``[seal]`` with a static key, and a store that initialises itself."""
    key = private(folder / f"{key_id}.key", new_key())
    return {
        "type": "static", "key": key, "key_id": key_id, "init": "auto",
        "root_token_file": str(folder / "root-token"),
    } | more  # fmt: skip


def server_command(folder: Path, tables: Mapping[str, object], *, name: str = "secretd.toml") -> list[str]:
    """Write a configuration; the command of a daemon with it."""
    (folder / name).write_text(toml(tables))
    return [sys.executable, "-m", "secretd.cli.main", "server", f"--config={folder / name}"]


async def _migrate(dsn: str) -> None:
    from secretd.storage.migrate import migrate

    await migrate(dsn)


@contextlib.contextmanager
def database(cluster: Cluster, *, is_migrated: bool = True) -> Iterator[str]:
    """A database for a daemon, with secretd's tables unless they are unwanted; its superuser's address."""
    name = f"d_{uuid.uuid4().hex}"
    template = asyncio.run(cluster.template("secretd_template", _migrate)) if is_migrated else "template0"
    asyncio.run(cluster.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    try:
        yield cluster.dsn(name)
    finally:
        asyncio.run(cluster.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


@contextlib.contextmanager
def ending(daemon: Daemon) -> Iterator[Daemon]:
    """Whatever the test did, the process is gone afterwards."""
    try:
        yield daemon
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.stop(10)
        daemon.kill()


@pytest.fixture(scope="session")
def dev_daemon(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[Daemon]:
    """One daemon in dev mode for this worker: KV v2 at ``secret/``; nobody seals or stops it."""
    folder = tmp_path_factory.mktemp("dev-daemon")
    token, listen = "dev-" + secrets.token_hex(8), free_listen()
    with database(cluster) as dsn:
        storage = private(folder / "storage.url", dsn)
        command = [
            sys.executable, "-m", "secretd.cli.main", "server", "--dev", f"--dev-root-token-id={token}",
            f"--dev-listen-address={listen}", f"--storage={storage}",
        ]  # fmt: skip
        with ending(Daemon(folder, listen, command, token)) as daemon:
            daemon.start(200)
            yield daemon


@pytest.fixture
def make_daemon(tmp_path: Path, cluster: Cluster) -> Iterator[StartDaemon]:
    """``make_daemon(seal={…}, storage_url=…)``: a configured daemon that has not been started yet.

    Each has a folder and, unless ``storage_url`` names one, a database of its own; ``folder`` shares one.
    """
    with contextlib.ExitStack() as stack:

        def make(*, storage_url: str = "", folder: Path | None = None, **tables: Any) -> Daemon:
            own = folder or tmp_path / uuid.uuid4().hex[:8]
            own.mkdir(mode=0o700, exist_ok=True)
            listen = free_listen()
            url = storage_url or stack.enter_context(database(cluster))
            name = f"{uuid.uuid4().hex[:8]}.toml"
            command = server_command(own, configuration(own, listen, url, **tables), name=name)
            return stack.enter_context(ending(Daemon(own, listen, command)))

        yield make


@pytest.fixture
def open_daemon(make_daemon: StartDaemon) -> StartDaemon:
    """``open_daemon(…)``: as ``make_daemon``, but started, initialised with one share and unsealed."""

    def start(**tables: Any) -> Daemon:
        daemon = make_daemon(**tables)
        daemon.start(501)
        daemon.initialise()
        return daemon

    return start
